"""The questions of examples/: every attempt is right, and both files are what the README says."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from s1x.benchmark.grader import make_grader
from s1x.benchmark.problem import Problem
from s1x.compose import ROOT


def rows(name: str) -> list[dict[str, Any]]:
    text = (ROOT / "examples" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("grader", ["exact", "math"])
def test_every_attempt_gives_the_reference_answer(grader: str) -> None:
    judge = make_grader(grader)
    pairs = [
        (Problem(str(i), row["question"], row["solution"], row["domain"]), row["attempt"])
        for i, row in enumerate(rows("school_math_traces.jsonl"))
    ]
    try:
        grades = judge.grade_all(pairs)
    finally:
        judge.close()
    wrong = [p[0].question for p, g in zip(pairs, grades, strict=True) if g.verdict != "correct"]
    assert wrong == []


def test_questions_and_traces_are_of_the_same_problems() -> None:
    questions, traces = rows("school_math.jsonl"), rows("school_math_traces.jsonl")
    assert len(questions) >= 40
    asked = {row["question"]: row["answer"] for row in questions}
    assert len(asked) == len({row["id"] for row in questions}) == len(questions)
    assert asked == {row["question"]: row["solution"] for row in traces}
    assert len({row["domain"] for row in questions}) >= 5
    assert all(row["reasoning_trace"].strip() for row in traces)


def test_the_readme_reads_files_that_every_clone_has() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    paths = re.findall(r"path=(examples/\S+)", readme)
    assert len(paths) == 2
    assert all((ROOT / path).is_file() for path in paths)
    assert "../shared" not in readme
