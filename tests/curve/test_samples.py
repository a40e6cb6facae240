"""pass@k, avg@k, cons@k and shortest-majority, on real samples and by counting."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1x import curve as metrics
from s1x.curve.samples import pass_at_k, sample_counts
from tests.curve.rows_of import table_of


def cell_of(problems, tokens=None):
    """problems: a list of (answer or None, correct) a sample, for each problem."""
    rows = [
        {
            "problem_id": f"{p:03d}",
            "sample": s,
            "extracted_answer": answer,
            "verdict": "correct" if correct else ("wrong" if answer else "unanswered"),
            "thinking_tokens": tokens[p][s] if tokens else 100,
        }
        for p, samples in enumerate(problems)
        for s, (answer, correct) in enumerate(samples)
    ]
    return metrics.cells(table_of(rows))[0]


@given(
    st.lists(st.booleans(), min_size=1, max_size=8).flatmap(
        lambda v: st.tuples(st.just(v), st.integers(1, len(v)))
    )
)
@settings(max_examples=60, deadline=None)
def test_pass_at_k_is_the_mean_over_all_subsets(drawn) -> None:
    verdicts, k = drawn
    subsets = [any(s) for s in combinations(verdicts, k)]
    assert float(pass_at_k(len(verdicts), sum(verdicts), k)) == pytest.approx(np.mean(subsets))


def test_majority_of_the_real_samples(shared_data: Path) -> None:
    lines = (shared_data / "majority_samples.jsonl").read_text().splitlines()
    problems = [
        [(s["final"], s["is_correct"]) for s in json.loads(line)["samples"]] for line in lines
    ]
    counts = {count.k: count for count in sample_counts(cell_of(problems))}
    assert sorted(counts) == [1, 2, 4, 8]
    assert counts[8].majority_percent.value == 93
    assert counts[8].pass_percent.value == 96
    assert counts[8].average_percent.value == pytest.approx(91, abs=0.5)
    for count in counts.values():
        assert count.average_percent.value == counts[8].average_percent.value
    assert counts[1].pass_percent.value == pytest.approx(counts[1].average_percent.value)
    assert counts[1].majority_percent.value == pytest.approx(counts[1].average_percent.value)
    passes = [counts[k].pass_percent.value for k in (1, 2, 4, 8)]
    assert passes == sorted(passes)


def test_ties_go_to_the_first_answer_and_silence_has_no_vote() -> None:
    cell = cell_of([[(None, False), ("7", True), ("8", False), (None, False)]])
    at_4 = sample_counts(cell, [4])[0]
    assert at_4.majority_percent.value == 100
    cell = cell_of([[("8", False), ("7", True), ("8", False), ("7.0", True)]])
    assert sample_counts(cell, [4])[0].majority_percent.value == 0
    nobody = cell_of([[(None, False), (None, False)]])
    assert sample_counts(nobody, [2])[0].majority_percent.value == 0


def test_votes_go_by_the_normal_form() -> None:
    cell = cell_of([[("8", False), ("1,000", True), ("1000.0", True), ("9", False)]])
    assert sample_counts(cell, [4])[0].majority_percent.value == 100


def test_the_shortest_majority_prefers_short_thinking() -> None:
    samples = [[("8", False), ("8", False), ("7", True), ("7", True)]]
    tokens = [[9000, 9000, 30, 30]]
    count = sample_counts(cell_of(samples, tokens), [4])[0]
    assert count.majority_percent.value == 0
    assert count.shortest_majority_percent.value == 100


def test_tokens_are_the_sum_over_samples() -> None:
    cell = cell_of([[("7", True)] * 4], tokens=[[10, 20, 30, 40]])
    assert [c.mean_total_tokens for c in sample_counts(cell)] == [30, 60, 120]


def test_large_n_is_sampled_and_close_to_exact() -> None:
    rng = np.random.default_rng(0)
    problems = [[("7" if v else "8", bool(v)) for v in rng.random(32) < p] for p in rng.random(40)]
    counts = {c.k: c for c in sample_counts(cell_of(problems), [1, 8, 32])}
    assert counts[1].majority_percent.value == pytest.approx(
        counts[1].average_percent.value, abs=0.01
    )
    assert counts[8].num_samples == 32
    assert counts[1].average_percent.value == counts[32].average_percent.value


def test_uneven_problems_are_left_out_and_ungraded_answers_are_not_right() -> None:
    rows = [
        {"problem_id": "a", "sample": 0},
        {"problem_id": "a", "sample": 1},
        {"problem_id": "b", "sample": 0},
        {"problem_id": "c", "sample": 0},
        {"problem_id": "c", "sample": 1, "verdict": "ungraded"},
    ]
    count = sample_counts(metrics.cells(table_of(rows))[0])[0]
    assert count.num_problems == 2
    assert count.average_percent.value == 75
