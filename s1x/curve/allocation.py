"""Whether each question got the budget that it needed: allocation along one curve.

The points of a curve answer the same questions from the same traces, so a trace at one budget can
be held against the same trace at all others. Points are taken in order of their mean thinking
tokens; where tokens were not recorded, in order of their limits, and what counts tokens is None;
problems that lack a sample at some point are left out; an ungraded answer is not right.
Tokens are thinking tokens of the trace that was kept, forced ones included.

Overthinking is the word of arXiv 2412.21187, underthinking that of 2501.18585; here both are read
from verdicts along the curve, no judge is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from s1x.curve.cells import Cell
from s1x.curve.curves import share_estimate
from s1x.curve.interval import (
    Estimate,
    Floats,
    Result,
    contrast_interval,
    mean_interval,
    share_interval,
)
from s1x.rows import CORRECT

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
UNKNOWN = Estimate(None)


@dataclass(frozen=True)
class PointAllocation(Result):
    """What one budget, given to every question, did; percent of traces, tokens per question.

    right + starved + spoilt + never right = 100%.
    """

    point: int
    setting: str
    right_percent: Estimate
    starved_percent: Estimate  # wrong here, right at some larger budget
    spoilt_percent: Estimate  # wrong here and at all larger budgets, right at a smaller one
    mean_thinking_tokens: float | None = None  # None, as all below: tokens were not recorded
    overthinking_tokens: Estimate = UNKNOWN  # past the sufficient budget; 0 for traces without one
    wasted_tokens: Estimate = UNKNOWN  # spent here on traces that are right at no budget
    perfect_percent: Estimate = UNKNOWN  # upper bound: accuracy of `perfect` with these tokens
    perfect_gain_points: Estimate = UNKNOWN  # that minus right_percent, paired; never below 0


@dataclass(frozen=True)
class Allocation(Result):
    """How a curve's tokens met what its questions needed."""

    num_problems: int  # with every sample at every point
    samples_per_problem: int
    sufficient_percent: Estimate  # traces that are right from some point to the last
    sufficient_tokens: Estimate  # mean of theirs at the first such point
    never_right_percent: Estimate
    points: list[PointAllocation]  # by mean thinking tokens


def allocate(points: Sequence[Cell]) -> Allocation | None:
    """The allocation along a curve's cells; None with under two points or nothing to compare."""
    if len(points) < 2 or not all(cell.num_graded for cell in points):
        return None
    right, tokens, most = _traces(points)
    if not len(right):
        return None
    known = bool(np.isfinite(tokens).all())
    limits = [float("inf") if c.limit_max_tokens is None else c.limit_max_tokens for c in points]
    if not known and len(set(limits)) < len(limits):
        return None  # nothing says which budget is the larger
    size = tokens.mean(axis=0).tolist() if known else limits
    order = sorted(range(len(points)), key=lambda p: (size[p], p))
    points, right, tokens = [points[p] for p in order], right[:, order], tokens[:, order]
    first = sufficient(right)
    has = first >= 0
    enough = np.where(has, np.take_along_axis(tokens, np.maximum(first, 0)[:, None], 1)[:, 0], 0)
    of_problem = enough.reshape(-1, most).sum(axis=1)[has.reshape(-1, most).any(axis=1)]
    counts = has.reshape(-1, most).sum(axis=1)
    needed = of_problem / counts[counts > 0]
    return Allocation(
        num_problems=len(right) // most,
        samples_per_problem=most,
        sufficient_percent=_share(has, most),
        sufficient_tokens=_mean(needed) if known else UNKNOWN,
        never_right_percent=_share(np.logical_not(right.any(axis=1)), most),
        points=[_point(cell, p, right, tokens, most) for p, cell in enumerate(points)],
    )


def sufficient(right: Bools) -> Ints:
    """Of each trace the first point from which its answer stays right; -1 without one.

    Args:
        right: (traces, points), points by budget.
    """
    stays = np.logical_and.accumulate(right[:, ::-1], axis=1)[:, ::-1]
    return np.where(stays[:, -1], stays.argmax(axis=1), -1)


