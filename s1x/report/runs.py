"""One report over many runs: a sweep's jobs when the last one ends, or `report.runs=<glob>`.

Runs may be others': a report over them opens nothing outside their folder, whatever their files
say.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1x.artifact import Artifact, Artifacts, faults, read_json
from s1x.console import say
from s1x.errors import UserError
from s1x.report import console_table
from s1x.report import run as run_report
from s1x.report.inputs import Json

RUN_FILE = "run.json"
VERSION = 2  # one drawer for page and files
#: folders of runs inside the folder that also holds what they made
RUN_PLACES = ("runs", "sweeps")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
#: what a context must hold for a report over many
USUAL: Json = {
    **{"name": None, "scale": None, "seed": None, "command": None},
    **{"prices": {}, "choices": {}, "tokenizers": {}},
    **{"stages": [], "overrides": [], "cost_folders": []},
}
#: overrides that tell nothing about a run
UNSPOKEN = ("hydra", "output=", "stages=", "force=", "+sweep=", "tracker")


@dataclass(frozen=True)
class RunFile:
    """A run's `run.json`, its artifacts found."""

    folder: Path
    context: Json
    evaluations: list[Path]
    selection: Path | None
    training: Path | None


def report_on(
    patterns: Sequence[str],
    output: Path,
    title: str | None = None,
    force: Sequence[str] = (),
    own: bool = False,
) -> dict[str, Any]:
    """Writes one report over every run folder that matches a glob; returns its summary.

    Args:
        patterns: globs of run folders.
        output: where artifacts go.
        title: of the report.
        force: stages to redo.
        own: the runs are this command's own jobs; others' are read with distrust.

    Raises:
        UserError: no run folder matches, or one names artifacts that are gone or damaged.
    """
    runs = [_read(path, own) for path in run_folders(patterns)]
    context = _many(runs, title)
    named = [[run["label"], *(p.name for p in run["evaluations"])] for run in context["runs"]]
    artifacts = Artifacts(output, force, say)
    artifact = artifacts.get(
        "report",
        {"version": VERSION, "title": title, "runs": named},
        lambda folder: run_report(context, [], None, None, folder),
        "report over the runs",
    )
    stages = [stage for run in runs for stage in run.context["stages"]]
    return finish_report(artifacts, artifact, stages)


def run_folders(patterns: Sequence[str]) -> list[Path]:
    """The run folders that globs match, each once.

    Raises:
        UserError: a glob that matches none.
    """
    folders: list[Path] = []
    for pattern in patterns:
        matched = sorted(map(Path, glob.glob(os.path.expanduser(pattern))), key=natural)
        found = [path for path in matched if (path / RUN_FILE).exists()]
        if not found:
            raise UserError(
                f"report.runs={pattern} matches no folder with a {RUN_FILE}; "
                "give a glob of run folders, such as outputs/runs/*, or a list of them"
            )
        folders += found
    return list(dict.fromkeys(folders))


def natural(path: Path) -> tuple[int, str]:
    """Sorts numbered folders by number."""
    return (int(path.name) if path.name.isdigit() else -1, path.name)


def _many(runs: Sequence[RunFile], title: str | None) -> Json:
    """The context of a report over several runs: what they share, and each with its label."""
    contexts = [run.context for run in runs]
    first = contexts[0]
    shared = ("name", "scale", "seed", "prices")
    stages: dict[str, Json] = {}
    for stage in (stage for context in contexts for stage in context["stages"]):
        stages.setdefault(stage["fingerprint"], stage)
    return {
        **{key: first[key] for key in shared if all(c[key] == first[key] for c in contexts)},
        "title": title,
        "runs": [
            {
                **{"label": label, "evaluations": run.evaluations},
                **{"selection": run.selection, "training": run.training},
                "settings": {key: run.context[key] for key in ("scale", "seed")}
                | run.context["choices"],
            }
            for run, label in zip(runs, _labels(runs), strict=True)
        ],
        "tokenizers": {k: v for c in contexts for k, v in c["tokenizers"].items()},
        "cost_folders": list(dict.fromkeys(f for c in contexts for f in c["cost_folders"])),
        "stages": list(stages.values()),
    }


def _labels(runs: Sequence[RunFile]) -> list[str]:
    """Each run's label: the overrides that not all have, else its name.

    Runs whose command lines do not differ get their folders' names.
    """
    given = [run.context["overrides"] for run in runs]
    labels = []
    for overrides, run in zip(given, runs, strict=True):
        own = {o for o in overrides if not all(o in other for other in given)}
        told = sorted(o for o in own if not o.startswith(UNSPOKEN))
        labels.append(", ".join(told) or str(run.context["name"]))
    return [
        f"{label}, {run.folder.name}" if labels.count(label) > 1 else label
        for label, run in zip(labels, runs, strict=True)
    ]


