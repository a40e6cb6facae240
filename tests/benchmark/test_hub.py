"""Hub benchmarks: choices shuffled and mapped back, counts checked, an unreachable hub told."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from s1x import hub
from s1x.benchmark.hub import Hub
from s1x.compose import CONF, register
from s1x.config import build_benchmarks
from s1x.errors import UserError

register()
NAMES = ("aime24", "aime25", "math500", "gpqa_diamond")


def shipped(name: str) -> Hub:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(f"benchmark/{name}")
    made = build_benchmarks(cfg.benchmark)[name]
    assert isinstance(made, Hub)
    return made


def served(monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]) -> list[tuple]:
    import datasets

    calls: list[tuple] = []

    def load_dataset(*args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        calls.append((*args, kwargs["split"]))
        return rows

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub, "hub_answers", lambda: True)
    return calls


GPQA_ROWS = [
    {
        "Record ID": f"rec{i}",
        "Question": f"Question {i}?",
        "Correct Answer": f"right {i}\n",
        "Incorrect Answer 1": f"wrong {i} a",
        "Incorrect Answer 2": f"wrong {i} b",
        "Incorrect Answer 3": f"wrong {i} c",
        "High-level domain": "Physics",
    }
    for i in range(198)
]


def test_gpqa_choices_are_shuffled_and_mapped_back(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = served(monkeypatch, GPQA_ROWS)
    benchmark = shipped("gpqa_diamond")
    problems = benchmark.load()
    assert calls == [("Idavidrein/gpqa", "gpqa_diamond", "train")]
    for i, problem in enumerate(problems):
        shown = dict(zip("ABCD", problem.choices or (), strict=True))
        assert shown[problem.answer] == f"right {i}"
        assert f"\n{problem.answer}) right {i}" in problem.question
        assert problem.question.startswith(f"Question {i}?\n\nA) ")
    letters = Counter(problem.answer for problem in problems)
    assert min(letters.values()) > 30
    assert problems == benchmark.load()
    assert problems[0].metadata["shuffle_seed"] == 0
    other = Hub(**{**vars(benchmark), "shuffle_seed": 1}).load()
    assert [p.answer for p in other] != [p.answer for p in problems]
    grader = benchmark.make_grader()
    assert grader.grade(problems[5], "Answer: right 5").verdict == "correct"


def test_shuffling_does_not_hang_on_the_order_of_rows() -> None:
    benchmark = shipped("gpqa_diamond")
    there = {p.problem_id: p.answer for p in benchmark.from_rows(GPQA_ROWS)}
    back = {p.problem_id: p.answer for p in benchmark.from_rows(GPQA_ROWS[::-1])}
    assert there == back


def test_math500_columns(monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> None:
    lines = (shared_data / "math500.jsonl").read_text().splitlines()
    served(monkeypatch, [json.loads(line) for line in lines])
    problems = shipped("math500").load()
    assert len(problems) == 500
    assert problems[0].problem_id == "test/precalculus/807.json"
    assert problems[0].domain == "Precalculus"


def test_aime_columns(monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> None:
    for name in ("aime24", "aime25"):
        lines = (shared_data / f"{name}.jsonl").read_text().splitlines()
        served(monkeypatch, [json.loads(line) for line in lines])
        problems = shipped(name).load()
        assert len({p.problem_id for p in problems}) == 30
        assert all(0 <= int(p.answer) <= 999 for p in problems)


def test_a_wrong_number_of_questions_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    served(monkeypatch, GPQA_ROWS[:-1])
    with pytest.raises(UserError, match=r"197 questions.*198"):
        shipped("gpqa_diamond").load()


def test_a_missing_column_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    served(monkeypatch, [{"question": "q"}])
    with pytest.raises(UserError, match="row 1: no column 'problem'"):
        shipped("aime24").load()


@pytest.mark.parametrize("name", NAMES)
def test_what_a_report_says_of_each(name: str) -> None:
    info = shipped(name).info()
    assert info["source"].startswith("hub: ")
    assert info["domain_names"]
    assert info["answer_format"]
    assert info["in_domain"] is True


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert not hub.hub_answers(timeout_seconds=1)
    monkeypatch.setattr(hub, "hub_answers", lambda: False)
    with pytest.raises(UserError) as error:
        Hub(repository="nobody/nothing-at-all").load()
    text = str(error.value)
    assert "\n" not in text
    assert "nobody/nothing-at-all" in text
    assert "benchmark=jsonl" in text
    import datasets

    datasets.config.HF_HUB_OFFLINE = False


def test_puzzles_have_what_every_benchmark_has() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(
            "config",
            overrides=["benchmark=[puzzles_easy,puzzles_hard,puzzles_new]", "~model"],
        )
    for name, benchmark in build_benchmarks(cfg.benchmark).items():
        problems = benchmark.load()
        assert len({p.question for p in problems}) == 300
        assert benchmark.info()["in_domain"] is (name != "puzzles_new")
        grader = benchmark.make_grader()
        for problem in problems[:20]:
            assert grader.grade(problem, f"Final Answer: {problem.answer}").verdict == "correct"
            assert grader.grade(problem, "Final Answer: no idea").verdict == "wrong"


#: a row of each data set's shape → the question as asked begins so, the reference answer, the id
PUBLISHED: dict[str, tuple[dict[str, Any], str, str]] = {
    "aime26": ({"problem_idx": 3, "problem": "Q?", "answer": 277}, "277", "3"),
    "amc23": ({"id": 0, "question": "Q?", "answer": 27.0, "url": "u"}, "27", "0"),
    "olympiadbench": (
        {"id": 1606, "question": "Q?", "final_answer": ["$\\frac{1}{2}$"], "subfield": "Algebra"},
        "$\\frac{1}{2}$",
        "1606",
    ),
    "gsm8k": ({"question": "Q?", "answer": "40+32=<<40+32=72>>72\n#### 72"}, "72", "1"),
    "livemathbench": ({"question": "Q?", "answer": "$\\sqrt{3}$", "question_type": "x"}, "", "1"),
    "hmmt_feb_2025": ({"problem_idx": 1, "problem": "Q?", "answer": "103"}, "103", "1"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_benchmarks_read_rows_of_their_shape(name: str) -> None:
    row, answer, problem_id = PUBLISHED[name]
    made = shipped(name)
    (problem,) = made.from_rows([row])
    grader = made.make_grader()
    try:
        reference = grader.reference(problem)
        assert not answer or reference == answer
        assert (problem.problem_id, problem.question) == (problem_id, "Q?")
        ((grade),) = grader.grade_all([(problem, f"So \\boxed{{{reference.strip('$')}}}.")])
        assert grade.verdict == "correct"
    finally:
        grader.close()


def test_ten_choices_keep_their_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    options = [f"choice {i}" for i in range(10)]
    row = {"question_id": 70, "question": "Q?", "options": options, "category": "law"}
    rows = [{**row, "answer": "J", "answer_index": 9, "cot_content": "", "src": "s"}]
    served(monkeypatch, rows)
    made = dataclasses.replace(shipped("mmlu_pro"), num_problems=None)
    (problem,) = made.load()
    assert problem.question.startswith("Q?\n\nA) choice 0\n")
    assert problem.question.endswith("\nJ) choice 9")
    assert (problem.answer, problem.domain, problem.problem_id) == ("J", "law", "70")
    grader = made.make_grader()
    assert grader.grade(problem, "The answer is (J).").verdict == "correct"
    assert grader.grade(problem, "The answer is (I).").verdict == "wrong"
