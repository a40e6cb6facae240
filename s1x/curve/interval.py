"""95% intervals that hold near 0 and 1, for samples that come in clusters (problems).

Samples of one problem are alike, so n problems with k samples each are worth fewer than n x k
answers: their *effective number* is what would give the variance that is seen between problems
(the design effect of survey sampling). It lies between n and n x k; few problems that differ say
little about it, so it is drawn towards n, the careful end.

* Shares (accuracy, pass@k, majority@k): Wilson's score interval at the effective number.
* Differences and slopes, paired by problem: the adjusted Wald interval of Bonett and Price (2012)
  at the effective number: one problem more that speaks for, and one that speaks against. Two runs
  that agree on all of 30 problems differ by "-8.7 to 8.7", not by "0 to 0".
* Means of tokens: the normal interval over problems.
* The best of many points: below, a bound that all points keep at once; above, the highest bound of
  a point.

`tests/curve/test_coverage.py` measures what they cover; docs/report.md has the figures.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

Z95 = 1.959963984540054
#: weight, in problems that differ, of the belief that a problem's samples all agree. Chosen by
#: simulation: without it, intervals near 0 and 1 cover 88% at 8 samples a problem
PRIOR_PROBLEMS = 0.7


@dataclass(frozen=True)
class Result:
    """A result that can be written as JSON.

    Accuracies and shares are percent (0 to 100) and say so in their names, token counts are tokens.
    A value that cannot be computed is None, never 0.
    """

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, nested results included."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Estimate(Result):
    """A value with its 95% interval, clustered by problem; None where it cannot be told.

    Attributes:
        best_of: the value is the best of this many points, which its interval allows for.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    best_of: int | None = None

    @classmethod
    def percent(
        cls, value: float | Floats, interval: tuple[float | Floats, float | Floats]
    ) -> Estimate:
        """A share and its interval in percent."""
        low, high = interval
        return cls(float(100 * value), float(100 * low), float(100 * high))


def mean_interval(values: Floats) -> tuple[float | None, float | None]:
    """Normal interval of a mean of amounts (0 or more), one value per problem.

    None where no two values differ: they say nothing about their spread.
    """
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    if spread == 0:
        return None, None
    half = Z95 * spread / len(values) ** 0.5
    return max(0.0, float(values.mean() - half)), float(values.mean() + half)


def share_interval(
    values: ArrayLike, most: float = 1.0, z: float = Z95, noise: Floats | None = None
) -> tuple[Floats, Floats]:
    """Wilson's interval of a mean of shares at the effective number of answers.

    Args:
        values: (..., problems), between 0 and 1: the share of a problem's samples that are right.
        most: samples of a problem, the most that it can count for.
        z: critical value.
        noise: (..., problems), what else moves the estimate: its influence by problem.
    """
    x = np.asarray(values, np.float64)
    p = x.mean(axis=-1)
    differing = np.minimum((x > 0).sum(axis=-1), (x < 1).sum(axis=-1))
    moved = x if noise is None else x + noise
    n = _effective(moved, p * (1 - p), differing, most)
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return np.where(p > 0, middle - half, 0.0), np.where(p < 1, middle + half, 1.0)


def contrast_interval(
    values: ArrayLike,
    weights: ArrayLike,
    most: float = 1.0,
    noise: Floats | None = None,
    reach: float | None = None,
) -> tuple[Floats, Floats]:
    """Interval of the mean over problems of `values @ weights`, paired by problem.

    Args:
        values: (..., problems, points), between 0 and 1.
        weights: (points,), summing to 0: (1, -1) for a difference.
        most: samples of a problem, the most that it can count for.
        noise: (..., problems), what else moves the estimate: its influence by problem.
        reach: largest contrast that a problem can have; None: the sum of the positive weights.
    """
    x, w = np.asarray(values, np.float64), np.asarray(weights, np.float64)
    each = x @ w
    mean = each.mean(axis=-1)
    # the mean square of a contrast of single samples, of which `x` are the means
    squares = each**2 + (x * (1 - x)) @ w**2
    square, differing = squares.mean(axis=-1), (squares > 1e-12).sum(axis=-1)
    moved = each if noise is None else each + noise
    n = _effective(moved, square - mean**2, differing, most)
    pseudo = float(np.maximum(w, 0.0).sum()) if reach is None else reach
    centre = mean * n / (n + 2)
    variance = (n * square + 2 * pseudo**2) / (n + 2) - centre**2
    half = Z95 * np.sqrt(np.maximum(variance, 0.0) / (n + 2))
    return np.maximum(centre - half, -pseudo), np.minimum(centre + half, pseudo)


def _effective(x: Floats, unit: Floats, differing: NDArray[np.int64], most: float) -> Floats:
    """Independent answers that would give the variance between the problems' values.

    Args:
        x: (..., problems).
        unit: variance of a single answer.
        differing: problems that say something about it.
        most: answers that a problem can count for.
    """
    n = x.shape[-1]
    seen = ((x - x.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1) / n
    ratio = np.divide(seen, unit, out=np.ones_like(seen), where=unit > 1e-12)
    ratio = np.maximum(ratio, 1 / most)
    return np.asarray(n / ((differing * ratio + PRIOR_PROBLEMS) / (differing + PRIOR_PROBLEMS)))


def best_interval(values: Floats, most: float = 1.0) -> tuple[float, float]:
    """Interval of the best true accuracy of many points, the choice allowed for.

    Below: the highest bound under which, with 97.5%, no point's true accuracy lies for all points
    at once (correlated as their problems are). Above: the highest 97.5% bound of a point.

    Args:
        values: (problems, points), between 0 and 1.
        most: samples of a problem.
    """
    low = share_interval(values.T, most, _simultaneous(values))[0].max()
    return float(low), float(share_interval(values.T, most)[1].max())


def _simultaneous(values: Floats) -> float:
    """The z that all of the points' estimates stay below with 97.5%."""
    num_points = values.shape[1]
    spread = values.std(axis=0)
    correlation = np.eye(num_points)
    moving = np.flatnonzero(spread > 0)
    if len(moving) > 1:
        correlation[np.ix_(moving, moving)] = np.corrcoef(values[:, moving], rowvar=False)
    size, turn = np.linalg.eigh(correlation)
    draws = _normals(num_points) @ (turn * np.sqrt(np.maximum(size, 0.0))).T
    return max(Z95, float(np.quantile(draws.max(axis=1), 0.975)))


@functools.lru_cache(maxsize=8)
def _normals(num_points: int) -> Floats:
    return np.random.default_rng(num_points).standard_normal((20_000, num_points))
