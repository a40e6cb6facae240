"""Control, Scaling and Performance against the paper's own tables and figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from s1x import curve as metrics
from s1x.curve.scaling import Measured, performance_estimate

#: REFERENCE, tables 12 to 14: thinking tokens used and AIME24 accuracy in percent (of 30 questions)
TCC = ([7939, 7158, 8263, 7108, 7500], [8, 9, 10, 10, 12])
TCC_BF = ([1024, 2048, 4031, 5664, 6330], [1, 9, 10, 10, 12])
SCC = ([7252, 6277, 5396, 5552, 7551], [10, 7, 10, 11, 10])
SCC_BF = ([1517, 2963, 4636, 5409, 7551], [7, 7, 10, 11, 10])
CCC = ([8033, 9651], [9, 11])


def performance(accuracy_percent: list[float]) -> float | None:
    accuracy = np.array([accuracy_percent]) / 100
    return performance_estimate(Measured(np.ones_like(accuracy), accuracy, 1)).value


def percent(correct: list[int]) -> list[float]:
    return [100 * c / 30 for c in correct]


@pytest.mark.parametrize(
    ("table", "scaling", "best"),
    [
        (TCC, -24, 40.0),
        (TCC_BF, 13, 40.0),
        (SCC, 3, 36.7),
        (SCC_BF, 6, 36.7),
        (CCC, 25, 36.7),
    ],
)
def test_table_3_scaling_and_performance(table, scaling: int, best: float) -> None:
    tokens, correct = table
    slope = metrics.slope(tokens, percent(correct), per_doubling=True)
    assert slope == pytest.approx(scaling, abs=0.5)
    assert performance(percent(correct)) == pytest.approx(best, abs=0.05)


def test_table_3_control() -> None:
    told = [(None, told) for told in (1024, 2048, 4096, 8192, 16384)]
    steps = [(None, 100 * steps) for steps in (16, 32, 64, 128, 256)]
    # class-conditional: short must use no more than the 6109 tokens without a prompt, long no fewer
    classes = [(None, 6109), (6109, None)]
    assert metrics.control(TCC[0], told) == 40
    assert metrics.control(TCC_BF[0], told) == 100
    assert metrics.control(SCC[0], steps) == 60
    assert metrics.control(SCC_BF[0], steps) == 100
    assert metrics.control(CCC[0], classes) == 50


def test_figures_of_the_paper(shared_data: Path) -> None:
    figures = json.loads((shared_data / "figures.json").read_text())
    points = figures["scaling"]["panels"]["AIME24"]["series"][0]["points"]
    tokens, accuracy = [p["x"] for p in points], [p["y"] for p in points]
    assert performance(accuracy) == pytest.approx(56.7, abs=0.05)
    assert metrics.slope(tokens, accuracy, per_doubling=True) == pytest.approx(15, abs=0.5)
    rejection = figures["rejection_stretched"]["series"][0]["points"][1:]  # the table's 5 runs
    slope = metrics.slope([p["x"] for p in rejection], [p["y"] for p in rejection], True)
    assert slope == pytest.approx(-35, abs=0.5)


def test_a_line_has_its_own_slope_in_both_units() -> None:
    tokens = np.array([500, 1000, 2000, 4000])
    assert metrics.slope(tokens, 10 * np.log2(tokens), per_doubling=True) == pytest.approx(10)
    assert metrics.slope(tokens, tokens / 1000 * 7 + 3, per_doubling=False) == pytest.approx(7)


def test_what_cannot_be_told_is_none() -> None:
    assert metrics.slope([100, 100], [1, 2], per_doubling=True) is None
    assert metrics.slope([0, 100], [1, 2], per_doubling=True) is None
    assert metrics.slope([100], [1], per_doubling=False) is None
    assert metrics.control([100, 200], [(None, None), (None, None)]) is None
    assert performance([np.nan]) is None


def test_points_without_a_limit_do_not_count_for_control() -> None:
    assert metrics.control([60, 90, 500], [(None, 64), (None, 64), (None, None)]) == 50
