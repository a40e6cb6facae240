"""Selection on real questions, attempts and traces; every count is made again by hand."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_pools import shipped

from s1x.benchmark.problem import Problem
from s1x.pool.jsonl import Jsonl
from s1x.selection.recipe import Recipe
from s1x.selection.stage import choose, run
from s1x.selection.step import Context
from s1x.selection.table import PoolTable

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def benchmark(path: Path) -> list[Problem]:
    rows = lines(path)
    return [
        Problem(str(i), r.get("problem") or r["question"], r["answer"], "")
        for i, r in enumerate(rows)
    ]


def left(pool: Path, *steps: dict[str, Any], **known: Any) -> list[int]:
    choice = choose(
        PoolTable(pool), Recipe(size=None, steps=list(steps)).built(), Context(0, None, **known)
    )
    return [int(n) for n in choice.rows]


@pytest.fixture(scope="module")
def gsm8k(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,319 questions with the answers and verdicts of four models."""
    folder = tmp_path_factory.mktemp("gsm8k")
    columns = {f"is_correct_{m}": f"attempts.{m}.is_correct" for m in MODELS}
    columns |= {f"answer_{m}": f"attempts.{m}.final" for m in MODELS}
    path = str(shared_data / "gsm8k_model_attempts.jsonl")
    assert (
        Jsonl(path=path, columns={"solution": "ground_truth", **columns}).write(folder)["rows"]
        == 1319
    )
    return folder


def test_solved_and_agreement_on_four_models(gsm8k: Path, shared_data: Path) -> None:
    rows = lines(shared_data / "gsm8k_model_attempts.jsonl")
    right = [sum(row["attempts"][m]["is_correct"] for m in MODELS) for row in rows]
    answers = [[row["attempts"][m]["final"] for m in MODELS] for row in rows]
    same = [max(Counter(a for a in own if a is not None).values(), default=0) for own in answers]
    none_right = [i for i, n in enumerate(right) if n == 0]
    assert left(gsm8k, {"step": "solved"}) == none_right
    assert left(gsm8k, {"step": "solved", "min_right": None}) == [
        i for i, n in enumerate(right) if n < 4
    ]
    assert left(gsm8k, {"step": "solved", "min_right": 3}) == [
        i for i, n in enumerate(right) if n < 3
    ]
    agreed = left(gsm8k, {"step": "agreement"}, {"step": "missing", "columns": [], "features": []})
    assert agreed == [i for i, n in enumerate(same) if n < 3]
    assert (len(none_right), 1319 - len(agreed)) == (NONE_RIGHT, THREE_AGREE)


NONE_RIGHT, THREE_AGREE = 432, 408


def test_own_grading_agrees_with_the_flags(shared_data: Path, tmp_path: Path) -> None:
    for model in MODELS:
        columns = {
            "attempt": f"attempts.{model}.final",
            "solution": "answer",
            "attempt_is_correct": f"attempts.{model}.is_correct",
        }
        path = str(shared_data / "gsm8k_model_attempts.jsonl")
        Jsonl(path=path, columns=columns).write(tmp_path / model)
        by_flag = left(tmp_path / model, {"step": "wrong_attempts", "grade": False})
        del columns["attempt_is_correct"]
        Jsonl(path=path, columns=columns).write(tmp_path / model)
        graded = {"step": "wrong_attempts", "grader": "exact", "keep_unknown": True}
        table = left(tmp_path / model, {"step": "missing", "columns": ["attempt"]}, graded)
        assert table == by_flag


