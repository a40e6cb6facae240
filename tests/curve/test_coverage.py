"""What the 95% intervals cover, simulated: the true value is known, the intervals are counted.

The truth is a population of problems; n of them are drawn, and k samples of each. At k = 1 only
the accuracy counts. At k = 8 the problems' own accuracies follow a beta distribution in which two
samples of a problem are correlated by 0.5 (eight real samples of each of 100 MATH problems:
0.72, measured below). Binomial counts are discrete, so that coverage at one exact accuracy jumps by
points from one accuracy to the next, whatever the interval: each figure is the mean over a narrow
band of true accuracies (a quarter of the distance to the nearer end, on both sides).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from s1x.curve.interval import best_interval, contrast_interval, share_interval
from s1x.curve.scaling import Measured, slope_estimate

ACCURACIES = (0.01, 0.02, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98, 0.99)
SIZES = [(n, k) for n in (30, 198, 500) for k in (1, 8)]
REPEATS = 4000
BAND = np.linspace(0.75, 1.25, 10)


def band(accuracy: float) -> list[float]:
    distance = min(accuracy, 1 - accuracy)
    return [float(accuracy + (b - 1) * distance) for b in BAND]


def problems(rng, accuracy, correlation, shape):
    """True accuracies of problems whose mean is `accuracy`."""
    if correlation == 0:
        return np.full(shape, accuracy)
    strength = 1 / correlation - 1
    return rng.beta(accuracy * strength, (1 - accuracy) * strength, size=shape)


def coverage(n: int, k: int, accuracy: float, correlation: float, seed: int = 0) -> float:
    rng = np.random.default_rng([n, k, round(1000 * accuracy), seed])
    hits = []
    for truth in band(accuracy):
        chances = problems(rng, truth, correlation, (REPEATS // len(BAND), n))
        low, high = share_interval(rng.binomial(k, chances) / k, k)
        hits.append(((low <= truth) & (truth <= high)).mean())
    return float(np.mean(hits))


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_accuracy_from_one_to_ninety_nine_percent(n: int, k: int) -> None:
    found = {p: coverage(n, k, p, 0.5 if k > 1 else 0.0) for p in ACCURACIES}
    print(n, k, {p: round(100 * v, 1) for p, v in found.items()})
    assert all(0.93 <= share <= 0.97 for share in found.values()), found


@pytest.mark.parametrize("correlation", [0.0, 0.2, 0.72])
@pytest.mark.parametrize("n", [30, 198])
def test_other_populations_are_covered_too(n: int, correlation: float) -> None:
    """Where eight samples are worth more than was supposed, the interval is careful."""
    found = {p: coverage(n, 8, p, correlation) for p in (0.01, 0.05, 0.5, 0.95, 0.99)}
    print(n, correlation, {p: round(100 * v, 1) for p, v in found.items()})
    assert all(0.925 <= share <= 0.99 for share in found.values()), found


def test_real_samples_of_a_problem_agree_as_supposed(shared_data: Path) -> None:
    lines = (shared_data / "majority_samples.jsonl").read_text(encoding="utf-8").splitlines()
    right = np.array([[s["is_correct"] for s in json.loads(line)["samples"]] for line in lines])
    means, k = right.mean(axis=1), right.shape[1]
    single = means.mean() * (1 - means.mean())
    assert (means.var() / single * k - 1) / (k - 1) == pytest.approx(0.72, abs=0.02)


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_paired_differences(n: int, k: int) -> None:
    """Never too narrow; close to 95% where a few problems at least are answered differently."""
    for accuracy, gain in (
        (0.02, 0.0),
        (0.1, 0.1),
        (0.4, 0.0),
        (0.4, 0.2),
        (0.9, 0.0),
        (0.95, -0.1),
    ):
        rng = np.random.default_rng([n, k, round(1000 * accuracy)])
        hits, differing = [], []
        for truth in band(accuracy):
            shape = (REPEATS // 3 // len(BAND), n)
            before = problems(rng, truth, 0.5, shape)
            after = before + gain * ((1 - before) / (1 - truth) if gain > 0 else before / truth)
            fresh = rng.random(shape) < 0.2
            after = np.where(fresh, problems(rng, truth + gain, 0.5, shape), after)
            values = np.stack([rng.binomial(k, p) / k for p in (after, before)], axis=-1)
            low, high = contrast_interval(values, (1, -1), k)
            hits.append(((low <= gain) & (gain <= high)).mean())
            differing.append((values[..., 0] != values[..., 1]).sum(axis=-1).mean())
        share = float(np.mean(hits))
        print(n, k, accuracy, gain, round(100 * share, 1), round(float(np.mean(differing)), 1))
        assert share >= 0.93
        if np.mean(differing) > 20:
            assert share <= 0.97


@pytest.mark.parametrize(("low", "high"), [(0.01, 0.05), (0.2, 0.7), (0.9, 0.99)])
@pytest.mark.parametrize("n", [30, 198])
def test_slopes_and_the_best_point(n: int, low: float, high: float) -> None:
    """A problem is right from some number of tokens on; a tenth of the answers are luck."""
    rng = np.random.default_rng([n, round(100 * low)])
    limits = 2.0 ** np.arange(6, 12)
    levels = np.linspace(low, high, len(limits))
    slope_hits, best_hits, repeats = 0, 0, 250
    for _ in range(repeats):
        length = 2.0 ** rng.normal(10, 1, size=(n, 1))
        luck = np.where(rng.random((n, 6)) < 0.1, rng.random((n, 6)), rng.random((n, 1)))
        measured = Measured(np.minimum(length, limits), (luck < levels).astype(float), 1)
        found = slope_estimate(measured, per_doubling=True)
        slope_hits += found.low <= true_slope(levels, limits) <= found.high
        bounds = best_interval(measured.accuracy)
        best_hits += bounds[0] <= high <= bounds[1]
    print(n, low, high, slope_hits / repeats, best_hits / repeats)
    assert slope_hits / repeats >= 0.92
    assert best_hits / repeats >= 0.94


def true_slope(levels, limits) -> float:
    length = 2.0 ** np.random.default_rng(0).normal(10, 1, size=(20_000, 1))
    tokens = np.log2(np.minimum(length, limits).mean(axis=0))
    first, second = np.triu_indices(len(limits), 1)
    return float(100 * ((levels[second] - levels[first]) / (tokens[second] - tokens[first])).mean())
