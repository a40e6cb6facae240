"""Spill, seconds and loops of a point, by hand."""

from __future__ import annotations

import pytest

from s1x import curve as metrics
from tests.curve.rows_of import table_of

#: (problem, sample): end of thinking, signs, thinking tokens at "max 10", natural thinking tokens
CLOSED = {
    ("a", 0): ("cut", ["wait", "cut"], 10, 40),
    ("a", 1): ("cut", [], 10, 20),
    ("b", 0): ("natural", ["delimiter"], 8, 8),
    ("b", 1): ("truncated", ["delimiter"], 10, 10),
    ("c", 0): ("natural", [], 5, 5),
    ("c", 1): ("natural", [], 5, 5),
}


def cells_of(**columns):
    rows = []
    for (problem, sample), (end, signs, short, whole) in CLOSED.items():
        own = {"problem_id": problem, "question": problem, "sample": sample, "spill": signs}
        limited = {"point": 0, "setting": "max 10", "end_reason": end, "thinking_tokens": short}
        rows.append({**own, **limited, **columns})
        rows.append({**own, "point": 1, "spill": [], "thinking_tokens": whole})
    return metrics.cells(table_of(rows))


def test_spill_by_hand() -> None:
    cell, natural = cells_of()
    found = metrics.spill(cell, natural)
    assert found is not None
    assert found.num_closed == 3
    # a: one of two closed traces, b: its only one
    assert found.any_percent.value == pytest.approx(100 * (1 / 2 + 1) / 2)
    assert found.wait_percent.value == found.answer_cut_percent.value == pytest.approx(25)
    assert found.delimiter_percent.value == pytest.approx(50)
    assert found.natural_percent.value == pytest.approx(50)  # b all, c none
    assert found.length_percent == pytest.approx((25 + 50 + 100) / 3)
    assert found.any_percent.low < found.any_percent.value < found.any_percent.high


def test_no_spill_where_nothing_was_closed_or_rows_do_not_say() -> None:
    cell, natural = cells_of()
    assert metrics.spill(natural, natural) is None
    assert metrics.spill(cells_of(spill=None)[0], natural) is None
    found = metrics.spill(cell)
    assert found is not None
    assert found.length_percent is None


def test_percentiles_of_seconds_by_hand() -> None:
    rows = [
        {
            **{"problem_id": str(i), "question": str(i), "wall_seconds": 10.0 * i},
            **{"first_token_seconds": i / 10, "thinking_seconds": 5.0 * i},
        }
        for i in range(21)
    ]
    rows.append({"problem_id": "stored", "question": "stored", "wall_seconds": 0.001})
    found = metrics.latency(metrics.cells(table_of(rows))[0])
    assert found is not None
    assert found.num_timed == 21, "what the store had is not timed"
    assert (found.first_token_median_seconds, found.first_token_p95_seconds) == (1.0, 1.9)
    assert (found.thinking_median_seconds, found.thinking_p95_seconds) == (50, 95)
    assert (found.total_median_seconds, found.total_p95_seconds) == (100, 190)
    assert metrics.latency(metrics.cells(table_of(rows[-1:]))[0]) is None


def test_loops_are_one_of_the_ways_in_which_thinking_ends() -> None:
    ends = ("loop", "cut", "loop", "natural", None)
    rows = [
        {"problem_id": str(i), "question": str(i), "end_reason": end, "spill": ["wait"]}
        for i, end in enumerate(ends)
    ]
    point = metrics.curves(table_of(rows))[0].points[0]
    shares = (point.natural_percent, point.cut_percent, point.truncated_percent, point.loop_percent)
    assert shares == (25, 25, 0, 50)
    spill = metrics.spill(metrics.cells(table_of(rows))[0])
    assert spill is not None
    assert spill.num_closed == 3, "a loop is closed by force"
    assert metrics.curves(table_of(rows[4:]))[0].points[0].loop_percent is None
    old = table_of(rows).drop("looped", "spill", "first_token_seconds", "thinking_seconds")
    assert metrics.curves(old)[0].points[0].loop_percent == 50
