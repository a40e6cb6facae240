"""Who got which question right: verdict columns, else the attempts graded.

Codes in arrays: 1 right, 0 wrong, -1 not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from s1x.benchmark.extraction import last_boxed
from s1x.pool.columns import ANSWER_PREFIX, VERDICT_PREFIX
from s1x.selection.step import Rows

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Codes = npt.NDArray[np.int8]


def codes(verdicts: pa.Array) -> Codes:
    """A Boolean column as codes."""
    import numpy as np
    import pyarrow.compute as pc

    right = pc.fill_null(verdicts, False).to_numpy(zero_copy_only=False)
    known = verdicts.is_valid().to_numpy(zero_copy_only=False)
    return np.where(known, right.astype(np.int8), np.int8(-1)).astype(np.int8)


def attempt_verdicts(rows: Rows, grader: str | None) -> Codes:
    """The verdict of each row's own attempt; graded where unknown, if a grader is named.

    Raises:
        UserError: there is neither a verdict column nor a solution to grade against.
    """
    import numpy as np

    found: Codes = np.full(len(rows), -1, np.int8)
    if rows.has("attempt_is_correct"):
        found = codes(rows.column("attempt_is_correct"))
    elif grader is None or not rows.has("solution"):
        rows.table.need(["attempt_is_correct"])
    unknown = np.flatnonzero(found < 0)
    if grader is None or not unknown.size or not rows.has("solution") or not rows.has("attempt"):
        return found
    left = Rows(rows.table, rows.numbers[unknown], rows.context, "grading")
    for places, batch in left.scan(["question", "attempt", "solution"]):
        questions, attempts, solutions = (column.to_pylist() for column in batch.columns)
        found[unknown[places]] = grade(questions, attempts, solutions, grader)
    return found


def grade(
    questions: Sequence[str],
    attempts: Sequence[str | None],
    solutions: Sequence[str | None],
    grader: str,
) -> list[int]:
    """Grades attempts against reference solutions with a grader of `s1x.benchmark`.

    A solution that ends in `#### n` (GSM8K) or holds a `\\boxed{}` stands for that answer.

    Raises:
        UserError: there is no such grader.
    """
    from s1x.benchmark.grader import make_grader
    from s1x.benchmark.problem import Problem

    triples = list(zip(questions, attempts, solutions, strict=True))
    places = [i for i, (_, attempt, solution) in enumerate(triples) if attempt and solution]
    pairs = []
    for i in places:
        question, attempt, solution = triples[i]
        assert attempt
        assert solution
        pairs.append((Problem(str(i), question, reference_answer(solution), domain=""), attempt))
    result = [-1] * len(triples)
    judge = make_grader(grader)
    try:
        for i, found in zip(places, judge.grade_all(pairs), strict=True):
            result[i] = {"correct": 1, "wrong": 0, "unanswered": 0}.get(found.verdict, -1)
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


def solver_names(rows: Rows, wanted: Iterable[str]) -> list[str]:
    """The solver models: those named, else every column `is_correct_<solver>`.

    Raises:
        UserError: a solver that is named and not there.
    """
    wanted = list(wanted)
    rows.table.need([VERDICT_PREFIX + name for name in wanted])
    there = [n[len(VERDICT_PREFIX) :] for n in rows.table.names if n.startswith(VERDICT_PREFIX)]
    return wanted or sorted(there)


def answer_names(rows: Rows, wanted: Iterable[str]) -> list[str]:
    """The models with a column `answer_<model>`: those named, else all."""
    wanted = list(wanted)
    rows.table.need([ANSWER_PREFIX + name for name in wanted])
    there = [n[len(ANSWER_PREFIX) :] for n in rows.table.names if n.startswith(ANSWER_PREFIX)]
    return wanted or sorted(there)