def test_s1ks_own_questions_against_the_benchmarks(shared_data: Path, tmp_path: Path) -> None:
    """The overlaps that SOURCES.md lists, by s1's rule and by share."""
    Jsonl(path=str(shared_data / "s1k_questions.jsonl")).write(tmp_path)
    names = ("math500", "aime24", "aime25", "aime_1983_2023")
    known = {name: benchmark(shared_data / f"{name}.jsonl") for name in names}

    def overlap(name: str, **options: Any) -> tuple[int, int]:
        """Questions of s1K that go, and problems of the benchmark that are found."""
        recipe = Recipe(size=None, steps=[{"step": "decontaminate", **options}])
        context = Context(0, None, {name: known[name]})
        choice = choose(PoolTable(tmp_path), recipe.built(), context)
        problems_found = choice.funnel[-1]["report"]["problems_found"]
        return 912 - len(choice.rows), problems_found.get(name, 0)

    assert [overlap(name)[0] for name in names[:3]] == [79, 79, 77]
    share = {"rule": "share", "ignore_punctuation": True}
    assert [overlap(name, **share)[1] for name in names] == [4, 0, 0, 289]
    # nearly all of it is one phrase: with phrases of more than ten questions set aside
    assert [overlap(name, common_questions=10)[0] for name in names[:3]] == [22, 22, 33]


@pytest.fixture(scope="module")
def traces(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traces")
    columns = {"attempt_is_correct": "attempt_correct_mv"}
    Jsonl(path=str(shared_data / "traces.jsonl"), columns=columns).write(folder)
    return folder


def test_quality_steps_on_real_traces(traces: Path, shared_data: Path) -> None:
    rows = lines(shared_data / "traces.jsonl")
    assert left(traces, {"step": "truncated"}) == [
        i for i, row in enumerate(rows) if row["finish"] == "complete"
    ]
    assert left(traces, {"step": "missing", "features": []}) == [
        i for i, row in enumerate(rows) if row["thinking"].strip() and row["attempt"].strip()
    ]
    looping = set(range(len(rows))) - set(left(traces, {"step": "looping"}))
    assert len(looping) == 21
    assert all(rows[i]["finish"] == "truncated" for i in looping)  # no whole trace is called a loop
    foreign = set(range(len(rows))) - set(left(traces, {"step": "language"}))
    chinese = {
        i for i, r in enumerate(rows) if any("\u4e00" <= c <= "\u9fff" for c in r["thinking"])
    }
    chinese = {i for i in chinese if rows[i]["model"] == "Qwen3-8B"}
    assert len(chinese) == 24
    assert {i for i in foreign if rows[i]["model"] == "Qwen3-8B"} == chinese
    assert len(foreign) <= 25  # one of 3,158 English traces has hardly any common word


def test_models_that_share_questions_are_solvers(traces: Path, shared_data: Path) -> None:
    rows = lines(shared_data / "traces.jsonl")
    solved = {row["question"] for row in rows if row["attempt_correct_mv"]}
    chosen = left(traces, {"step": "solved", "grader": "exact"})
    easy = {i for i, row in enumerate(rows) if row["question"] in solved}
    assert easy.isdisjoint(chosen)
    assert len(easy) > 1400


def test_s1k_and_article_run_on_real_traces(
    traces: Path, shared_data: Path, tmp_path: Path
) -> None:
    known = {"math500": benchmark(shared_data / "math500.jsonl")}
    for name, size in (("s1k", 40), ("article", 40)):
        recipe = shipped(name, size=size, override=OVERRIDES[name])
        summary = run(
            traces, recipe, known, 0, tmp_path / name, lambda ts: [len(t.split()) for t in ts]
        )
        assert summary["rows_chosen"] == size
        chosen = pq.read_table(tmp_path / name / "chosen.parquet").to_pylist()
        assert len({row["question"] for row in chosen}) == size
        assert not {row["dataset"] for row in chosen} & {"math500"}
        assert all(row["reasoning_trace"].strip() and row["attempt"].strip() for row in chosen)


OVERRIDES: dict[str, dict[str, Any]] = {
    # verdicts are unknown where the answer is; asking for them would leave solved questions only
    "s1k": {"missing": {"features": ["domain"]}, "solved": {"grader": "exact"}},
    "article": {
        "wrong_attempts": {"grade": False, "keep_unknown": True},
        "agreement": {"num_models": 2},
    },
}
