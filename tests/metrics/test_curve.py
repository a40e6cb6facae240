"""Curves from rows: means, intervals that cover, warnings, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from s1x import metrics
from s1x.errors import UserError
from s1x.metrics.bootstrap import draws, interval, resampled_means
from s1x.metrics.table import with_limits
from tests.metrics.rows_of import answered, table_of


def two_points():
    return table_of(
        [
            *answered([True] * 40 + [False] * 160, point=0, setting="max 64", thinking_tokens=60,
                      end_reason="cut"),
            *answered([True] * 120 + [False] * 80, point=1, thinking_tokens=240),
        ]
    )  # fmt: skip


def test_a_curve_states_what_the_rows_hold() -> None:
    table = with_limits(two_points(), {0: (None, 64), 1: (None, None)})
    (curve,) = metrics.curves(table)
    assert (curve.benchmark, curve.model_role, curve.policy) == (
        "demo",
        "fine_tuned",
        "budget_forcing",
    )
    first, second = curve.points
    assert (first.setting, first.accuracy_percent, first.num_problems) == ("max 64", 20.0, 200)
    assert (first.cut_percent, second.natural_percent) == (100.0, 100.0)
    assert (first.num_correct, first.num_graded, first.samples_per_problem) == (40, 200, 1)
    assert first.within_limits_percent == 100.0
    assert second.within_limits_percent is None
    assert curve.control_percent.value == 100.0
    assert curve.scaling_per_doubling.value == pytest.approx(20.0)
    assert curve.scaling_per_thousand_tokens.value == pytest.approx(40 / 0.18)
    assert curve.performance_percent.value == 60.0
    assert curve.warnings == []
    json.dumps(curve.to_dict(), allow_nan=False)


def test_intervals_are_those_of_the_binomial() -> None:
    (curve,) = metrics.curves(two_points())
    for point in curve.points:
        p = point.accuracy_percent / 100
        half = 196 * np.sqrt(p * (1 - p) / 200)
        assert point.interval_low_percent == pytest.approx(100 * p - half, abs=0.7)
        assert point.interval_high_percent == pytest.approx(100 * p + half, abs=0.7)


def test_problems_are_the_unit_not_samples() -> None:
    """20 samples of a problem that always agree tell no more than one."""
    once = answered([True] * 50 + [False] * 50)
    often = [{**row, "sample": s} for row in once for s in range(20)]
    one, many = (metrics.curves(table_of(rows))[0].points[0] for rows in (once, often))
    assert (many.samples_per_problem, many.num_problems) == (20, 100)
    assert many.interval_low_percent == pytest.approx(one.interval_low_percent)
    assert many.interval_high_percent == pytest.approx(one.interval_high_percent)


def test_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    truth, covered = 0.3, 0
    for _ in range(200):
        values = (rng.random((60, 1)) < truth).astype(float)
        low, high = interval(resampled_means(values, num_resamples=1000)[:, 0])
        covered += low <= truth <= high
    assert 0.90 <= covered / 200 <= 0.985


def test_draws_are_resamples_of_whole_problems() -> None:
    counts = draws(7, num_resamples=2500, seed=3)
    assert counts.shape == (2500, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert counts.mean() == pytest.approx(1.0)
    assert counts.std() == pytest.approx(np.sqrt(6 / 7), abs=0.02)
    assert (draws(7, 2500, 3) == counts).all()


def test_ungraded_answers_are_left_out_and_said() -> None:
    rows = answered([True] * 60 + [False] * 60)
    rows[0]["verdict"] = rows[1]["verdict"] = "ungraded"
    rows[119]["verdict"] = "unanswered"
    (curve,) = metrics.curves(table_of(rows))
    point = curve.points[0]
    assert point.accuracy_percent == pytest.approx(100 * 58 / 118)
    assert point.num_graded == 118
    assert point.ungraded_percent == pytest.approx(100 * 2 / 120)
    assert point.unanswered_percent == pytest.approx(100 / 120)
    assert any("could not be graded" in warning for warning in curve.warnings)


def test_nothing_graded_is_no_accuracy() -> None:
    rows = [{**row, "verdict": "ungraded"} for row in answered([True] * 3)]
    (curve,) = metrics.curves(table_of(rows))
    assert curve.points[0].accuracy_percent is None
    assert curve.performance_percent.value is None
    json.dumps(curve.to_dict(), allow_nan=False)


def test_few_problems_are_warned_of() -> None:
    (curve,) = metrics.curves(table_of(answered([True] * 15 + [False] * 15)))
    assert "only 30 problems" in curve.warnings[0]
    assert "3.3 points" in curve.warnings[0]
    assert "±18" in curve.warnings[0]


def test_uneven_rows_are_warned_of() -> None:
    rows = answered([True] * 100) + answered([True] * 99, point=1) + answered([True], sample=1)
    (curve,) = metrics.curves(table_of(rows))
    assert "the points were measured on different problems" in curve.warnings
    assert "some problems have fewer samples than others" in curve.warnings


def test_order_of_rows_changes_nothing() -> None:
    table = two_points()
    order = np.random.default_rng(1).permutation(table.num_rows)
    assert metrics.curves(table.take(order)) == metrics.curves(table)


def test_reading_folders(tmp_path: Path) -> None:
    pq.write_table(two_points(), tmp_path / "rows.parquet")
    points = [
        {"point": 0, "settings": {"max_thinking_tokens": 64}},
        {"point": 1, "settings": {}, "limit_min_tokens": 0, "limit_max_tokens": None},
    ]
    (tmp_path / "evaluation.json").write_text(json.dumps({"points": points}))
    first, second = metrics.cells(metrics.read([tmp_path]))
    assert (first.limit_min_tokens, first.limit_max_tokens) == (None, 64)
    assert (second.limit_min_tokens, second.limit_max_tokens) == (None, None)
    assert metrics.read([tmp_path / "rows.parquet"]).num_rows == 400


def test_reading_what_is_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows\.parquet"):
        metrics.read([tmp_path])
    with pytest.raises(UserError, match="evaluate"):
        metrics.read([])
    pq.write_table(two_points().select(["benchmark"]), tmp_path / "rows.parquet")
    with pytest.raises(UserError, match="lacks"):
        metrics.read([tmp_path])


def test_ten_thousand_resamples_are_quick() -> None:
    import time

    rng = np.random.default_rng(0)
    rows = [
        row
        for point in range(8)
        for row in answered(rng.random(500) < 0.1 * point, point=point, thinking_tokens=2**point)
    ]
    table = table_of(rows)
    start = time.perf_counter()
    metrics.curves(table)
    assert time.perf_counter() - start < 5
