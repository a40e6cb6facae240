"""Control, Scaling and Performance (paper, section 3.2), and their intervals.

The paper defines the slope on a linear axis but its
Table 3 is reproduced only by slopes per doubling of thinking tokens, so both exist and say their
unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from s1x.curve.interval import Estimate, Floats, best_interval, contrast_interval

Limits = Sequence[tuple[float | None, float | None]]


def control(mean_thinking_tokens: ArrayLike, limits: Limits) -> float | None:
    """Percent of the points with a limit whose mean thinking tokens lie within it.

    Args:
        mean_thinking_tokens: of each point.
        limits: least and most tokens of each point, None where there is no such limit.
    """
    tokens = np.asarray(mean_thinking_tokens, np.float64)
    low, high, limited = _bounds(limits)
    inside = (low <= tokens) & (tokens <= high)
    return 100 * float(inside[limited].mean()) if limited.any() else None


def slope(tokens: ArrayLike, accuracy_percent: ArrayLike, per_doubling: bool) -> float | None:
    """Points of accuracy per doubling of thinking tokens, or per 1,000: mean over pairs of points.

    Points without any thinking have no logarithm and take no part.
    """
    return _slopes(_axis(tokens, per_doubling), np.asarray(accuracy_percent, np.float64))[0]


@dataclass(frozen=True)
class Measured:
    """A curve by problem: mean thinking tokens and accuracy (0 to 1), both (problems, points).

    NaN where a problem lacks a point; `most` is the number of samples per problem.
    """

    tokens: Floats
    accuracy: Floats
    most: float


def control_estimate(measured: Measured, limits: Limits) -> Estimate:
    """Control, from the points that surely keep their limits to those that may keep them.

    A point's mean length is known to its 95% interval, all points at once (Bonferroni); points
    whose lengths were not recorded take no part.
    """
    known = np.isfinite(measured.tokens).any(axis=0)
    tokens, limits = measured.tokens[:, known], [limits[p] for p in np.flatnonzero(known)]
    low, high, limited = _bounds(limits)
    if not limited.any():
        return Estimate(None)
    mean, count = np.nanmean(tokens, axis=0), np.isfinite(tokens).sum(axis=0)
    z = NormalDist().inv_cdf(1 - 0.025 / limited.sum())
    half = z * np.nanstd(tokens, axis=0) / np.sqrt(np.maximum(count - 1, 1))
    surely = (low <= mean - half) & (mean + half <= high)
    perhaps = (low <= mean + half) & (mean - half <= high)
    least, most = (100 * float(kept[limited].mean()) for kept in (surely, perhaps))
    return Estimate(control(mean, limits), least, most)


def performance_estimate(measured: Measured) -> Estimate:
    """The best accuracy of the points, with an interval that allows for the choice."""
    known = measured.accuracy[:, np.isfinite(measured.accuracy).any(axis=0)]
    if not known.size:
        return Estimate(None)
    best = float(100 * np.nanmean(known, axis=0).max())
    complete = known[np.isfinite(known).all(axis=1)]
    if not len(complete):
        return Estimate(best, best_of=known.shape[1])
    low, high = best_interval(complete, measured.most)
    return Estimate(best, 100 * low, 100 * high, known.shape[1])


def slope_estimate(measured: Measured, per_doubling: bool) -> Estimate:
    """The mean slope with its interval: a contrast of the points, paired by problem.

    To first order; how far the problems' lengths move the points along the axis is counted in.
    """
    known = np.isfinite(measured.accuracy).any(axis=0) & (measured.tokens > 0).any(axis=0)
    tokens, accuracy = measured.tokens[:, known], measured.accuracy[:, known]
    if known.sum() < 2:
        return Estimate(None)
    mean_tokens, mean_accuracy = np.nanmean(tokens, axis=0), np.nanmean(accuracy, axis=0)
    x = _axis(mean_tokens, per_doubling)
    mean, weights, pull = _slopes(x, mean_accuracy)
    if mean is None:
        return Estimate(None)
    complete = np.isfinite(accuracy).all(axis=1) & np.isfinite(tokens).all(axis=1)
    if not complete.any():
        return Estimate(100 * mean)
    tokens = tokens[complete]
    moves = pull / (mean_tokens * np.log(2.0)) if per_doubling else pull / 1000
    noise = (tokens - tokens.mean(axis=0)) @ moves
    reach = _reach(tokens, weights)
    interval = contrast_interval(accuracy[complete], weights, measured.most, noise, reach)
    return Estimate.percent(mean, interval)


def _slopes(x: Floats, y: Floats) -> tuple[float | None, Floats, Floats]:
    """The mean of (y_b - y_a) / (x_b - x_a) over pairs, and its derivatives by each y and x.

    Only pairs of two different, known x count; without any there is no slope.
    """
    run, rise = x[:, None] - x[None, :], y[:, None] - y[None, :]
    apart = np.isfinite(run) & np.isfinite(rise) & (run != 0)
    one = np.divide(1.0, run, out=np.zeros_like(run), where=apart)
    each = np.where(apart, rise, 0.0) * one
    pairs = max(1, apart.sum() / 2)
    mean = float(each.sum() / 2 / pairs) if apart.any() else None
    return mean, one.sum(axis=1) / pairs, -(each * one).sum(axis=1) / pairs


def _reach(tokens: Floats, weights: Floats) -> float:
    """The largest contrast that a problem can have, on average over the problems.

    Points at which a problem's trace is the same have the same answer.
    """
    same = (np.unique(row, return_inverse=True)[1] for row in tokens)
    reaches = [np.abs(np.bincount(one, weights=weights)).sum() / 2 for one in same]
    return float(np.mean(reaches))


def _axis(tokens: ArrayLike, per_doubling: bool) -> Floats:
    values = np.asarray(tokens, np.float64)
    if not per_doubling:
        return values / 1000
    return np.asarray(np.log2(np.where(values > 0, values, np.nan)))


def _bounds(limits: Limits) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    low = np.array([-np.inf if pair[0] is None else pair[0] for pair in limits])
    high = np.array([np.inf if pair[1] is None else pair[1] for pair in limits])
    return low, high, np.isfinite(low) | np.isfinite(high)
