"""Control, Scaling and Performance (paper, section 3.2), for one curve or for many resamples.

The arrays' last axis is the curve's points; the axes before it are resamples. The paper defines
the slope on a linear axis but its Table 3 is reproduced only by slopes per doubling of thinking
tokens, so both exist and say their unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


def control(
    mean_thinking_tokens: ArrayLike,
    limits: Sequence[tuple[float | None, float | None]],
) -> Floats:
    """Percent of the points with a limit whose mean thinking tokens lie within it.

    Args:
        mean_thinking_tokens: (..., points).
        limits: least and most tokens of each point, None where there is no such limit.

    Returns:
        (...), NaN where no point has a limit.
    """
    import numpy as np

    tokens = np.asarray(mean_thinking_tokens, np.float64)
    low = np.array([-np.inf if pair[0] is None else pair[0] for pair in limits])
    high = np.array([np.inf if pair[1] is None else pair[1] for pair in limits])
    limited = np.isfinite(low) | np.isfinite(high)
    if not limited.any():
        return np.full(tokens.shape[:-1], np.nan)
    inside = (low <= tokens) & (tokens <= high)
    return np.asarray(100.0 * inside[..., limited].mean(axis=-1))


def slope_per_thousand(mean_thinking_tokens: ArrayLike, accuracy_percent: ArrayLike) -> Floats:
    """Points of accuracy per 1,000 thinking tokens: mean slope over all pairs of points."""
    import numpy as np

    return _mean_slope(np.asarray(mean_thinking_tokens, np.float64) / 1000, accuracy_percent)


def slope_per_doubling(mean_thinking_tokens: ArrayLike, accuracy_percent: ArrayLike) -> Floats:
    """Points of accuracy per doubling of thinking tokens: mean slope over all pairs of points.

    Points without any thinking have no logarithm and take no part.
    """
    import numpy as np

    tokens = np.asarray(mean_thinking_tokens, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        doublings = np.log2(tokens)
    return _mean_slope(np.where(tokens > 0, doublings, np.nan), accuracy_percent)


def performance(accuracy_percent: ArrayLike) -> Floats:
    """The best accuracy of any point."""
    import numpy as np

    values = np.asarray(accuracy_percent, np.float64)
    best = np.where(np.isfinite(values), values, -np.inf).max(axis=-1)
    return np.asarray(np.where(np.isfinite(best), best, np.nan))


def _mean_slope(x: ArrayLike, y: ArrayLike) -> Floats:
    """Mean of (y_b - y_a) / (x_b - x_a) over pairs with two different x; NaN without any."""
    import numpy as np

    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    first, second = np.triu_indices(x.shape[-1], k=1)
    run, rise = x[..., second] - x[..., first], y[..., second] - y[..., first]
    usable = np.isfinite(run) & np.isfinite(rise) & (run != 0)
    slopes = np.divide(rise, run, out=np.zeros_like(run), where=usable)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(slopes.sum(axis=-1) / usable.sum(axis=-1))
