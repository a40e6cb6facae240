"""Rows of others: what they do not say is missing in every metric, never 0."""

from __future__ import annotations

from typing import Any

import pytest
from rows_of import answered, table_of

from s1x.curve import allocate, by_domain, cells, curve, replays, sample_counts

UNKNOWN: dict[str, Any] = {
    **{"thinking_tokens": None, "answer_tokens": None, "forced_tokens": None, "num_tries": None},
    **{"end_reason": None, "token_ids": None, "forced_mask": None},
}


def test_a_curve_without_tokens_has_accuracies_and_no_slopes() -> None:
    rows = [
        *answered([True, False, False, True], setting="low", **UNKNOWN),
        *answered([True, True, False, True], setting="high", point=1, **UNKNOWN),
    ]
    found = curve(cells(table_of(rows)))
    assert [p.accuracy_percent for p in found.points] == [50.0, 75.0]
    assert found.performance_percent.value == 75.0
    for point in found.points:
        assert point.mean_thinking_tokens is point.mean_total_tokens is point.mean_num_tries is None
        assert point.natural_percent is point.cut_percent is point.within_limits_percent is None
    for metric in (found.scaling_per_doubling, found.scaling_per_thousand_tokens):
        assert metric.value is None
    assert found.control_percent.value is None


def test_a_mean_is_over_the_rows_that_say_their_tokens_and_that_is_told() -> None:
    rows = answered([True, True], thinking_tokens=10) + answered([True, True], sample=1, **UNKNOWN)
    found = curve(cells(table_of(rows)))
    assert found.points[0].mean_thinking_tokens == 10
    assert any("not recorded in 2 of the 4 rows" in words for words in found.warnings)


def test_allocation_goes_by_limits_where_there_are_no_tokens() -> None:
    rows = table_of(
        [
            *answered([False, True, False], setting="natural", **UNKNOWN),
            *answered([True, False, False], setting="max 8", point=1, **UNKNOWN),
        ]
    )
    natural, small = cells(rows)
    assert allocate([natural, natural]) is None, "nothing tells which is the larger budget"
    object.__setattr__(small, "limit_max_tokens", 8)
    found = allocate([natural, small])
    assert found is not None
    assert [p.setting for p in found.points] == ["max 8", "natural"]
    first = found.points[0]
    assert (first.starved_percent.value, found.points[1].spoilt_percent.value) == (
        pytest.approx(100 / 3),
        pytest.approx(100 / 3),
    )
    for spent in (first.perfect_percent, first.overthinking_tokens, found.sufficient_tokens):
        assert spent.value is None


def test_votes_need_answers_and_their_weights_need_tokens() -> None:
    def three(**columns: Any) -> list[dict[str, Any]]:
        return [row for n in range(3) for row in answered([True, False], sample=n, **columns)]

    (silent,) = cells(table_of(three(extracted_answer=None, **UNKNOWN)))
    last = sample_counts(silent)[-1]
    assert last.pass_percent.value == 50.0
    assert last.majority_percent.value is last.mean_total_tokens is None
    assert replays(silent) == []
    (worded,) = cells(table_of(three(**UNKNOWN)))
    last = sample_counts(worded)[-1]
    assert last.majority_percent.value == 50.0
    assert last.shortest_majority_percent.value is None


def test_a_domain_without_tokens_has_its_accuracy() -> None:
    (cell,) = cells(table_of(answered([True, False], domain="sums", **UNKNOWN)))
    (domain,) = by_domain(cell)
    assert (domain.accuracy_percent.value, domain.mean_thinking_tokens) == (50.0, None)
