"""A point of an evaluation as exporters read it, and its budget in one set of names.

No schema of others has a place for budgets. `Exported.budget` and `sample_budget` are what we write
wherever there is room for fields of one's own; docs/budget.schema.json describes both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from s1x.artifact import read_json
from s1x.curve import Point, cells, curve, read

Json = Mapping[str, Any]
Row = dict[str, Any]
#: fields of a sample's budget: columns of `s1x.rows`
OF_SAMPLE = (
    *("sample", "verdict", "ungraded_reason", "extracted_answer", "extraction_rule"),
    *("prompt_tokens", "thinking_tokens", "answer_tokens", "forced_tokens"),
    *("end_reason", "answer_cut", "spill", "looped", "num_waits", "num_tries"),
    *("first_token_seconds", "thinking_seconds", "wall_seconds"),
)
OF_CURVE = ("policy", "model_role", "prompt_format")


@dataclass(frozen=True)
class Exported:
    """One point of a curve.

    Attributes:
        fingerprint: of the evaluation.
        info: its evaluation.json.
        model_id: of the model, owner/name where it has one.
        point: its numbers.
        settings: of the budget policy.
        rows: its rows by problem and sample, with the columns of `s1x.rows`.
    """

    fingerprint: str
    info: Json
    model_id: str
    point: Point
    settings: Json
    rows: pl.DataFrame

    @property
    def benchmark(self) -> str:
        """Name of the benchmark."""
        return str(self.info["benchmark"])

    @property
    def about(self) -> Json:
        """What the benchmark says of itself."""
        return self.info.get("benchmark_info") or {}

    @property
    def name(self) -> str:
        """What tells it from the run's other points."""
        told = [self.benchmark, *(str(self.info[name]) for name in OF_CURVE), self.point.setting]
        return ", ".join(told)

    @property
    def budget(self) -> dict[str, object]:
        """The point's budget, and what was measured under it."""
        point = self.point
        return {
            **{name: self.info[name] for name in OF_CURVE},
            **{"setting": point.setting, "settings": dict(self.settings)},
            "limit_min_tokens": point.limit_min_tokens,
            "limit_max_tokens": point.limit_max_tokens,
            "mean_thinking_tokens": point.mean_thinking_tokens,
            "mean_answer_tokens": point.mean_answer_tokens,
            "mean_forced_tokens": point.mean_forced_tokens,
            "accuracy_percent": point.accuracy_percent,
            "accuracy_low_percent": point.interval_low_percent,
            "accuracy_high_percent": point.interval_high_percent,
            "num_problems": point.num_problems,
            "samples_per_problem": point.samples_per_problem,
        }

    def samples(self) -> Iterator[Row]:
        """The rows."""
        return self.rows.iter_rows(named=True)


def sample_budget(row: Row) -> dict[str, object]:
    """What a sample took, and how it ended."""
    return {name: row[name] for name in OF_SAMPLE}


def as_texts(budget: Json) -> dict[str, str]:
    """The same names, each with `budget.` before it and its value as text; unknown ones left out.

    For schemas whose own fields hold texts only: words as they are, all else as JSON.
    """
    return {
        f"budget.{name}": value if isinstance(value, str) else json.dumps(value)
        for name, value in budget.items()
        if value is not None
    }


def exported(folder: Path, model_ids: Mapping[str, str]) -> Iterator[Exported]:
    """The points of an evaluation's folder.

    Args:
        folder: with `rows.parquet` and `evaluation.json`.
        model_ids: model's name → id.
    """
    info = read_json(folder / "evaluation.json")
    settings = {entry["point"]: entry.get("settings") or {} for entry in info["points"]}
    rows = pl.read_parquet(folder / "rows.parquet", glob=False).sort("problem_id", "sample")
    for point in curve(cells(read(folder))).points:
        mine, model = rows.filter(pl.col("point") == point.point), str(info["model"])
        model_id = model_ids.get(model, model)
        yield Exported(folder.name, info, model_id, point, settings.get(point.point, {}), mine)
