"""Answer flips along a trace and between two points."""

from __future__ import annotations

import pytest

from s1x import curve as metrics
from tests.curve.rows_of import answered, table_of


def test_flips_at_each_wait() -> None:
    paths = [
        (["correct", "wrong", "correct"], ["7", "8", "7"]),
        (["wrong", "correct", "correct"], ["8", "7", "7"]),
        (["unanswered", "wrong"], [None, "9"]),
        (["ungraded", "correct", "correct"], ["x", "7", "7"]),
    ]
    rows = [
        {"problem_id": str(i), "interim_verdicts": v, "interim_answers": a}
        for i, (v, a) in enumerate(paths)
    ]
    cell = metrics.cells(table_of(rows))[0]
    first, second = metrics.flips(cell)
    assert (first.wrong_to_right, first.right_to_wrong) == (1, 1)
    assert (first.stayed_right, first.stayed_wrong, first.changed) == (0, 1, 3)
    assert (second.wrong_to_right, second.right_to_wrong) == (1, 0)
    assert (second.stayed_right, second.changed) == (2, 1)
    assert second.net_points.value == pytest.approx(100 / 3)
    assert second.net_points.low < 0 < second.net_points.high


def test_no_interim_answers_no_flips() -> None:
    assert metrics.flips(metrics.cells(table_of(answered([True])))[0]) == []


def test_flips_between_points_follow_problem_and_sample() -> None:
    before = answered([True, False, True, False], point=0)
    after = answered([True, True, False, False, True], point=1, setting="Wait x 1")
    left, right = metrics.cells(table_of([*before, *reversed(after)]))
    found = metrics.flips_between(left, right)
    assert (found.stayed_right, found.wrong_to_right) == (1, 1)
    assert (found.right_to_wrong, found.stayed_wrong) == (1, 1)
