"""The domain draw against s1's notebook, written down plainly."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from small_pools import kept

from s1x.selection.domain_draw import draw_rank

STEP = {
    "step": "domain_draw",
    "trusted": [
        {"source": "gpqa"},
        {"source": "aime"},
        {"source": "openaimath", "min_trace_tokens": 5600},
    ],
    "uniform_share": 0.7,
    "benchmark_sources": [{"source": "aime"}, {"source": "gpqa", "share": 0.5}],
    "length_bias": 2.0,
}


def pool_of(num_rows: int, seed: int) -> dict[str, list[Any]]:
    rng = random.Random(seed)
    domains = [f"D{i}" for i in range(12)]
    weights = [2.0**-i for i in range(12)]
    sources = ["numina", "qfq/openaimath/Algebra", "qq8933/AIME_1983_2024", "Idavidrein/gpqa"]
    return {
        "question": [f"q{i}" for i in range(num_rows)],
        "domain": rng.choices(domains, weights, k=num_rows),
        "source": rng.choices(sources, [0.9, 0.06, 0.03, 0.01], k=num_rows),
        "attempt_is_correct": [rng.random() < 0.5 for _ in range(num_rows)],
        "trace_tokens": [rng.randrange(100, 9000) for _ in range(num_rows)],
    }


def seeds_of(pool: dict[str, list[Any]]) -> list[int]:
    found = []
    for i, source in enumerate(pool["source"]):
        if not pool["attempt_is_correct"][i]:
            continue
        if source in ("Idavidrein/gpqa", "qq8933/AIME_1983_2024") or (
            "openaimath" in source and pool["trace_tokens"][i] > 5600
        ):
            found.append(i)
    return found


def notebook(pool: dict[str, list[Any]], size: int, rng: random.Random) -> set[int]:
    """s1's notebook, line by line, on row numbers."""
    chosen = set(seeds_of(pool))

    def counts(source: str) -> Counter[str]:
        return Counter(
            d for d, s in zip(pool["domain"], pool["source"], strict=True) if s == source
        )

    gpqa, aime = counts("Idavidrein/gpqa"), counts("qq8933/AIME_1983_2024")
    ratio = 0.5 * sum(aime.values()) / sum(gpqa.values())
    weights = Counter({d: int(n * ratio) for d, n in gpqa.items()}) + aime
    lists: dict[str, list[int]] = {}
    for i, domain in enumerate(pool["domain"]):
        lists.setdefault(domain, []).append(i)
    while len(chosen) < size:
        if len(chosen) < 0.7 * size:
            domain = rng.choice(sorted(lists))
        else:
            there = sorted(d for d in weights if d in lists)
            domain = rng.choices(there, [weights[d] for d in there])[0]
        ranked = sorted(lists[domain], key=lambda i: (-pool["trace_tokens"][i], i))
        row = rng.choices(ranked, [2.0**-r for r in range(len(ranked))])[0]
        chosen.add(row)
        lists[domain].remove(row)
        if not lists[domain]:
            del lists[domain]
    return chosen


def test_trusted_rows_come_first_and_the_size_is_kept(apply: Any) -> None:
    pool = pool_of(3000, 0)
    seeds = seeds_of(pool)
    assert 60 < len(seeds) < 200
    choice = apply(pool, STEP, size=400)
    assert len(kept(choice)) == 400
    assert set(seeds) <= set(kept(choice))
    assert choice.funnel[-1]["report"]["trusted_rows"] == len(seeds)


def test_draw_has_the_notebooks_distribution(apply: Any) -> None:
    """Domains and trace lengths of many draws agree with those of the notebook's own procedure."""
    pool = pool_of(1500, 1)
    ours: Counter[str] = Counter()
    theirs: Counter[str] = Counter()
    tokens = [0.0, 0.0]
    runs, size = 40, 300
    for seed in range(runs):
        for counts, rows, place in (
            (ours, set(kept(apply(pool, STEP, size=size, seed=seed))), 0),
            (theirs, notebook(pool, size, random.Random(seed)), 1),
        ):
            assert len(rows) == size
            counts.update(pool["domain"][i] for i in rows)
            tokens[place] += sum(pool["trace_tokens"][i] for i in rows) / (runs * size)
    for domain in theirs:
        expected = theirs[domain] / runs
        assert ours[domain] / runs == pytest.approx(expected, abs=0.8 + 0.04 * expected)
    assert tokens[0] == pytest.approx(tokens[1], rel=0.01)


def test_rank_is_drawn_with_weight_two_to_the_minus_rank() -> None:
    rng = random.Random(0)
    drawn = Counter(draw_rank(6, 2.0, rng) for _ in range(20_000))
    total = sum(2.0**-r for r in range(6))
    for rank in range(6):
        assert drawn[rank] / 20_000 == pytest.approx(2.0**-rank / total, abs=0.012)
    assert set(drawn) == set(range(6))
    assert draw_rank(1, 2.0, rng) == 0
    assert {draw_rank(3, 1.0, rng) for _ in range(100)} == {0, 1, 2}


def test_uniform_over_domains_without_bias(apply: Any) -> None:
    pool: dict[str, list[Any]] = {
        "question": [f"q{i}" for i in range(1000)],
        "domain": ["big"] * 900 + ["small"] * 60 + ["tiny"] * 40,
        "trace_tokens": list(range(1000)),
    }
    choice = apply(pool, {"step": "domain_draw"}, size=90)
    counts = Counter(pool["domain"][i] for i in kept(choice))
    assert all(20 <= counts[d] <= 40 for d in ("big", "small", "tiny"))
    choice = apply(pool, {"step": "domain_draw"}, size=600)
    counts = Counter(pool["domain"][i] for i in kept(choice))
    assert counts == {"big": 500, "small": 60, "tiny": 40}  # empty domains leave the draw
    choice = apply(pool, {"step": "domain_draw", "num_domains": 2}, size=90)
    assert {pool["domain"][i] for i in kept(choice)} == {"big", "small"}


@pytest.mark.parametrize("layout", [(1000, 1), (7, 1), (64, 5)])
def test_same_seed_same_rows_however_the_pool_is_cut(apply: Any, layout: tuple[int, int]) -> None:
    pool = pool_of(700, 2)
    first = apply(pool, STEP, size=100, seed=3)
    again = apply(pool, STEP, size=100, seed=3, layout=layout)
    assert kept(first) == kept(again)
    assert kept(first) != kept(apply(pool, STEP, size=100, seed=4))


def test_the_very_rows_of_a_seed(apply: Any) -> None:
    """Held fast: another machine, Python or NumPy must choose the same."""
    assert kept(apply(pool_of(200, 5), STEP, size=30, seed=0)) == ROWS


# fmt: off
ROWS = [
    7, 10, 30, 37, 41, 45, 52, 56, 58, 59, 62, 68, 70, 72, 84,
    85, 97, 115, 124, 142, 144, 145, 149, 150, 151,
    154, 165, 172, 174, 181,
]
# fmt: on
