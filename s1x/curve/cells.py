"""Evaluation rows as a frame, and its cells: one (benchmark, model, role, format, policy, point).

Only the columns that a curve needs are read; of questions and reference answers a hash, so that a
million rows with long traces stay small.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from s1x.errors import UserError
from s1x.rows import CORRECT, UNGRADED

#: what a curve is named by
CURVE_KEY = ("benchmark", "model", "model_role", "prompt_format", "policy")
COUNTS = ("thinking_tokens", "answer_tokens", "forced_tokens")
#: columns of rows.parquet that are read
COLUMNS = (
    *(*CURVE_KEY, "problem_id", "domain", "point", "setting", "sample"),
    *("end_reason", "extracted_answer", "verdict", "interim_answers", "interim_verdicts"),
)
#: columns that rows of older versions lack
NEWER: dict[str, pl.DataType] = {
    "answer_cut": pl.Boolean(),
    "looped": pl.Boolean(),
    "spill": pl.List(pl.String),
    "first_token_seconds": pl.Float64(),
    "thinking_seconds": pl.Float64(),
    "wall_seconds": pl.Float64(),
    "total_tokens": pl.Int64(),
    "scorer_tokens": pl.Int64(),
    "scorer_weighed_tokens": pl.Float64(),
    "num_traces": pl.Int64(),
    "token_confidences": pl.List(pl.Float32),
    "token_entropies": pl.List(pl.Float32),
}
#: columns of what all traces of a row took
SPENT = ("total_tokens", "scorer_tokens", "scorer_weighed_tokens", "num_traces")
LIMITS = ("limit_min_tokens", "limit_max_tokens")
#: least and most thinking tokens asked for at a point (None: no such limit)
Limits = tuple[int | None, int | None]
#: a problem is its question (choices written out) and its reference answer, whatever its id
CONTENT = ("question", "reference_answer")


@dataclass(frozen=True, eq=False)
class Cell:
    """The rows of one point of one curve, sorted by problem and sample.

    `key` in them is what tells a problem from others in any run: its content, and its id where two
    problems of the cell have the same.
    """

    benchmark: str
    model: str
    model_role: str
    prompt_format: str
    policy: str
    point: int
    setting: str
    rows: pl.DataFrame = field(repr=False)
    limit_min_tokens: int | None = None
    limit_max_tokens: int | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What names its curve: benchmark, model, role, prompt format, policy."""
        return (self.benchmark, self.model, self.model_role, self.prompt_format, self.policy)

    @property
    def name(self) -> str:
        """Words for people: model, role, policy and setting."""
        model = f"{self.model} ({self.model_role}, {self.prompt_format})"
        return f"{model}, {self.policy} {self.setting}"

    @cached_property
    def problems(self) -> pl.DataFrame:
        """One row per problem: means over its samples.

        `accuracy` counts an ungraded answer as not right, and is null throughout where nothing at
        all was graded: a grader that failed says nothing. `graded` leaves ungraded answers out.
        """
        correct, judged = pl.col("verdict") == CORRECT, pl.col("verdict") != UNGRADED
        judged = judged.fill_null(False)
        accuracy = correct.fill_null(False).mean()
        return self.rows.group_by("key", maintain_order=True).agg(
            pl.first("domain"),
            pl.col(*COUNTS, "num_tries", *SPENT).mean(),
            num_samples=pl.len(),
            accuracy=accuracy if self.num_graded else pl.lit(None, pl.Float64),
            graded=correct.filter(judged).mean(),
        )

    @cached_property
    def num_graded(self) -> int:
        """Samples with a verdict."""
        return int((self.rows["verdict"] != UNGRADED).sum())

    @cached_property
    def samples_per_problem(self) -> int:
        """The largest number of samples that a problem has."""
        return int(self.problems["num_samples"].to_numpy().max())

    @property
    def thinking_tokens(self) -> NDArray[np.float64]:
        """Thinking tokens of each row, forced ones included; NaN where not recorded."""
        return self.rows["thinking_tokens"].cast(pl.Float64).to_numpy()

    @property
    def end_reason(self) -> list[str | None]:
        """How the thinking of each row ended."""
        return self.rows["end_reason"].to_list()


