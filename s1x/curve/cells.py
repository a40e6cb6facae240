"""Evaluation rows as a frame, and its cells: one (benchmark, model, role, format, policy, point).

Only the columns that a curve needs are read; of questions and reference answers a hash, so that a
million rows with long traces stay small.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
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

Floats = NDArray[np.float64]

#: what a curve is named by
CURVE_KEY = ("benchmark", "model", "model_role", "prompt_format", "policy")
#: columns of rows.parquet that are read
COLUMNS = (
    *(*CURVE_KEY, "problem_id", "domain", "point", "setting", "sample"),
    *("thinking_tokens", "answer_tokens", "forced_tokens", "num_tries"),
    *("end_reason", "extracted_answer", "verdict", "interim_answers", "interim_verdicts"),
)
LIMITS = ("limit_min_tokens", "limit_max_tokens")
#: a problem is its question (choices written out) and its reference answer, whatever its id
CONTENT = ("question", "reference_answer")


@dataclass(frozen=True, eq=False)
class Cell:
    """The rows of one point of one curve, sorted by problem and sample."""

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
    def _problems(self) -> pl.DataFrame:
        return self.rows.group_by("problem_id", maintain_order=True).agg(
            pl.first("content"), num_samples=pl.len()
        )

    @cached_property
    def problem_ids(self) -> tuple[str, ...]:
        """Ids of its problems, sorted."""
        return tuple(self._problems["problem_id"])

    @cached_property
    def problem_keys(self) -> tuple[str, ...]:
        """What tells a problem from others in any run: its content, and its id where two agree."""
        twice = pl.col("content").is_duplicated()
        key = pl.col("content").cast(pl.String)
        key = pl.when(twice).then(pl.concat_str(key, "problem_id", separator="/")).otherwise(key)
        return tuple(self._problems.select(key).to_series())

    @cached_property
    def problem(self) -> NDArray[np.int64]:
        """Index into `problem_ids` of each row."""
        return np.repeat(np.arange(len(self.problem_ids)), self._problems["num_samples"].to_numpy())

    @cached_property
    def samples_per_problem(self) -> int:
        """The largest number of samples that a problem has."""
        return int(self._problems["num_samples"].to_numpy().max())

    @cached_property
    def is_correct(self) -> Floats:
        """1 correct, 0 wrong or unanswered, NaN ungraded; one entry per row."""
        verdict = pl.col("verdict").fill_null(UNGRADED)
        value = pl.when(verdict != UNGRADED).then((verdict == CORRECT).cast(pl.Float64))
        return self.rows.select(value.fill_null(float("nan"))).to_series().to_numpy()

    @cached_property
    def accuracy(self) -> Floats:
        """Share of each problem's samples that are right, an ungraded one counting as not right.

        NaN throughout where nothing at all was graded: a grader that failed says nothing.
        """
        graded = np.isfinite(self.is_correct)
        values = np.where(graded, self.is_correct, 0.0 if graded.any() else np.nan)
        return self.by_problem(values)

    @property
    def thinking_tokens(self) -> NDArray[np.int64]:
        """Thinking tokens of each row, forced ones included."""
        return self.rows["thinking_tokens"].to_numpy()

    @property
    def end_reason(self) -> list[str | None]:
        """How the thinking of each row ended."""
        return self.rows["end_reason"].to_list()

    @property
    def domain(self) -> list[str | None]:
        """Domain of each row's problem."""
        return self.rows["domain"].to_list()

    def by_problem(self, values: NDArray[Any]) -> Floats:
        """Means over each problem's rows; NaN rows are left out, NaN where none is left."""
        here = np.isfinite(values)
        size = len(self.problem_ids)
        count = np.bincount(self.problem[here], minlength=size)
        total = np.bincount(self.problem[here], weights=values[here], minlength=size)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(total / count)

    def mean(self, column: str) -> float:
        """Mean over problems of their means of a column of numbers."""
        return float(self.by_problem(self.rows[column].to_numpy()).mean())

    def share_percent(self, column: str, value: object) -> float:
        """Percent of the rows whose column has the value."""
        return float(100 * (self.rows[column] == value).sum() / self.rows.height)


def read(sources: Iterable[Path]) -> pl.DataFrame:
    """Rows of many evaluations as one frame with the columns that curves need.

    Args:
        sources: evaluation folders (`rows.parquet` and, for the limits that were asked for,
            `evaluation.json`), or Parquet files themselves. Rows of different ones are never
            put on one curve (column `source`).

    Raises:
        UserError: a folder without rows, a file that is none or lacks a column.
    """
    frames = [_read_one(Path(source), index) for index, source in enumerate(sources)]
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
        missing = [name for name in (*COLUMNS, *CONTENT) if name not in names]
        if missing:
            raise UserError(f"{file} is not an evaluation's rows: it lacks {', '.join(missing)}")
        rows = prepared(scan, names).with_columns(source=pl.lit(index)).collect()
    except (PolarsError, OSError) as error:
        raise UserError(
            f"{file} cannot be read ({str(error).splitlines()[0]}); redo it with force=[evaluate]"
        ) from None
    info = file.with_name("evaluation.json")
    points = json.loads(info.read_text(encoding="utf-8"))["points"] if info.is_file() else []
    return with_limits(rows, {entry["point"]: thinking_limits(entry) for entry in points})


def prepared(rows: pl.LazyFrame, names: Iterable[str]) -> pl.LazyFrame:
    """The columns that cells need, from rows as `s1x.rows` has them.

    Args:
        rows: evaluation rows.
        names: their columns; `answer_cut` is not in old ones.
    """
    cut = pl.col("answer_cut") if "answer_cut" in names else pl.lit(None, pl.Boolean)
    counts = pl.col("thinking_tokens", "answer_tokens", "forced_tokens").fill_null(0)
    return rows.select(
        *(name for name in COLUMNS if not name.endswith("_tokens") and name != "num_tries"),
        *(name for name in LIMITS if name in names),
        counts.cast(pl.Int64),
        pl.col("num_tries").fill_null(1).cast(pl.Int64),
        cut.alias("answer_cut"),
        pl.struct(CONTENT).hash().alias("content"),
    )


def with_limits(
    rows: pl.DataFrame, limits: Mapping[int, tuple[int | None, int | None]]
) -> pl.DataFrame:
    """Adds the columns `limit_min_tokens` and `limit_max_tokens`: point → (least, most)."""
    columns = [
        pl.col("point")
        .replace_strict({p: pair[i] for p, pair in limits.items()}, default=None)
        .cast(pl.Int64)
        .alias(name)
        if limits
        else pl.lit(None, pl.Int64).alias(name)
        for i, name in enumerate(LIMITS)
    ]
    return rows.with_columns(columns)


def thinking_limits(entry: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Least and most thinking tokens asked for at a point (None: no such limit).

    Args:
        entry: the point in evaluation.json: its limits, else its policy's settings.
    """
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
        rows = prepared(rows.lazy(), rows.columns).collect()
    key = [*(["source"] if "source" in rows.columns else []), *CURVE_KEY]
    found = []
    for group in rows.partition_by(key, maintain_order=True):
        for part in group.sort("point", "problem_id", "sample").partition_by("point"):
            first: dict[str, Any] = part.row(0, named=True)
            values = {name: first[name] for name in (*CURVE_KEY, "point", "setting")}
            values |= {name: first.get(name) for name in LIMITS}
            found.append(Cell(rows=part, **values))
    return found
