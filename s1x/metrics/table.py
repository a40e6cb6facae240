"""Evaluation rows as arrays: one cell a (benchmark, model, role, format, policy, point).

    table = read([Path("outputs/evaluate/0123456789ab")])
    for cell in cells(table): ...

Only the columns that metrics need are read, so that a million rows with long traces stay small.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x.errors import UserError
from s1x.rows import CORRECT, UNGRADED

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: what a curve is named by
CURVE_KEY = ("benchmark", "model", "model_role", "prompt_format", "policy")
#: columns of rows.parquet that metrics read
COLUMNS = (
    *CURVE_KEY,
    *("problem_id", "domain", "level", "point", "setting", "sample"),
    *("prompt_tokens", "thinking_tokens", "answer_tokens", "forced_tokens", "num_tries"),
    *("end_reason", "extracted_answer", "verdict", "interim_answers", "interim_verdicts"),
)
LIMITS = ("limit_min_tokens", "limit_max_tokens")


@dataclass(frozen=True)
class Cell:
    """The rows of one point of one curve, sorted by problem and sample.

    Arrays have one entry a row; `problem` holds indexes into `problem_ids`, which is sorted.
    """

    benchmark: str
    model: str
    model_role: str
    prompt_format: str
    policy: str
    point: int
    setting: str
    problem_ids: tuple[str, ...]
    problem: Ints
    sample: Ints
    domain: list[str | None]
    thinking_tokens: Ints
    answer_tokens: Ints
    forced_tokens: Ints
    num_tries: Ints
    end_reason: list[str | None]
    verdict: list[str | None]
    extracted_answer: list[str | None]
    interim_verdicts: list[list[str] | None] = field(repr=False)
    interim_answers: list[list[str | None] | None] = field(repr=False)
    limit_min_tokens: int | None = None
    limit_max_tokens: int | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What names its curve: benchmark, model, role, prompt format, policy."""
        return (self.benchmark, self.model, self.model_role, self.prompt_format, self.policy)

    @property
    def name(self) -> str:
        """Words for people: model, role, policy and setting."""
        return (
            f"{self.model} ({self.model_role}, {self.prompt_format}), {self.policy} {self.setting}"
        )

    @cached_property
    def is_correct(self) -> Floats:
        """1 correct, 0 wrong or unanswered, NaN ungraded; one entry a row."""
        import numpy as np

        values = [np.nan if v in (UNGRADED, None) else float(v == CORRECT) for v in self.verdict]
        return np.array(values, dtype=np.float64)

    @cached_property
    def samples_per_problem(self) -> int:
        """The largest number of samples that a problem has."""
        import numpy as np

        return int(np.bincount(self.problem, minlength=1).max())

    def by_problem(self, values: Floats | Ints) -> Floats:
        """Means over each problem's rows; NaN rows are left out, NaN where none is left."""
        import numpy as np

        here = np.isfinite(values)
        size = len(self.problem_ids)
        count = np.bincount(self.problem[here], minlength=size)
        total = np.bincount(self.problem[here], weights=values[here], minlength=size)
        with np.errstate(invalid="ignore", divide="ignore"):
            means: Floats = total / count
        return means

    def share_percent(self, column: list[str | None], value: str) -> float:
        """Percent of rows whose column has the value."""
        return 100.0 * sum(v == value for v in column) / len(column)


def read(sources: Iterable[Path]) -> pa.Table:
    """Rows of many evaluations as one table with the columns that metrics need.

    Args:
        sources: evaluation folders (`rows.parquet` and, for the limits that were asked for,
            `evaluation.json`), or Parquet files themselves.

    Raises:
        UserError: a folder without rows, or a file that lacks a column.
    """
    import pyarrow as pa

    tables = [_read_one(Path(source)) for source in sources]
    if not tables:
        raise UserError("no evaluation rows were given; run stages=[evaluate] first")
    return pa.concat_tables(tables)


def _read_one(source: Path) -> pa.Table:
    import pyarrow.parquet as pq

    file = source / "rows.parquet" if source.is_dir() else source
    if not file.is_file():
        raise UserError(f"{source} has no rows.parquet; give folders that the evaluate stage wrote")
    missing = [name for name in COLUMNS if name not in pq.read_schema(file).names]
    if missing:
        raise UserError(f"{file} is not an evaluation's rows: it lacks {', '.join(missing)}")
    table = pq.read_table(file, columns=list(COLUMNS))
    info = file.with_name("evaluation.json")
    points = json.loads(info.read_text())["points"] if info.is_file() else []
    return with_limits(table, {entry["point"]: thinking_limits(entry) for entry in points})


def with_limits(table: pa.Table, limits: Mapping[int, tuple[int | None, int | None]]) -> pa.Table:
    """Adds the columns `limit_min_tokens` and `limit_max_tokens`: point → (least, most)."""
    import pyarrow as pa

    of_rows = [limits.get(point, (None, None)) for point in table["point"].to_pylist()]
    for index, name in enumerate(LIMITS):
        column = pa.array([pair[index] for pair in of_rows], pa.int64())
        table = table.append_column(name, column)
    return table


def thinking_limits(entry: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Least and most thinking tokens asked for at a point (None: no such limit).

    Args:
        entry: the point in evaluation.json: its limits, else its policy's settings.
    """
    settings = entry.get("settings") or {}
    low = entry.get(LIMITS[0], settings.get("min_thinking_tokens"))
    high = entry.get(LIMITS[1], settings.get("max_thinking_tokens"))
    return (int(low) if low else None), (None if high is None else int(high))


def cells(table: pa.Table) -> list[Cell]:
    """Splits a table into its cells, in order of first appearance of curves, then by point.

    Args:
        table: from `read`, or any Arrow table with its columns (limits may be missing).
    """
    rows_of: dict[tuple[Any, ...], list[int]] = {}
    columns = {name: table[name].to_pylist() for name in (*CURVE_KEY, "point")}
    for row, key in enumerate(zip(*columns.values(), strict=True)):
        rows_of.setdefault(key, []).append(row)
    first: dict[tuple[Any, ...], int] = {}
    for key in rows_of:
        first.setdefault(key[:-1], len(first))
    ordered = sorted(rows_of, key=lambda key: (first[key[:-1]], key[-1]))
    return [_cell(table.take(rows_of[key])) for key in ordered]


def _cell(table: pa.Table) -> Cell:
    import numpy as np

    table = table.sort_by([("problem_id", "ascending"), ("sample", "ascending")])
    ids, problem = np.unique(np.array(table["problem_id"].to_pylist()), return_inverse=True)

    def ints(name: str, missing: int = 0) -> Ints:
        return np.array([missing if v is None else v for v in table[name].to_pylist()], np.int64)

    def first(name: str) -> Any:
        return table[name][0].as_py() if name in table.column_names else None

    texts = ("domain", "end_reason", "verdict", "extracted_answer")
    lists = ("interim_verdicts", "interim_answers")
    return Cell(
        **{name: first(name) for name in (*CURVE_KEY, "point", "setting", *LIMITS)},
        **{name: table[name].to_pylist() for name in (*texts, *lists)},
        problem_ids=tuple(str(i) for i in ids),
        problem=problem.astype(np.int64),
        sample=ints("sample"),
        thinking_tokens=ints("thinking_tokens"),
        answer_tokens=ints("answer_tokens"),
        forced_tokens=ints("forced_tokens"),
        num_tries=ints("num_tries", missing=1),
    )