def overthinking(right: Bools, tokens: Floats, point: int) -> Floats:
    """Thinking tokens of each trace at a point past those of its sufficient budget, 0 or more."""
    first = sufficient(right)
    enough = np.take_along_axis(tokens, np.maximum(first, 0)[:, None], axis=1)[:, 0]
    past = np.maximum(tokens[:, point] - enough, 0)
    return np.where((first >= 0) & (first <= point), past, 0).astype(np.float64)


def perfect(right: Bools, tokens: Floats, point: int) -> tuple[Bools, Floats]:
    """The traces that a perfect allocation of a point's thinking tokens answers right.

    Whoever knows all verdicts gives each trace the cheapest of the curve's budgets at which its
    answer is right, or none, so that as many as possible are right and the sum of thinking tokens
    is at most that of the point. All are worth the same, so this knapsack is filled exactly by
    taking the cheapest first. It is an upper bound: it also knows which answers are right by luck.

    Returns:
        (traces,) whether it is answered right; (traces,) how much the share of right answers would
        change with this trace's tokens, to first order (for intervals).
    """
    cost = np.where(right, tokens, np.inf).min(axis=1)
    solvable = right.any(axis=1)
    order = np.argsort(cost, kind="stable")[: solvable.sum()]
    count = int(np.searchsorted(np.cumsum(cost[order]), tokens[:, point].sum(), side="right"))
    chosen = np.zeros(len(right), np.bool_)
    chosen[order[:count]] = True
    price = 1 / cost[order[count]] if count < len(order) else 0.0
    return chosen, price * (tokens[:, point] - np.where(chosen, cost, 0))


def _point(cell: Cell, p: int, right: Bools, tokens: Floats, most: int) -> PointAllocation:
    here, below, above = right[:, p], right[:, :p].any(axis=1), right[:, p + 1 :].any(axis=1)
    found = PointAllocation(
        point=cell.point,
        setting=cell.setting,
        right_percent=_share(here, most),
        starved_percent=_share(~here & above, most),
        spoilt_percent=_share(~here & ~above & below, most),
    )
    if not np.isfinite(tokens).all():
        return found
    chosen, influence = perfect(right, tokens, p)
    both = np.stack([_by_problem(chosen, most), _by_problem(here, most)], axis=1)
    noise = _by_problem(influence, most)
    low, high = contrast_interval(both, (1, -1), most, noise)
    gain = both[:, 0].mean() - both[:, 1].mean()
    wasted = np.where(right.any(axis=1), 0, tokens[:, p])
    return replace(
        found,
        mean_thinking_tokens=float(tokens[:, p].mean()),
        overthinking_tokens=_mean(_by_problem(overthinking(right, tokens, p), most)),
        wasted_tokens=_mean(_by_problem(wasted, most)),
        perfect_percent=Estimate.percent(
            both[:, 0].mean(), share_interval(both[:, 0], most, noise=noise)
        ),
        perfect_gain_points=Estimate.percent(gain, (np.maximum(low, 0.0), high)),
    )


def _traces(points: Sequence[Cell]) -> tuple[Bools, Floats, int]:
    """Right or not, and thinking tokens (NaN: not recorded): (traces, points), by problem."""
    frames = [
        cell.rows.select(
            *("key", "sample"),
            right=(pl.col("verdict") == CORRECT).fill_null(False),
            tokens=pl.col("thinking_tokens").cast(pl.Float64),
            at=pl.lit(at),
        )
        for at, cell in enumerate(points)
    ]
    whole = pl.concat(frames)
    most = max(cell.samples_per_problem for cell in points)
    whole = whole.filter(pl.len().over("key") == most * len(points)).sort("key", "sample", "at")
    shape = (-1, len(points))
    right, tokens = whole["right"].to_numpy(), whole["tokens"].to_numpy()
    return right.reshape(shape), tokens.reshape(shape), most


def _by_problem(values: NDArray[np.generic], most: int) -> Floats:
    return np.asarray(values.reshape(-1, most).mean(axis=1), np.float64)


def _share(traces: Bools, most: int) -> Estimate:
    return share_estimate(pl.Series(_by_problem(traces, most)), most)


def _mean(values: Floats) -> Estimate:
    """A mean over problems with its interval."""
    return Estimate(float(values.mean()), *mean_interval(values)) if len(values) else UNKNOWN
