"""The bootstrap: problems are drawn with replacement, all their samples with them.

Samples of one problem are not independent, so the problem is the unit (arXiv 2411.00640). A
resample is a vector of how often each problem was drawn; statistics of all resamples are then one
matrix product. The same number of problems and seed give the same draws, which pairs two curves.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95
SEED = 0


@lru_cache(maxsize=8)
def draws(num_problems: int, num_resamples: int = NUM_RESAMPLES, seed: int = SEED) -> Floats:
    """How often each problem is in each resample: (num_resamples, num_problems), rows sum to n."""
    import numpy as np

    generator = np.random.default_rng([seed, num_problems])
    counts = np.empty((num_resamples, num_problems), np.float64)
    for start in range(0, num_resamples, 1000):
        block = counts[start : start + 1000]
        chosen = generator.integers(0, num_problems, size=block.shape)
        chosen += np.arange(len(block))[:, None] * num_problems
        block[:] = np.bincount(chosen.ravel(), minlength=block.size).reshape(block.shape)
    counts.setflags(write=False)
    return counts


def resampled_means(values: Floats, num_resamples: int = NUM_RESAMPLES, seed: int = SEED) -> Floats:
    """Mean over problems of each column, in every resample.

    Args:
        values: (problems, columns); NaN entries are left out of their column's mean.

    Returns:
        (num_resamples, columns); NaN where a resample has no value of the column.
    """
    import numpy as np

    weights = draws(len(values), num_resamples, seed)
    here = np.isfinite(values)
    total = weights @ np.where(here, values, 0.0)
    count = weights @ here.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Floats = total / count
    return means


def interval(
    resamples: Floats, confidence: float = CONFIDENCE
) -> tuple[float | None, float | None]:
    """Percentile interval of a statistic over its resamples; None where it never has a value."""
    import numpy as np

    values = resamples[np.isfinite(resamples)]
    if not values.size:
        return None, None
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
