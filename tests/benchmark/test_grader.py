"""Graders that need no engine, the judge, and how graders are named."""

from __future__ import annotations

import json
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from s1x.benchmark.grader import make_grader
from s1x.benchmark.problem import Problem
from s1x.errors import SettingError, UserError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "engine"))


def asked(answer: str, choices: tuple[str, ...] | None = None) -> Problem:
    return Problem("p", "the question", answer, "d", choices=choices)


@pytest.mark.parametrize(
    ("reference", "text", "verdict", "extracted"),
    [
        ("73", "\\boxed{073}", "correct", "073"),
        ("1000", "Final Answer: $1,000$.", "correct", "1,000"),
        ("42", "Final Answer: x = 42 apples", "correct", "42"),
        ("3", "Final Answer: 2 or 3", "wrong", "2 or 3"),
        ("2", "Final Answer: 1/2", "wrong", "1/2"),
        ("2", "Final Answer: \\frac{1}{2}", "wrong", "\\frac{1}{2}"),
        ("Evelyn", "Answer: evelyn", "correct", "evelyn"),
        ("7", "7", "correct", "7"),
        ("7", "I think about it for a long time and do not know what it is", "unanswered", None),
        ("7", "", "unanswered", None),
    ],
)
def test_exact(reference: str, text: str, verdict: str, extracted: str | None) -> None:
    grade = make_grader("exact").grade(asked(reference), text)
    assert (grade.verdict, grade.extracted, grade.reason) == (verdict, extracted, None)


@pytest.mark.parametrize(
    ("text", "letter", "rule"),
    [
        ("\\boxed{B}", "B", "boxed"),
        ("\\boxed{\\text{(C)}}", "C", "boxed"),
        ("Final Answer: D) because", "D", "Final Answer:"),
        ("Answer: **A**", "A", "Answer:"),
        ("Answer: chorion", "B", "Answer:"),
        ("The answer is (C) and not A", "C", "answer_is"),
        ("B. it can't be A", "B", "first_letter"),
        ("It is not A, so it must be D", "D", "last_letter"),
        ("A triangle is not what is asked", None, None),
        ("Answer: c", "C", "Answer:"),
        ("answer is a matter of taste", None, None),
        ("E", None, None),
    ],
)
def test_choice(text: str, letter: str | None, rule: str | None) -> None:
    problem = asked("B", ("amnion", "chorion", "allantois", "yolk sac"))
    found = make_grader("choice").grade(problem, text)
    assert (found.extracted, found.rule) == (letter, rule)
    expected = {None: "unanswered", "B": "correct"}.get(letter, "wrong")
    assert found.verdict == expected


#: "Answer: c" is no answer to lighteval; it is to us
SMALL_LETTERS = {"lighteval:gpqa_instruct_metric.9"}


def test_choice_agrees_with_the_real_cases(shared_data: Path) -> None:
    grader = make_grader("choice")
    lines = (shared_data / "grader_cases.jsonl").read_text().splitlines()
    cases = [c for c in map(json.loads, lines) if c["kind"] == "mcq"]
    english = [c for c in cases if c["options"]["language"] == "english"]
    assert len(english) == 32
    for case in english:
        gold = grader.extract(asked("A"), case["gold"])
        grade = grader.grade(asked(gold.text), case["prediction"])
        expected = case["expected"] or case["id"] in SMALL_LETTERS
        assert (grade.verdict == "correct") == expected, case["id"]


def test_exact_reproduces_the_flags_of_gsm8k(shared_data: Path) -> None:
    grader = make_grader("exact", {"rules": ["A:"]})
    verdicts: Counter[str] = Counter()
    for line in (shared_data / "gsm8k_model_attempts.jsonl").read_text().splitlines():
        row = json.loads(line)
        for attempt in row["attempts"].values():
            grade = grader.grade(asked(row["answer"]), attempt["text"])
            assert (grade.verdict == "correct") == attempt["is_correct"], (row["id"], grade)
            verdicts[grade.verdict] += 1
    assert verdicts.total() == 5276
    assert verdicts["unanswered"] == 11


def test_aime_answers_are_graded_exactly(shared_data: Path) -> None:
    lines = (shared_data / "aime_1983_2023.jsonl").read_text().splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    grader = make_grader("exact")
    for answer, other in pairwise(answers):
        assert grader.grade(asked(answer), f"\\boxed{{{answer.zfill(3)}}}").verdict == "correct"
        if int(answer) != int(other):
            assert grader.grade(asked(answer), f"Final Answer: {other}").verdict == "wrong"


# -- names and settings ---------------------------------------------------------------------------


def test_unknown_grader_and_settings() -> None:
    with pytest.raises(UserError, match="choice, exact, llm_judge, math"):
        make_grader("sympy")
    with pytest.raises(UserError, match="rules"):
        make_grader("exact", {"rule": ["boxed"]})
    with pytest.raises(SettingError, match=r"grader_settings\.rules must be .*'boxd'"):
        make_grader("exact", {"rules": ["boxd"]})
    with pytest.raises(SettingError, match=r"grader_settings\.time_limit_seconds"):
        make_grader("math", {"time_limit_seconds": 0})


def test_a_grader_of_ones_own() -> None:
    grader = make_grader("s1x.benchmark.exact.Exact", {"rules": ["=>:"]})
    assert grader.grade(asked("5"), "=>: 5").verdict == "correct"
