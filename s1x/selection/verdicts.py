"""Who got which question right: verdict columns, else the attempts graded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from s1x.benchmark.extraction import last_boxed
from s1x.benchmark.grader import make_grader
from s1x.benchmark.problem import Problem
from s1x.selection.step import Rows


def attempt_verdicts(rows: Rows, grader: str | None) -> pl.DataFrame:
    """`row` and `is_right` of each row's own attempt; graded where unknown, if a grader is named.

    Raises:
        UserError: there is neither a verdict column nor a solution to grade against.
    """
    given = ["attempt_is_correct"] if rows.has("attempt_is_correct") else []
    if not given and (grader is None or not rows.has("solution")):
        rows.table.need(["attempt_is_correct"])
    known = pl.col(*given) if given else pl.lit(None)
    found = rows.frame(given).select("row", is_right=known.cast(pl.Boolean))
    unknown = found.filter(pl.col("is_right").is_null())["row"]
    if grader is None or unknown.is_empty() or not (rows.has("solution") and rows.has("attempt")):
        return found
    graded = []
    for batch in rows.among(unknown).batches(["question", "attempt", "solution"]):
        questions, attempts, solutions = batch.drop("row").get_columns()
        verdicts = grade(questions.to_list(), attempts.to_list(), solutions.to_list(), grader)
        graded.append(batch.select("row", graded=pl.Series(verdicts, dtype=pl.Boolean)))
    found = found.join(pl.concat(graded), on="row", how="left", maintain_order="left")
    return found.select("row", is_right=pl.coalesce("is_right", "graded"))


def grade(
    questions: Sequence[str],
    attempts: Sequence[str | None],
    solutions: Sequence[str | None],
    grader: str,
) -> list[bool | None]:
    """Grades attempts against reference solutions with a grader of `s1x.benchmark`.

    A solution that ends in `#### n` (GSM8K) or holds a `\\boxed{}` stands for that answer.

    Raises:
        UserError: there is no such grader.
    """
    pairs: dict[int, tuple[Problem, str]] = {}
    for place, (question, attempt, solution) in enumerate(
        zip(questions, attempts, solutions, strict=True)
    ):
        if attempt and solution:
            problem = Problem(str(place), question, reference_answer(solution), domain="")
            pairs[place] = (problem, attempt)
    result: list[bool | None] = [None] * len(questions)
    judge = make_grader(grader)
    try:
        for place, found in zip(pairs, judge.grade_all(list(pairs.values())), strict=True):
            result[place] = {"correct": True, "wrong": False, "unanswered": False}.get(
                found.verdict
            )
    finally:
        judge.close()
    return result


def reference_answer(solution: str) -> str:
    """The answer that a worked solution comes to; the solution itself where it marks none."""
    if "\\boxed" in solution:
        return last_boxed(solution)[1] or solution.strip()
    if "####" in solution:
        return solution.rpartition("####")[2].strip()
    return solution.strip()


def column_names(rows: Rows, prefix: str, wanted: Iterable[str]) -> list[str]:
    """The columns of the models named, else all with the prefix.

    Raises:
        UserError: a model that is named and not there.
    """
    named = [prefix + name for name in wanted]
    rows.table.need(named)
    return named or sorted(name for name in rows.table.names if name.startswith(prefix))
