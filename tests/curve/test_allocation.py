"""Allocation along a curve: by hand, against every choice there is, and what intervals cover."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1x import curve as metrics
from s1x.curve.allocation import allocate, perfect, sufficient
from s1x.curve.interval import contrast_interval, share_interval
from tests.curve.rows_of import table_of

#: six questions at 10, 20 and 40 thinking tokens
VERDICTS = {
    "easy": (1, 1, 1),
    "middling": (0, 1, 1),
    "hard": (0, 0, 1),
    "shaky": (1, 0, 1),
    "spoilt": (1, 1, 0),
    "never": (0, 0, 0),
}
TOKENS = (10, 20, 40)


def cells_of(verdicts=VERDICTS, tokens=TOKENS, order=(0, 1, 2)):
    rows = [
        {
            **{"problem_id": name, "question": name, "point": at, "setting": f"max {tokens[p]}"},
            **{"verdict": "correct" if right[p] else "wrong", "thinking_tokens": tokens[p]},
        }
        for name, right in verdicts.items()
        for at, p in enumerate(order)
    ]
    return metrics.cells(table_of(rows))


def test_each_share_and_token_by_hand() -> None:
    found = allocate(cells_of())
    assert found is not None
    values = [
        [p.right_percent, p.starved_percent, p.spoilt_percent, found.never_right_percent]
        for p in found.points
    ]
    sixths = [[round(6 * share.value / 100, 9) for share in row] for row in values]
    assert sixths == [[3, 2, 0, 1], [3, 2, 0, 1], [4, 0, 1, 1]]
    # sufficient: easy at 10, middling at 20, hard and shaky at 40
    assert found.sufficient_percent.value == pytest.approx(100 * 4 / 6)
    assert found.sufficient_tokens.value == pytest.approx((10 + 20 + 40 + 40) / 4)
    past = [p.overthinking_tokens.value for p in found.points]
    assert past == pytest.approx([0, 10 / 6, (30 + 20) / 6])
    assert [p.wasted_tokens.value for p in found.points] == pytest.approx([10 / 6, 20 / 6, 40 / 6])
    # 10, 20, 40, 40: deviation 15 / 4 x 1.96 around 27.5
    needed = found.sufficient_tokens
    assert (needed.low, needed.high) == pytest.approx((27.5 - 14.7, 27.5 + 14.7), abs=0.01)
    assert found.points[0].overthinking_tokens.low is None, "all 0: nothing says how far it spreads"


def test_perfect_allocation_by_hand() -> None:
    found = allocate(cells_of())
    assert found is not None
    # cheapest right budgets: 10, 20, 40, 10, 10; 60 tokens buy 10 + 10 + 10 + 20, 120 buy all five
    perfect = [p.perfect_percent.value for p in found.points]
    assert perfect == pytest.approx([100 * 4 / 6, 100 * 5 / 6, 100 * 5 / 6])
    gains = [p.perfect_gain_points for p in found.points]
    assert [g.value for g in gains] == pytest.approx([100 / 6, 200 / 6, 100 / 6])
    assert all(0 <= g.low <= g.value <= g.high for g in gains)


def test_points_are_taken_by_their_tokens() -> None:
    turned = allocate(cells_of(order=(2, 0, 1)))
    straight = allocate(cells_of())
    assert turned is not None
    assert straight is not None
    assert [p.setting for p in turned.points] == ["max 10", "max 20", "max 40"]
    assert turned.sufficient_tokens == straight.sufficient_tokens


def test_what_cannot_be_compared_is_none_or_left_out() -> None:
    assert allocate(cells_of()[:1]) is None
    first, second, third = cells_of()
    found = allocate([first, replace(second, rows=second.rows[1:]), third])
    assert found is not None
    assert found.num_problems == 5
    silent = third.rows.with_columns(verdict=pl.lit("ungraded"))
    assert allocate([first, second, replace(third, rows=silent)]) is None


@given(
    st.lists(st.tuples(*[st.tuples(st.booleans(), st.integers(0, 9))] * 2), min_size=1, max_size=6),
    st.integers(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_the_knapsack_is_the_best_of_all_choices(drawn, point: int) -> None:
    right = np.array([[r for r, _ in trace] for trace in drawn])
    tokens = np.array([[t for _, t in trace] for trace in drawn])
    budget, best = tokens[:, point].sum(), 0
    for choice in product((None, 0, 1), repeat=len(drawn)):
        picked = [(i, q) for i, q in enumerate(choice) if q is not None]
        if sum(tokens[i, q] for i, q in picked) <= budget:
            best = max(best, sum(right[i, q] for i, q in picked))
    chosen, _ = perfect(right, tokens, point)
    assert chosen.sum() == best >= right[:, point].sum()


@given(st.lists(st.tuples(*[st.booleans()] * 4), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_from_the_sufficient_point_on_all_is_right(drawn) -> None:
    for row, first in zip(drawn, sufficient(np.array(drawn)), strict=True):
        if first < 0:
            assert not row[-1]
        else:
            assert all(row[first:])
            assert first == 0 or not row[first - 1]


def test_intervals_of_a_perfect_allocation_hold_what_a_large_benchmark_says() -> None:
    """Which traces can be paid for is uncertain too: at n = 100, 95% of 400 intervals hold it."""

    def world(count: int, rng: np.random.Generator):
        lengths = rng.geometric(1 / 60, count)[:, None]
        tokens = np.minimum(np.array([[16, 32, 64, 128]]), lengths)
        skill = rng.random((count, 1))
        right = rng.random((count, 4)) < skill * tokens / lengths
        return right, tokens

    truth_right, truth_tokens = world(200_000, np.random.default_rng(0))
    truth = perfect(truth_right, truth_tokens, 1)[0].mean()
    uniform = truth_right[:, 1].mean()
    hits = {"perfect": 0, "gain": 0}
    for seed in range(1, 401):
        right, tokens = world(100, np.random.default_rng(seed))
        chosen, influence = perfect(right, tokens, 1)
        low, high = share_interval(chosen.astype(float), noise=influence)
        hits["perfect"] += low <= truth <= high
        both = np.stack([chosen, right[:, 1]], axis=1).astype(float)
        low, high = contrast_interval(both, (1, -1), noise=influence)
        hits["gain"] += low <= truth - uniform <= high
    assert all(0.92 <= count / 400 <= 0.99 for count in hits.values()), hits
