"""A pool of the paper's size with known faults gives the paper's funnel, to the row."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_pools import problems, shipped, write_pool

from s1x.selection.stage import run

#: s1's notebook: 58,986 -> 54,116 -> 51,607 -> 24,517 -> 393 seeds -> 1,000
POOL, WITH_FEATURES, WELL_FORMED, HARD, SEEDS = 58_986, 54_116, 51_607, 24_517, 393
OVERLAPS = 37
FEATURES = ("is_correct_qwen2_5_7b", "is_correct_qwen2_5_32b", "attempt_is_correct", "domain")


def make_columns(seed: int = 0) -> dict[str, list[Any]]:
    """The pool: fates in known numbers, shuffled; every question is another one."""
    rng = random.Random(seed)
    fates = (
        ["overlap"] * OVERLAPS
        + ["no feature"] * (POOL - WITH_FEATURES)
        + ["malformed"] * (WITH_FEATURES - WELL_FORMED)
        + ["solved"] * (WELL_FORMED - HARD)
        + ["seed"] * SEEDS
        + ["hard"] * (HARD - SEEDS)
    )
    rng.shuffle(fates)
    names = (
        "fate",
        "question",
        "solution",
        "reasoning_trace",
        "attempt",
        "source",
        "trace_tokens",
        *FEATURES,
    )
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for number, fate in enumerate(fates):
        for name, value in make_row(number, fate, rng).items():
            columns[name].append(value)
    return columns


def make_row(number: int, fate: str, rng: random.Random) -> dict[str, Any]:
    tokens = rng.randrange(200, 9000)
    source = rng.choice(
        ["AI-MO/NuminaMath-CoT/olympiads", "OpenDFM/SciEval/x", "qfq/openaimath/Algebra"]
    )
    right = rng.random() < 0.5
    if fate == "seed":
        source = rng.choice(["Idavidrein/gpqa", "qq8933/AIME_1983_2024", "qfq/openaimath/Geometry"])
        right, tokens = True, rng.randrange(5601, 9000)
    elif fate == "hard" and source.startswith("qfq") and right:
        tokens = min(tokens, 5600)
    elif fate == "hard" and rng.random() < 0.03:
        source, right = "qq8933/AIME_1983_2024", False
    solved = (
        rng.choice([(True, True), (True, False), (False, True)])
        if fate == "solved"
        else (False, False)
    )
    words = " ".join(f"{rng.choice('abcdefgh')}{rng.randrange(10**6)}" for _ in range(12))
    row: dict[str, Any] = {
        "fate": fate,
        "question": f"Find {words}",
        "solution": str(number),
        "reasoning_trace": f"trace {number}",
        "attempt": f"attempt {number}",
        "source": source,
        "trace_tokens": tokens,
        **dict(zip(FEATURES, (*solved, right, f"domain {rng.randrange(50)}"), strict=True)),
    }
    if fate == "overlap":
        row["question"] = f"{words} {benchmark_words(number % OVERLAPS)}"
    elif fate == "no feature":
        row[rng.choice([*FEATURES, "reasoning_trace", "attempt"])] = None
    elif fate == "malformed":
        mark = rng.choice(["[asy] x [/asy]", "![Image](x)", "p12. and", "**Problem1.**"])
        row["question"] = f"{mark} {row['question']}"
    elif rng.random() < 0.01 and "AIME" in row["source"]:
        row["question"] += " [asy] drawing [/asy]"
    return row


def benchmark_words(number: int) -> str:
    return " ".join(f"bench{number}word{i}" for i in range(8))


def fates_of(rows: Sequence[int], columns: dict[str, list[Any]]) -> set[str]:
    return {columns["fate"][row] for row in rows}


@pytest.fixture(scope="module")
def selected(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, list[Any]], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("funnel")
    columns = make_columns()
    pool = write_pool(folder / "pool", columns, 2000, 2)
    benchmark = {"b": problems(*(benchmark_words(n) + " end" for n in range(OVERLAPS)))}
    summary = run(pool, shipped("s1k"), benchmark, 0, folder / "out")
    return folder / "out", columns, summary


def test_the_known_funnel_to_the_row(selected: Any) -> None:
    folder, columns, summary = selected
    total = POOL + OVERLAPS
    assert summary["rows_pool"] == total
    steps = {step["step"]: (step["rows_in"], step["rows_out"]) for step in summary["steps"]}
    assert steps == {
        "pool": (total, total),
        "decontaminate": (total, POOL),
        "missing": (POOL, WITH_FEATURES),
        "duplicates": (WITH_FEATURES, WITH_FEATURES),
        "format": (WITH_FEATURES, WELL_FORMED),
        "solved": (WELL_FORMED, HARD),
        "domain_draw": (HARD, 1000),
    }
    assert summary["steps"][-1]["report"]["trusted_rows"] == SEEDS
    dropped = pq.read_table(folder / "dropped.parquet")
    fate_of_step = {
        "decontaminate": "overlap",
        "missing": "no feature",
        "format": "malformed",
        "solved": "solved",
        "domain_draw": "hard",
    }
    for row, step in zip(dropped["row"].to_pylist(), dropped["step"].to_pylist(), strict=True):
        assert columns["fate"][row] == fate_of_step[step]
    chosen = pq.read_table(folder / "chosen.parquet")["row"].to_pylist()
    assert sorted([*chosen, *dropped["row"].to_pylist()]) == list(range(total))
    assert sum(columns["fate"][row] == "seed" for row in chosen) == SEEDS
    assert fates_of(chosen, columns) == {"seed", "hard"}


def test_the_funnel_file_says_the_same(selected: Any) -> None:
    folder, _columns, summary = selected
    assert json.loads((folder / "funnel.json").read_text()) == summary
    chosen = pq.read_table(folder / "chosen.parquet")
    assert summary["rows_chosen"] == chosen.num_rows == 1000
    assert summary["trace_tokens_chosen"] == sum(chosen["trace_tokens"].to_pylist())
    assert summary["num_domains"] == 50
    reasons = {k: v for step in summary["steps"] for k, v in step["reasons"].items()}
    assert sum(reasons.values()) == POOL + OVERLAPS - 1000
    assert reasons["solved by 1 or more solvers"] == WELL_FORMED - HARD


@pytest.mark.parametrize("name", ["random_1k", "diverse_1k", "longest_1k", "full", "article"])
def test_every_recipe_runs_on_the_same_pool(selected: Any, name: str, tmp_path: Path) -> None:
    folder, columns, _ = selected
    changed = {"wrong_attempts": {"grade": False}} if name == "article" else {}
    summary = run(folder.parent / "pool", shipped(name, override=changed), {}, 0, tmp_path)
    chosen = pq.read_table(tmp_path / "chosen.parquet")["row"].to_pylist()
    assert len(chosen) == summary["rows_chosen"]
    if name == "full":
        complete = [
            row
            for row, (trace, attempt) in enumerate(
                zip(columns["reasoning_trace"], columns["attempt"], strict=True)
            )
            if trace is not None and attempt is not None
        ]
        assert chosen == complete
        return
    assert len(chosen) == 1000
    assert "malformed" not in fates_of(chosen, columns)
    if name == "longest_1k":
        shortest = min(columns["trace_tokens"][row] for row in chosen)
        left_out = set(range(POOL + OVERLAPS)) - set(chosen)
        longer = [r for r in left_out if columns["trace_tokens"][r] > shortest]
        assert fates_of(longer, columns) <= {"no feature", "malformed"}
    if name == "article":
        for row in chosen:
            assert columns["attempt_is_correct"][row]
            assert not all(columns[name][row] for name in FEATURES[:3])
