"""Paired differences between any two runs (paper, Table 2: 95% paired bootstrap of differences).

Only problems that both have take part, and both are resampled by the same draws: what makes a
problem hard for both cancels, and the interval is the narrower for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from s1x.errors import UserError
from s1x.metrics.bootstrap import NUM_RESAMPLES, SEED, interval, resampled_means
from s1x.metrics.curve import aligned, few_problems
from s1x.metrics.results import Difference
from s1x.metrics.table import Cell, cells

if TYPE_CHECKING:
    import pyarrow as pa


def difference(
    left: Cell, right: Cell, num_resamples: int = NUM_RESAMPLES, seed: int = SEED
) -> Difference:
    """Accuracy of `left` minus that of `right`, in points, with its paired 95% interval.

    Raises:
        UserError: different benchmarks, or no problem that both have a graded answer to.
    """
    import numpy as np

    if left.benchmark != right.benchmark:
        raise UserError(
            f"{left.name} is on {left.benchmark}, {right.name} on {right.benchmark}: "
            "only runs on the same benchmark can be compared"
        )
    ids = sorted(set(left.problem_ids) & set(right.problem_ids))
    accuracy = np.array([[], []]).T
    if ids:
        accuracy = 100 * np.stack([aligned(c, c.is_correct, ids) for c in (left, right)], axis=1)
        accuracy = accuracy[np.isfinite(accuracy).all(axis=1)]
    if not len(accuracy):
        raise UserError(f"{left.name} and {right.name} have no graded problem in common")
    delta = accuracy[:, 0] - accuracy[:, 1]
    low, high = interval(resampled_means(delta[:, None], num_resamples, seed)[:, 0])
    assert low is not None
    assert high is not None
    return Difference(
        left=left.name,
        right=right.name,
        benchmark=left.benchmark,
        left_accuracy_percent=float(accuracy[:, 0].mean()),
        right_accuracy_percent=float(accuracy[:, 1].mean()),
        difference_points=float(delta.mean()),
        low_points=low,
        high_points=high,
        num_problems=len(delta),
        left_samples_per_problem=left.samples_per_problem,
        right_samples_per_problem=right.samples_per_problem,
        clear=low > 0 or high < 0,
        warnings=_warnings(left, right, len(delta)),
    )


def differences(
    rows: pa.Table | Sequence[Cell],
    baseline: Cell,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = SEED,
) -> list[Difference]:
    """Every other cell of the baseline's benchmark against the baseline, as ablation tables do."""
    found = rows if isinstance(rows, Sequence) else cells(rows)
    return [
        difference(cell, baseline, num_resamples, seed)
        for cell in found
        if cell.benchmark == baseline.benchmark and cell is not baseline
    ]


def _warnings(left: Cell, right: Cell, num_problems: int) -> list[str]:
    found = []
    few = few_problems(num_problems, min(left.samples_per_problem, right.samples_per_problem))
    if few:
        found.append(few)
    dropped = len(set(left.problem_ids) | set(right.problem_ids)) - num_problems
    if dropped:
        found.append(f"{dropped} problems are not graded in both and were left out")
    return found
