"""Paired differences: what pairing gives, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from s1x import metrics
from s1x.errors import UserError
from tests.metrics.rows_of import answered, table_of


def cell(verdicts, **columns):
    return metrics.cells(table_of(answered(verdicts, **columns)))[0]


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(300)
    base = list(hard < 0.5)
    tuned = [b or x for b, x in zip(base, rng.random(300) < 0.1, strict=True)]
    found = metrics.difference(cell(tuned), cell(base, model_role="base"))
    unpaired = 196 * np.sqrt(2 * 0.25 / 300)
    assert found.difference_points == pytest.approx(100 * (np.mean(tuned) - np.mean(base)))
    assert found.clear
    assert (found.high_points - found.low_points) / 2 < unpaired / 2
    assert (found.num_problems, found.left_samples_per_problem) == (300, 1)


def test_a_run_against_itself_differs_by_nothing() -> None:
    one = cell([True, False] * 60)
    found = metrics.difference(one, one)
    assert (found.difference_points, found.low_points, found.high_points) == (0, 0, 0)
    assert not found.clear


def test_the_sign_turns_with_the_sides() -> None:
    rng = np.random.default_rng(2)
    left, right = (cell(list(rng.random(150) < p)) for p in (0.7, 0.5))
    there, back = metrics.difference(left, right), metrics.difference(right, left)
    assert there.difference_points == pytest.approx(-back.difference_points)
    assert there.low_points == pytest.approx(-back.high_points)


def test_only_shared_problems_count() -> None:
    left, right = cell([True] * 120), cell([False] * 110)
    found = metrics.difference(left, right)
    assert found.num_problems == 110
    assert "10 problems are not graded in both and were left out" in found.warnings


def test_few_problems_are_warned_of() -> None:
    assert (
        "only 30 problems" in metrics.difference(cell([True] * 30), cell([False] * 30)).warnings[0]
    )


def test_different_benchmarks_are_refused() -> None:
    with pytest.raises(UserError, match="same benchmark"):
        metrics.difference(cell([True]), cell([True], benchmark="other"))
    ungraded = metrics.cells(table_of([{"problem_id": "0", "verdict": "ungraded"}]))[0]
    with pytest.raises(UserError, match="in common"):
        metrics.difference(cell([True]), ungraded)


def test_everything_against_a_baseline() -> None:
    rows = [
        *answered([True] * 10, model="a"),
        *answered([False] * 10, model="b"),
        *answered([True] * 10, model="c", benchmark="other"),
    ]
    cells = metrics.cells(table_of(rows))
    (found,) = metrics.differences(cells, baseline=cells[0])
    assert found.difference_points == -100
