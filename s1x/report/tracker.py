"""What a tracker does: told when a run starts, what it measures, and how it ended.

The stages never call a tracker themselves; the front end does, after each stage, so that training
and evaluation stay independent of it. Only the training log's lines go to `log_step` as they come.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from s1x.option import Option

#: stage → its folder, or folders where it has several (evaluate)
Folders = Mapping[str, Path | list[Path] | None]
Json = Mapping[str, Any]
METRICS = ("control_percent", "scaling_per_doubling", "performance_percent")
#: columns of a table of traces
TRACE_COLUMNS = (
    *("benchmark", "problem_id", "model_role", "prompt_format", "setting", "sample", "verdict"),
    *("end_reason", "thinking_tokens", "num_waits", "question", "reference_answer"),
    *("extracted_answer", "thinking_text", "answer_text"),
)


class Tracker(Option):
    """Base of the `tracker` options; does nothing.

    The calls of one run: `start`, any number of `log`, `log_step` and `log_training`, `finish`. A
    tracker that was never started ignores `finish`. Whoever runs the stages calls
    `finish(..., failed=True)` when they raise, so that no run stays open.
    """

    def start(self, context: Json) -> None:
        """Opens the run.

        Args:
            context: as `s1x.report.run` takes it; used are `name`, `scale`, `seed`, `config` (the
                resolved configuration), `stages` (fingerprints), `sweep` (name of the group, or
                None), `job` (label of the job) and `run_folder`.
        """

    def log(self, stage: str, step: int | None, values: Mapping[str, float]) -> None:
        """Numbers of a stage, at a step or for the whole run (None)."""

    def finish(self, summary: Json | None, folders: Folders, failed: bool) -> None:
        """Logs the curves and artifacts and closes the run, as failed if it is."""

    def log_step(self, line: Mapping[str, str]) -> None:
        """Logs one line of the training stage's log.csv, as it is written; empty fields and words
        are left out."""
        values = {name: n for name, text in line.items() if (n := _number(text)) is not None}
        self.log("train", int(values.pop("step")), values)

    def log_training(self, folder: Path) -> None:
        """Logs every line of the log.csv of a training that was reused."""
        file = folder / "log.csv"
        if file.is_file():
            with file.open(newline="", encoding="utf-8") as lines:
                for line in csv.DictReader(lines):
                    self.log_step(line)


def curve_points(summary: Json) -> Iterator[tuple[str, float, int]]:
    """Each curve as a series over thinking tokens: its name, accuracy in percent, mean tokens."""
    for curve in summary["curves"]:
        for point in curve["points"]:
            value, tokens = point["accuracy_percent"], point["mean_thinking_tokens"]
            if value is not None and tokens is not None:
                yield f"curve/{curve_name(curve)}", value, round(tokens)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def brief(text: str, most: int) -> str:
    """A label of any length within a service's limit: cut, with a hash that keeps it apart."""
    if len(text) <= most:
        return text
    return f"{text[: most - 9]}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"


def curve_name(curve: Json) -> str:
    """The key of a curve in trackers: benchmark/role, the prompt format where it is direct."""
    direct = "_direct" if curve["prompt_format"] == "direct" else ""
    return f"{curve['benchmark']}/{curve['model_role']}{direct}"


def headline_numbers(summary: Json) -> dict[str, float]:
    """Numbers to sort runs by: metrics of each curve and the accuracy of each of its points."""
    found: dict[str, float | None] = {}
    for curve in summary["curves"]:
        name = curve_name(curve)
        found |= {f"{name}/{metric}": curve[metric]["value"] for metric in METRICS}
        for point in curve["points"]:
            if point["accuracy_percent"] is not None:
                found[f"{name}/accuracy_percent/{point['setting']}"] = point["accuracy_percent"]
                found[f"{name}/thinking_tokens/{point['setting']}"] = point["mean_thinking_tokens"]
    return {name: value for name, value in found.items() if value is not None}


def settings_of(context: Json) -> Json:
    """Configuration and fingerprints as plain values for a tracker's table of settings."""
    stages = [stage for stage in context.get("stages") or [] if stage.get("fingerprint")]
    names = ("name", "scale", "seed", "command", "job")
    return {
        **{name: context[name] for name in names if context.get(name) is not None},
        "config": json.loads(json.dumps(context.get("config") or {}, default=str)),
        "fingerprints": {str(s.get("label") or s.get("stage")): s["fingerprint"] for s in stages},
    }


def trace_rows(folders: Folders, most: int) -> Iterator[dict[str, Any]]:
    """Rows of the evaluations with `TRACE_COLUMNS`, evenly thinned to `most`."""
    evaluated = folders.get("evaluate") or []
    places = [evaluated] if isinstance(evaluated, Path) else evaluated
    files = [place / "rows.parquet" for place in places if (place / "rows.parquet").is_file()]
    for file in files if most else []:
        rows = pl.scan_parquet(file, glob=False).select(TRACE_COLUMNS)
        height = rows.select(pl.len()).collect().item()
        step = max(1, -(-height // max(1, most // len(files))))
        yield from rows.gather_every(step).collect().iter_rows(named=True)
