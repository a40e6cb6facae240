"""Runs made by others: a report opens nothing outside their folder, whatever their files say."""

from __future__ import annotations

import json
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


def read_file(file: Path) -> dict[str, Any]:
    """A run's file, whoever wrote it.

    Raises:
        UserError: it is no run's.
    """
    wanted = {"context": dict, "selection": str, "training": str, "evaluations": list}
    optional = ("selection", "training")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{file} is damaged ({error}); run it again or leave it out") from None
    whole = isinstance(found, dict) and all(
        isinstance(found.get(key), kind) or (key in optional and found.get(key) is None)
        for key, kind in wanted.items()
    )
    if not whole or not all(isinstance(item, str) for item in found["evaluations"]):
        raise UserError(
            f"{file} is damaged, it is not what a run writes; run it again or leave it out"
        )
    return {"selection": None, "training": None, **found}


def place(run: Path, relative: str, own: bool = False) -> Path:
    """An artifact's folder as a run names it, relative to the run; one's `own` may be anywhere.

    Raises:
        UserError: it is gone, or it or a link in it leads out of the runs' folder.
    """
    try:
        root, found = root_of(run), (run / relative).resolve()
        gone = not found.exists()
    except (ValueError, OSError) as error:
        raise UserError(f"{run} names {relative[:200]!r}, which is no path ({error})") from None
    if not own and not _stays_inside(found, root):
        raise UserError(
            f"{run} names {relative}, which leads out of {root}; a report over runs opens only "
            "what lies in their folder: copy the artifacts there"
        )
    if gone:
        raise UserError(f"{run} names {relative}, which is gone; run it again")
    return found


def own_context(run: Path, context: Mapping[str, Any]) -> dict[str, Any]:
    """A run's context, whole and without the folders that lie elsewhere (costs, tokenizers)."""
    root = root_of(run)
    usual: dict[str, Any] = {"name": run.name, "scale": None, "seed": None, "command": None}
    usual |= {"prices": {}, "choices": {}, "tokenizers": {}}
    usual |= {"stages": [], "overrides": [], "cost_folders": []}
    for key, value in usual.items():
        given = context.get(key, value)
        if not isinstance(value, (dict, list)) or isinstance(given, type(value)):
            usual[key] = given
    stages = (stage for stage in usual["stages"] if isinstance(stage, dict))
    usual["stages"] = [stage for stage in stages if isinstance(stage.get("fingerprint"), str)]
    usual["cost_folders"] = [path for path in usual["cost_folders"] if _lies_in(path, root)]
    usual["tokenizers"] = {
        name: source
        for name, source in usual["tokenizers"].items()
        if _lies_in(source, root) or (HUB_ID.fullmatch(str(source)) and not Path(source).exists())
    }
    return {**context, **usual}


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
