"""Curves from rows: means, intervals that cover, warnings, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from s1x import curve as metrics
from s1x.curve.cells import with_limits
from s1x.errors import UserError
from tests.curve.rows_of import answered, table_of


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


def test_ungraded_answers_are_not_right_and_both_numbers_are_given() -> None:
    rows = answered([True] * 60 + [False] * 60)
    rows[0]["verdict"] = rows[1]["verdict"] = "ungraded"
    rows[119]["verdict"] = "unanswered"
    (curve,) = metrics.curves(table_of(rows))
    point = curve.points[0]
    assert point.accuracy_percent == pytest.approx(100 * 58 / 120)
    assert point.accuracy_graded_percent == pytest.approx(100 * 58 / 118)
    assert (point.num_correct, point.num_graded) == (58, 118)
    assert point.ungraded_percent == pytest.approx(100 * 2 / 120)
    assert point.unanswered_percent == pytest.approx(100 / 120)
    assert any("could not be graded; they count as not right" in w for w in curve.warnings)


def test_cut_answers_are_a_share_and_a_warning() -> None:
    rows = [{**row, "answer_cut": i < 30} for i, row in enumerate(answered([True] * 120))]
    (curve,) = metrics.curves(table_of(rows))
    assert curve.points[0].answers_cut_percent == 25.0
    assert "up to 25.0% of the answers of a point were cut" in curve.warnings[0]
    (unknown,) = metrics.curves(table_of(answered([True] * 120)))
    assert unknown.points[0].answers_cut_percent is None
    assert unknown.warnings == []


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
    order = np.random.default_rng(1).permutation(table.height)
    assert metrics.curves(table[order.tolist()]) == metrics.curves(table)


def test_reading_folders(tmp_path: Path) -> None:
    two_points().write_parquet(tmp_path / "rows.parquet")
    points = [
        {"point": 0, "settings": {"max_thinking_tokens": 64}},
        {"point": 1, "settings": {}, "limit_min_tokens": 0, "limit_max_tokens": None},
    ]
    (tmp_path / "evaluation.json").write_text(json.dumps({"points": points}))
    first, second = metrics.cells(metrics.read([tmp_path]))
    assert (first.limit_min_tokens, first.limit_max_tokens) == (None, 64)
    assert (second.limit_min_tokens, second.limit_max_tokens) == (None, None)
    assert metrics.read([tmp_path / "rows.parquet"]).height == 400


def test_reading_what_is_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows\.parquet"):
        metrics.read([tmp_path])
    with pytest.raises(UserError, match="evaluate"):
        metrics.read([])
    two_points().select("benchmark").write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(UserError, match="lacks"):
        metrics.read([tmp_path])


def test_a_flat_curve_at_zero_is_not_known_to_be_zero() -> None:
    rows = [row for p in range(7) for row in answered([False] * 30, point=p,
            thinking_tokens=2 ** (p + 4))]  # fmt: skip
    (curve,) = metrics.curves(table_of(rows))
    for point in curve.points:
        assert point.accuracy_percent == 0.0
        assert (point.interval_low_percent, point.interval_high_percent) == (
            0.0,
            pytest.approx(11.35, abs=0.01),
        )
    slope = curve.scaling_per_doubling
    assert slope.value == 0.0
    assert -slope.low == pytest.approx(slope.high)
    assert slope.high > 1.0
    assert curve.performance_percent.high == pytest.approx(11.35, abs=0.01)


def test_the_best_of_many_points_says_so_and_allows_for_it() -> None:
    rng = np.random.default_rng(0)
    alike = [answered(rng.random(100) < 0.4, point=p, thinking_tokens=2 ** (p + 4))
             for p in range(10)]  # fmt: skip
    (curve,) = metrics.curves(table_of([row for rows in alike for row in rows]))
    best = max(curve.points, key=lambda p: p.accuracy_percent)
    found = curve.performance_percent
    assert (found.value, found.best_of) == (best.accuracy_percent, 10)
    assert found.low < best.interval_low_percent - 2
    assert found.low < 40 < found.high
    (one,) = metrics.curves(table_of(alike[0]))
    assert one.performance_percent.low == pytest.approx(one.points[0].interval_low_percent)


def test_control_knows_which_points_may_leave_their_limits() -> None:
    def rows(point, lengths):
        return [{**row, "point": point, "thinking_tokens": n}
                for row, n in zip(answered([True] * 40), lengths, strict=True)]  # fmt: skip

    table = table_of([*rows(0, [60] * 40), *rows(1, [40, 78] * 20), *rows(2, [300] * 40)])
    limits = {0: (None, 60), 1: (None, 60), 2: (None, 100)}
    (curve,) = metrics.curves(with_limits(table, limits))
    control = curve.control_percent
    assert control.value == pytest.approx(200 / 3)
    assert (control.low, control.high) == (pytest.approx(100 / 3), pytest.approx(200 / 3))


def test_runs_of_two_folders_are_two_curves(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        two_points().write_parquet(tmp_path / name / "rows.parquet")
    found = metrics.curves(metrics.read([tmp_path / "a", tmp_path / "b"]))
    assert [len(curve.points) for curve in found] == [2, 2]
    assert found[0].points[0].num_graded == 200


def test_accuracy_by_domain() -> None:
    rows = answered([True] * 10 + [False] * 20)
    for i, row in enumerate(rows):
        row["domain"] = "algebra" if i < 10 else "geometry"
        row["thinking_tokens"] = 50 if i < 10 else 90
    algebra, geometry = metrics.by_domain(metrics.cells(table_of(rows))[0])
    assert (algebra.domain, algebra.accuracy_percent.value, algebra.num_problems) == (
        "algebra",
        100.0,
        10,
    )
    assert geometry.mean_thinking_tokens == 90
    assert geometry.accuracy_percent.high > 10


def test_curves_are_quick() -> None:
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


def test_reading_keeps_texts_out_of_memory(tmp_path: Path) -> None:
    two_points().write_parquet(tmp_path / "rows.parquet")
    names = metrics.read([tmp_path]).columns
    assert not {"thinking_text", "answer_text", "question", "token_ids"} & set(names)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(UserError, match="cannot be read"):
        metrics.read([tmp_path])
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(UserError, match="lacks benchmark"):
        metrics.read([tmp_path])