def read(sources: Path | str | Iterable[Path]) -> pl.DataFrame:
    """Rows of many evaluations as one frame with the columns that curves need.

    Args:
        sources: evaluation folders (`rows.parquet` and, for the limits that were asked for,
            `evaluation.json`), or Parquet files themselves; or one. Rows of different ones are
            never put on one curve (column `source`).

    Raises:
        UserError: a folder without rows, a file that is none or lacks a column.
    """
    given = [Path(sources)] if isinstance(sources, (str, Path)) else sources
    frames = [_read_one(Path(source), index) for index, source in enumerate(given)]
    if not frames:
        raise UserError("no evaluation rows were given; run stages=[evaluate] first")
    return pl.concat(frames, how="vertical_relaxed")


def _read_one(source: Path, index: int) -> pl.DataFrame:
    file = source / "rows.parquet" if source.is_dir() else source
    if not file.is_file():
        raise UserError(f"{source} has no rows.parquet; give folders that the evaluate stage wrote")
    try:
        scan = pl.scan_parquet(file, glob=False)
        names = scan.collect_schema().names()
        missing = [n for n in (*COLUMNS, *COUNTS, "num_tries", *CONTENT) if n not in names]
        if missing:
            raise UserError(f"{file} is not an evaluation's rows: it lacks {', '.join(missing)}")
        rows = _needed(scan, names).with_columns(source=pl.lit(index)).collect()
    except (PolarsError, OSError) as error:
        raise UserError(
            f"{file} cannot be read ({str(error).splitlines()[0]}); redo it with force=[evaluate]"
        ) from None
    info = file.with_name("evaluation.json")
    points = json.loads(info.read_text(encoding="utf-8"))["points"] if info.is_file() else []
    return with_limits(rows, {entry["point"]: _limits_of(entry) for entry in points})


def _needed(rows: pl.LazyFrame, names: Collection[str]) -> pl.LazyFrame:
    """The columns that cells need, from rows as `s1x.rows` has them."""
    return rows.select(
        *COLUMNS,
        *(name for name in LIMITS if name in names),
        pl.col(*COUNTS, "num_tries").cast(pl.Int64),
        *(pl.col(n) if n in names else pl.lit(None, kind).alias(n) for n, kind in NEWER.items()),
        pl.struct(CONTENT).hash().cast(pl.String).alias("content"),
    )


def with_limits(rows: pl.DataFrame, limits: Mapping[int, Limits]) -> pl.DataFrame:
    """Adds the columns `limit_min_tokens` and `limit_max_tokens`: point → (least, most)."""
    known = [(point, *pair) for point, pair in limits.items()]
    table = pl.DataFrame(known, dict.fromkeys(("point", *LIMITS), pl.Int64), orient="row")
    return rows.join(table, on="point", how="left", maintain_order="left")


def _limits_of(entry: Mapping[str, Any]) -> Limits:
    """Of a point in evaluation.json: its limits, else those of its policy's settings."""
    settings = entry.get("settings") or {}
    low = entry.get(LIMITS[0], settings.get("min_thinking_tokens"))
    high = entry.get(LIMITS[1], settings.get("max_thinking_tokens"))
    return (int(low) if low else None), (None if high is None else int(high))


def cells(rows: pl.DataFrame) -> list[Cell]:
    """The cells of a frame, in order of first appearance of curves, then by point.

    Args:
        rows: from `read`, or any frame with the columns of `s1x.rows`.
    """
    if "content" not in rows.columns:
        rows = _needed(rows.lazy(), rows.columns).collect()
    curve = [*(["source"] if "source" in rows.columns else []), *CURVE_KEY]
    alone = pl.col("problem_id").n_unique().over("content") == 1
    whole = pl.concat_str("content", "problem_id", separator="/")
    key = pl.when(alone).then("content").otherwise(whole).alias("key")
    found = []
    for group in rows.partition_by(curve, maintain_order=True):
        for part in group.sort("point", "problem_id", "sample").partition_by("point"):
            first = part.row(0, named=True)
            names = (*CURVE_KEY, "point", "setting", *(name for name in LIMITS if name in first))
            values = {name: first[name] for name in names}
            found.append(Cell(rows=part.with_columns(key), **values))
    return found
