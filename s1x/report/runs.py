"""One report over many runs: a sweep's jobs when the last one ends, or `report.runs=<glob>`."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from s1x.artifact import Artifacts, faults
from s1x.console import say
from s1x.errors import UserError
from s1x.report import run as run_report
from s1x.report.latest import finish_report
from s1x.report.others import own_context, place, read_file

RUN_FILE = "run.json"
VERSION = 2  # one drawer for page and files


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
    runs = [read_run(path, own) for path in run_folders(patterns)]
    artifacts = Artifacts(output, force, say)
    inputs = {
        "version": VERSION,
        "title": title,
        "runs": [
            [label, *(p.name for p in run["evaluations"])]
            for run, label in zip(runs, _labels(runs), strict=True)
        ],
    }
    context = many(runs, title)
    artifact = artifacts.get(
        "report", inputs, lambda f: run_report(context, [], None, None, f), "report over the runs"
    )
    stages = [stage for run in runs for stage in run["context"]["stages"]]
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
        folders += [path for path in found if path not in folders]
    return folders


def many(runs: Sequence[Mapping[str, Any]], title: str | None) -> dict[str, Any]:
    """The context of a report over several runs: what they share, and each with its label."""
    contexts = [run["context"] for run in runs]
    labels = _labels(runs)
    first = contexts[0]
    shared = {
        key: first[key]
        for key in ("name", "scale", "seed", "prices")
        if all(context[key] == first[key] for context in contexts)
    }
    tokenizers = {k: v for context in contexts for k, v in context.get("tokenizers", {}).items()}
    entries = [
        {
            "label": label,
            "evaluations": run["evaluations"],
            "selection": run["selection"],
            "training": run["training"],
            "settings": {"scale": context["scale"], "seed": context["seed"], **context["choices"]},
        }
        for run, context, label in zip(runs, contexts, labels, strict=True)
    ]
    stages: dict[str, Any] = {}
    for stage in (stage for context in contexts for stage in context["stages"]):
        stages.setdefault(stage["fingerprint"], stage)
    folders = [folder for context in contexts for folder in context.get("cost_folders", [])]
    return {
        **shared,
        "title": title,
        "runs": entries,
        "tokenizers": tokenizers,
        "cost_folders": list(dict.fromkeys(folders)),
        "stages": list(stages.values()),
    }


def _labels(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each run's label: the overrides that not all have, else its name.

    Runs whose command lines do not differ get their folders' names.
    """
    given = [list(run["context"].get("overrides") or []) for run in runs]
    shared = set(given[0]).intersection(*given[1:]) if given else set()
    unspoken = ("hydra", "output=", "stages=", "force=", "+sweep=", "tracker")
    labels = []
    for overrides, run in zip(given, runs, strict=True):
        own = [o for o in overrides if o not in shared and not o.startswith(unspoken)]
        labels.append(", ".join(sorted(own)) or str(run["context"]["name"]))
    return [
        f"{label}, {run['folder'].name}" if labels.count(label) > 1 else label
        for label, run in zip(labels, runs, strict=True)
    ]


def read_run(folder: Path, own: bool = False) -> dict[str, Any]:
    """A run's `run.json` with its artifacts' places as paths; see `s1x.report.others`.

    Raises:
        UserError: it cannot be read, or names artifacts that are gone, damaged or elsewhere.
    """
    run: dict[str, Any] = read_file(folder / RUN_FILE) | {"folder": folder}
    if not own:
        run["context"] = own_context(folder, run["context"])
    for key in ("selection", "training"):
        run[key] = _whole(folder, run[key], own) if run[key] else None
    run["evaluations"] = [_whole(folder, item, own) for item in run["evaluations"]]
    return run


def _whole(run: Path, relative: str, own: bool) -> Path:
    found = place(run, relative, own)
    if wrong := faults(found):
        raise UserError(f"{found} is damaged ({'; '.join(wrong)}); run {run} again")
    return found


def natural(path: Path) -> tuple[int, str]:
    """Sorts numbered folders by number."""
    return (int(path.name) if path.name.isdigit() else -1, path.name)
