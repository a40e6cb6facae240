"""Rules that stop sampling early: by hand, and on real samples by a computation of its own."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from s1x.curve.replays import lead_certainty, replays
from tests.curve.test_samples import cell_of

Found = dict[str, tuple[float, float]]


def found_of(problems: Any, tokens: Any, k: int) -> Found:
    """Rule → accuracy in percent, thinking tokens per question without the answers (5 each)."""
    found = replays(cell_of(problems, tokens), [k])
    return {r.rule: (r.accuracy_percent.value or 0.0, r.mean_total_tokens) for r in found}


def test_how_sure_a_lead_is() -> None:
    assert lead_certainty(0, 0) == 0.5
    assert lead_certainty(3, 0) == 1 - 1 / 16  # not yet 0.95
    assert lead_certainty(4, 0) == 1 - 1 / 32
    assert lead_certainty(5, 1) == 1 - (7 + 1) / 2**7
    assert lead_certainty(6, 2) == pytest.approx(1 - (36 + 9 + 1) / 2**9)
    assert lead_certainty(2, 5) == pytest.approx(1 - lead_certainty(5, 2))


def test_adaptive_consistency_by_hand() -> None:
    unanimous = [("7", True)] * 4 + [("8", False)] * 4
    tokens = [[10, 20, 30, 40, 50, 60, 70, 80]]
    # four of one mind are enough: 10 + 20 + 30 + 40 and four answers of 5
    assert found_of([unanimous], tokens, 8)["adaptive consistency"] == (100, 120)
    # 5 against 1 is 0.9375, 6 against 1 0.965: after the seventh
    one_other = [("7", True), ("8", False)] + [("7", True)] * 6
    assert found_of([one_other], tokens, 8)["adaptive consistency"] == (100, 280 + 35)
    silent = [(None, False)] * 3 + [("7", True)] * 5
    assert found_of([silent], tokens, 8)["adaptive consistency"] == (100, 280 + 35)
    never = [("7", True), ("8", False)] * 4
    assert found_of([never], tokens, 8)["adaptive consistency"] == (100, 360 + 40)


def test_short_m_at_k_by_hand() -> None:
    samples = [("8", False), ("7", True), ("9", False), ("7", True), ("8", False), ("8", False)]
    tokens = [[60, 20, 10, 30, 50, 40]]
    found = found_of([samples], tokens, 6)
    # the first to end has 10 tokens, as all have by then; one answer of 5
    assert found["short-1@k"] == (0, 60 + 5)
    # 9, 7, 7 after 10, 20, 30 tokens: the rest is stopped at 30; three answers
    assert found["short-3@k"] == (100, 10 + 20 + 4 * 30 + 15)
    tie = [("8", False), ("7", True), ("9", False), ("6", False), ("8", False), ("8", False)]
    assert found_of([tie], [[60, 10, 20, 30, 50, 40]], 6)["short-3@k"][0] == 100, "to the shortest"


def test_savings_and_gains_are_against_the_majority_of_the_same_samples() -> None:
    problems = [[("7", True)] * 4, [("8", False), ("8", False), ("8", False), ("7", True)]]
    tokens = [[15] * 4, [35, 35, 35, 5]]
    found = {(r.rule, r.k): r for r in replays(cell_of(problems, tokens))}
    assert sorted({k for _, k in found}) == [2, 4]
    first = found["short-1@k", 4]
    # 4 x 15 + 5 and 4 x 5 + 5, of 80 and 130
    assert first.mean_total_tokens == (65 + 25) / 2
    assert first.saved_percent == pytest.approx(100 * (1 - 90 / 210))
    assert (first.accuracy_percent.value, first.gain_points.value) == (100, 50)
    assert first.gain_points.low < 50 < first.gain_points.high
    assert found["adaptive consistency", 4].gain_points.value == 0


def test_real_samples_by_a_computation_of_its_own(shared_data: Path) -> None:
    lines = (shared_data / "majority_samples.jsonl").read_text().splitlines()
    given = [json.loads(line)["samples"] for line in lines]
    sizes = [[len(s["text"].split()) for s in samples] for samples in given]
    right = Counter[str]()
    spent = Counter[str]()
    for samples, lengths in zip(given, sizes, strict=True):
        flags = {s["final"]: s["is_correct"] for s in samples}
        right["best by reward"] += max(samples, key=lambda s: s["rm_score"])["is_correct"]
        right["any"] += any(flags.values())
        right["mean"] += sum(s["is_correct"] for s in samples) / 8
        votes, drawn = Counter[str](), 0
        while drawn < 8:
            votes[samples[drawn]["final"]] += 1
            drawn += 1
            v1, v2 = ([n for _, n in votes.most_common(2)] + [0])[:2]
            # the share of fair coins, thrown v1 + v2 + 1 times, with more than v1 heads
            n = v1 + v2 + 1
            if sum(bin(throw).count("1") > v1 for throw in range(2**n)) / 2**n <= 0.05:
                break
        right["adaptive consistency"] += flags[votes.most_common(1)[0][0]]
        spent["adaptive consistency"] += sum(lengths[:drawn]) + 5 * drawn
        order = sorted(range(8), key=lambda i: lengths[i])
        for m in (1, 3):
            kept = Counter(samples[i]["final"] for i in order[:m])
            right[f"short-{m}@k"] += flags[kept.most_common(1)[0][0]]
            spent[f"short-{m}@k"] += sum(min(n, lengths[order[m - 1]]) for n in lengths) + 5 * m
    problems = [[(s["final"], s["is_correct"]) for s in samples] for samples in given]
    for rule, (accuracy, tokens) in found_of(problems, sizes, 8).items():
        assert accuracy == pytest.approx(right[rule]), rule
        assert tokens == pytest.approx(spent[rule] / 100), rule
    assert (right["mean"], right["best by reward"], right["any"]) == (91, 94, 96)


def test_confidence_votes_by_a_computation_of_its_own() -> None:
    """Weighed votes of the surest, one sample after another; and percentiles as NumPy has them."""
    rng = np.random.default_rng(0)
    problems, tokens, lists = [], [], []
    for _ in range(12):
        answers = [str(a) if a else None for a in rng.integers(0, 4, 8)]
        problems.append([(a, a == "1") for a in answers])
        tokens.append([20] * 8)
        lists.append(rng.uniform(3, 20, (8, 25)).astype(np.float16))
    frame = cell_of(problems, tokens).rows.with_columns(
        token_confidences=pl.Series([list(map(float, one)) for p in lists for one in p]),
        token_entropies=pl.Series([[1.0] * 25 for p in lists for _ in p]),
    )
    cell = replace(cell_of(problems, tokens), rows=frame)
    found = {r.rule: r for r in replays(cell, [8], group_tokens=5)}
    for keep, rule in (
        (100, "vote by tail confidence"),
        (10, "vote of the best 10% by tail"),
        (90, "vote of the best 90% by tail"),
    ):
        right = 0
        for samples, values in zip(problems, lists, strict=True):
            tails = [float(one.astype(float)[-5:].mean()) for one in values]
            valid = [t for t, (answer, _) in zip(tails, samples, strict=True) if answer]
            bar = np.percentile(valid, 100 - keep)
            votes = Counter[str]()
            for tail, (answer, _) in zip(tails, samples, strict=True):
                if answer and tail >= bar:
                    votes[answer] += tail  # type: ignore[assignment]
            right += max(votes, key=lambda a: votes[a]) == "1"
        assert found[rule].accuracy_percent.value == pytest.approx(100 * right / 12)
        assert found[rule].saved_percent == 0
