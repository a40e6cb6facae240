"""Runs made by others: a report opens nothing outside their folder, whatever their files say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s1x.errors import UserError

#: folders of runs inside the folder that also holds what they made
RUN_PLACES = ("runs", "sweeps")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def root_of(run: Path) -> Path:
    """The folder that holds a run and its artifacts: the one above `runs` or `sweeps`."""
    parents = list(run.resolve().parents)
    return next((p.parent for p in parents if p.name in RUN_PLACES), parents[0])


def place(run: Path, relative: str, own: bool = False) -> Path:
    """An artifact's folder as a run names it, relative to the run; one's `own` may be anywhere.

    Raises:
        UserError: it is gone, or it or a link in it leads out of the runs' folder.
    """
    root, found = root_of(run), (run / relative).resolve()
    if not own and not _stays_inside(found, root):
        raise UserError(
            f"{run} names {relative}, which leads out of {root}; a report over runs opens only "
            "what lies in their folder: copy the artifacts there"
        )
    if not found.exists():
        raise UserError(f"{run} names {relative}, which is gone; run it again")
    return found


def own_context(run: Path, context: Mapping[str, Any]) -> dict[str, Any]:
    """A run's context without the folders that lie elsewhere (costs, tokenizers)."""
    root = root_of(run)
    costs = [folder for folder in context.get("cost_folders") or [] if _lies_in(folder, root)]
    tokenizers = {
        name: source
        for name, source in (context.get("tokenizers") or {}).items()
        if _lies_in(source, root) or (HUB_ID.fullmatch(str(source)) and not Path(source).exists())
    }
    return {**context, "cost_folders": costs, "tokenizers": tokenizers}


def _stays_inside(folder: Path, root: Path) -> bool:
    """Whether the folder and all that links in it lead to are inside the root."""
    if not _inside(folder, root):
        return False
    links = (path for path in folder.rglob("*") if path.is_symlink())
    return all(_inside(link.resolve(), root) for link in links)


def _lies_in(folder: Any, root: Path) -> bool:
    path = Path(str(folder))
    return path.is_absolute() and _inside(path.resolve(), root)


def _inside(path: Path, root: Path) -> bool:
    return path == root or root in path.parents
