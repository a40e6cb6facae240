"""Who got which question right: verdict columns, else the attempts graded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from s1x.benchmark.extraction import reference_text
from s1x.benchmark.grader import make_grader
from s1x.benchmark.problem import Problem
from s1x.rows import CORRECT, UNGRADED
from s1x.selection.step import Rows


def attempt_verdicts(rows: Rows, grader: str | None) -> pl.DataFrame:
    """`row` and `is_right` of each row's own attempt; graded where unknown, if a grader is named.

    Raises:
        UserError: no such grader, or neither a verdict column nor a solution to grade against.
    """
    given = ["attempt_is_correct"] if rows.has("attempt_is_correct") else []
    if not given and (grader is None or not rows.has("solution")):
        rows.table.need(["attempt_is_correct"])
    known = pl.col(*given) if given else pl.lit(None)
    found = rows.frame(given).select("row", is_right=known.cast(pl.Boolean))
    unknown = found.filter(pl.col("is_right").is_null())["row"]
    if grader is None or unknown.is_empty() or not rows.has("solution", "attempt"):
        return found
    graded = pl.DataFrame(
        _graded(rows.among(unknown), grader), {"row": pl.UInt32, "graded": pl.Boolean}, orient="row"
    )
    found = found.join(graded, on="row", how="left", maintain_order="left")
    return found.select("row", is_right=pl.coalesce("is_right", "graded"))


def _graded(rows: Rows, grader: str) -> Iterator[tuple[int, bool]]:
    """Rows whose attempt can be graded against the solution, and whether it is right."""
    judge = make_grader(grader)
    try:
        for batch in rows.batches(["question", "attempt", "solution"]):
            pairs = {
                row: (Problem(str(row), question, reference_text(solution), domain=""), attempt)
                for row, question, attempt, solution in batch.iter_rows()
                if attempt and solution
            }
            for row, grade in zip(pairs, judge.grade_all(list(pairs.values())), strict=True):
                if grade.verdict != UNGRADED:
                    yield row, grade.verdict == CORRECT
    finally:
        judge.close()


def column_names(rows: Rows, prefix: str, wanted: Iterable[str]) -> list[str]:
    """The columns of the models named, else all with the prefix.

    Raises:
        UserError: a model that is named and not there.
    """
    named = [prefix + name for name in wanted]
    rows.table.need(named)
    return named or sorted(name for name in rows.table.names if name.startswith(prefix))


def num_right(names: Iterable[str]) -> pl.Expr:
    """How many of the verdict columns say right; an unknown verdict does not."""
    return pl.sum_horizontal(pl.col(n).cast(pl.Boolean).fill_null(False) for n in names)
