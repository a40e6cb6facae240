"""What changed between two runs or two points, paired by problem (paper, Table 2).

A problem is its question and reference answer, whatever its id or file is called: only problems
that both have are compared. What makes a problem hard for both cancels, and the interval is the
narrower for it. The paper resamples the pairs; here the interval is that of `s1x.curve.interval`,
which also holds where two runs (nearly) always agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from s1x.curve.cells import Cell, cells
from s1x.curve.curves import aligned, few_problems
from s1x.curve.interval import contrast_interval
from s1x.curve.results import Difference, Estimate, Flips
from s1x.errors import UserError
from s1x.rows import CORRECT, UNGRADED


def difference(left: Cell, right: Cell) -> Difference:
    """Accuracy of `left` minus that of `right`, in points, with its paired 95% interval.

    Raises:
        UserError: different benchmarks, or no problem that both have an answer to.
    """
    if left.benchmark != right.benchmark:
        raise UserError(
            f"{left.name} is on {left.benchmark}, {right.name} on {right.benchmark}: "
            "only runs on the same benchmark can be compared"
        )
    theirs = set(right.problem_keys)
    keys = [key for key in left.problem_keys if key in theirs]
    if not keys:
        raise UserError(
            f"{left.name} and {right.name} are on two benchmarks that are both called "
            f"{left.benchmark}: no question with its reference answer is in both"
        )
    accuracy = np.stack([aligned(c, c.accuracy, keys) for c in (left, right)], axis=1)
    if not np.isfinite(accuracy).all():
        raise UserError(f"{left.name} and {right.name} have no graded problem in common")
    most = max(left.samples_per_problem, right.samples_per_problem)
    low, high = (100 * float(end) for end in contrast_interval(accuracy, (1, -1), most))
    means = 100 * accuracy.mean(axis=0)
    return Difference(
        left=left.name,
        right=right.name,
        benchmark=left.benchmark,
        left_accuracy_percent=float(means[0]),
        right_accuracy_percent=float(means[1]),
        difference_points=float(means[0] - means[1]),
        low_points=low,
        high_points=high,
        num_problems=len(keys),
        left_samples_per_problem=left.samples_per_problem,
        right_samples_per_problem=right.samples_per_problem,
        clear=low > 0 or high < 0,
        warnings=_warnings(left, right, len(keys)),
    )


def differences(rows: pl.DataFrame | Sequence[Cell], baseline: Cell) -> list[Difference]:
    """Every other cell of the baseline's benchmark against the baseline, as ablation tables do."""
    found = cells(rows) if isinstance(rows, pl.DataFrame) else rows
    return [
        difference(cell, baseline)
        for cell in found
        if cell.benchmark == baseline.benchmark and cell is not baseline
    ]


def told_apart(curves: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
    """The curves again, benchmarks that share their name and no problem under names of their own.

    Two files of one name, or one whose questions were all changed, are different benchmarks: the
    later one is called "test (other questions)".
    """
    known: dict[str, list[set[str]]] = {}
    found = []
    for cells_ in curves:
        name = cells_[0].benchmark
        keys = {key for cell in cells_ for key in cell.problem_keys}
        groups = known.setdefault(name, [])
        place = next((i for i, group in enumerate(groups) if group & keys), len(groups))
        groups[place:place] = [set()] if place == len(groups) else []
        groups[place] |= keys
        number = f" {place}" if place > 1 else ""
        named = f"{name} (other questions{number})" if place else name
        found.append([dataclasses.replace(cell, benchmark=named) for cell in cells_])
    return found


def _warnings(left: Cell, right: Cell, num_problems: int) -> list[str]:
    found = []
    few = few_problems(num_problems, min(left.samples_per_problem, right.samples_per_problem))
    if few:
        found.append(few)
    dropped = len(set(left.problem_keys) | set(right.problem_keys)) - num_problems
    if dropped:
        found.append(
            f"{dropped} problems are not in both (by question and reference answer) and were left "
            "out"
        )
    return found


Pair = tuple[int, str | None, str | None, str | None, str | None]
"""Index of the problem, verdicts before and after, answers before and after."""


def flips(cell: Cell) -> list[Flips]:
    """Flips between the answers asked for along each trace: entry i compares answer i with i + 1.

    The answers are those of `interim_verdicts`, the final one last. Empty without any.
    """
    pairs: dict[int, list[Pair]] = {}
    columns = cell.rows.select("interim_verdicts", "interim_answers").iter_rows()
    for problem, (verdicts, answers) in zip(cell.problem.tolist(), columns, strict=True):
        texts = answers or [None] * len(verdicts or ())
        for step in range(1, len(verdicts or ())):
            pair = (problem, *verdicts[step - 1 : step + 1], *texts[step - 1 : step + 1])
            pairs.setdefault(step, []).append(pair)
    return [_count(step, pairs[step], cell.samples_per_problem) for step in sorted(pairs)]


def flips_between(before: Cell, after: Cell) -> Flips:
    """Flips from one point to another of the same samples ("natural" to "Wait x 1")."""
    told = {(key, sample): texts for key, sample, *texts in _answers(before)}
    number = {key: i for i, key in enumerate(after.problem_keys)}
    pairs: list[Pair] = []
    for key, sample, verdict, answer in _answers(after):
        if (key, sample) in told:
            first_verdict, first_answer = told[key, sample]
            pairs.append((number[key], first_verdict, verdict, first_answer, answer))
    return _count(1, pairs, after.samples_per_problem)


def _answers(cell: Cell) -> list[tuple[str, int, str | None, str | None]]:
    rows = cell.rows.select("sample", "verdict", "extracted_answer").iter_rows()
    return [
        (cell.problem_keys[p], *row) for p, row in zip(cell.problem.tolist(), rows, strict=True)
    ]


def _count(step: int, pairs: Sequence[Pair], most: int) -> Flips:
    graded = [p for p in pairs if not {p[1], p[2]} & {UNGRADED, None}]
    right = np.array([(p[1] == CORRECT, p[2] == CORRECT) for p in graded], bool).reshape(-1, 2)
    before, after = right[:, 0], right[:, 1]
    return Flips(
        step=step,
        wrong_to_right=int((~before & after).sum()),
        right_to_wrong=int((before & ~after).sum()),
        stayed_right=int((before & after).sum()),
        stayed_wrong=int((~before & ~after).sum()),
        changed=sum(p[3] != p[4] for p in graded),
        net_points=_net(np.array([p[0] for p in graded], np.int64), right, most),
    )


def _net(problem: NDArray[np.int64], right: NDArray[np.bool_], most: int) -> Estimate:
    if not len(problem):
        return Estimate(None)
    index, count = np.unique(problem, return_inverse=True, return_counts=True)[1:]
    shares = np.stack([np.bincount(index, weights=right[:, i]) / count for i in (0, 1)], axis=1)
    low, high = contrast_interval(shares, (-1, 1), most)
    net = float((shares[:, 1] - shares[:, 0]).mean())
    return Estimate(100 * net, 100 * float(low), 100 * float(high))