def _read(folder: Path, own: bool) -> RunFile:
    """A run's `run.json`, whoever wrote it.

    Raises:
        UserError: it is no run's, or names artifacts that are gone, damaged or elsewhere.
    """
    file = folder / RUN_FILE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{file} is damaged ({error}); run it again or leave it out") from None
    found = found if isinstance(found, dict) else {}
    context, evaluations = (found.get(key, 0) for key in ("context", "evaluations"))
    before = [found.get(key) for key in ("selection", "training")]
    lists = isinstance(evaluations, list) and isinstance(context, dict)
    if not lists or not all(isinstance(n, str) for n in (*evaluations, *filter(None, before))):
        raise UserError(
            f"{file} is damaged, it is not what a run writes; run it again or leave it out"
        )
    selection, training = (_whole(folder, name, own) if name else None for name in before)
    made = [_whole(folder, name, own) for name in evaluations]
    kept = context if own else own_context(folder, context)
    return RunFile(folder, kept, made, selection, training)


def _whole(run: Path, relative: str, own: bool) -> Path:
    found = place(run, relative, own)
    if wrong := faults(found):
        raise UserError(f"{found} is damaged ({'; '.join(wrong)}); run {run} again")
    return found


def _root(run: Path) -> Path:
    """The folder that holds a run and its artifacts: the one above `runs` or `sweeps`."""
    parents = list(run.resolve().parents)
    return next((p.parent for p in parents if p.name in RUN_PLACES), parents[0])


def place(run: Path, relative: str, own: bool = False) -> Path:
    """An artifact's folder as a run names it, relative to the run; one's `own` may be anywhere.

    Raises:
        UserError: it is gone, or it or a link in it leads out of the runs' folder.
    """
    try:
        root, found = _root(run), (run / relative).resolve()
        gone = not found.exists()
    except (ValueError, OSError) as error:
        raise UserError(f"{run} names {relative[:200]!r}, which is no path ({error})") from None
    inside = own or found.is_relative_to(root)
    links = () if own or not inside else (p for p in found.rglob("*") if p.is_symlink())
    if not inside or not all(link.resolve().is_relative_to(root) for link in links):
        raise UserError(
            f"{run} names {relative}, which leads out of {root}; a report over runs opens only "
            "what lies in their folder: copy the artifacts there"
        )
    if gone:
        raise UserError(f"{run} names {relative}, which is gone; run it again")
    return found


def own_context(run: Path, context: Json) -> Json:
    """A run's context, whole and without the folders that lie elsewhere (costs, tokenizers)."""
    root = _root(run)

    def here(folder: object) -> bool:
        path = Path(str(folder))
        return path.is_absolute() and path.resolve().is_relative_to(root)

    kept = {**USUAL, "name": run.name}
    for key, usual in USUAL.items():
        if key in context and (usual is None or isinstance(context[key], type(usual))):
            kept[key] = context[key]
    stages = [stage for stage in kept["stages"] if isinstance(stage, dict)]
    kept["stages"] = [stage for stage in stages if isinstance(stage.get("fingerprint"), str)]
    kept["cost_folders"] = [path for path in kept["cost_folders"] if here(path)]
    kept["tokenizers"] = {
        name: source
        for name, source in kept["tokenizers"].items()
        if here(source) or (HUB_ID.fullmatch(str(source)) and not Path(source).exists())
    }
    return {**context, **kept}


# -- the end of a report ---------------------------------------------------------------------------


def finish_report(
    artifacts: Artifacts, report: Artifact, done: Sequence[Json], sweep: bool = False
) -> dict[str, Any]:
    """Says in the summary what this run did, points `latest` to the report, prints the table.

    A sweep's jobs print their own points only: the sweep's report says the rest once.
    """
    summary = read_json(report.folder / "summary.json") | {"stages": list(done)}
    artifacts.rewrite(report, "summary.json", summary)
    point_latest(artifacts.root / "latest", report.folder)
    if sweep:
        print(console_table(summary, brief=True), flush=True)
    else:
        print(console_table(summary))
        print(f"Report: {report.folder / 'report.html'}")
    return summary


def point_latest(link: Path, folder: Path) -> None:
    """Makes `link` a symbolic link to the folder, in one step for whoever reads it.

    Where that cannot be (a real folder has the name, a file system without links), a line says so:
    a convenience may not fail a run.
    """
    beside = link.with_name(f"{link.name}.{os.getpid()}")
    try:
        beside.symlink_to(os.path.relpath(folder, link.parent), target_is_directory=True)
        beside.replace(link)
    except OSError as error:
        beside.unlink(missing_ok=True)
        reason = "it is no link" if link.is_dir() else error.strerror
        say(f"{link} was not set to this report ({reason}); remove or rename it to have it set")
