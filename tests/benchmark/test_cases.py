"""Answers as people and models write them: each kind here, all known cases beside the checkout."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from s1x.benchmark.grader import Grade, make_grader
from s1x.benchmark.problem import Problem

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
FIXTURE = Path(__file__).resolve().parent / "cases.jsonl"
#: the reference stands there as a bare value and the answer as "name = value", which is right here;
#: rounding to three or four digits, which is not; tuples of equal members; two formulas that the
#: engine does not simplify
DEPARTURES = {
    *("parity-0192", "parity-0193", "parity-0276", "parity-0298", "parity-0299", "parity-0302"),
    *("parity-0303", "parity-0488", "parity-0493", "parity-0495", "parity-0501", "parity-0127"),
    "parity-0497",
}


def graded(rows: list[dict[str, Any]]) -> list[Grade]:
    """The grades of rows {grader, reference, text, choices}, each grader asked once."""
    by_grader: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_grader[row["grader"]].append(index)
    grades: dict[int, Grade] = {}
    for name, indexes in by_grader.items():
        grader = make_grader(name, {"num_workers": 1} if name == "math" else {})
        pairs = []
        for row in (rows[i] for i in indexes):
            choices = tuple(row["choices"]) if row.get("choices") else None
            problem = Problem("p", "q", row["reference"], "d", choices=choices)
            pairs.append((problem, row["text"]))
        grades.update(zip(indexes, grader.grade_all(pairs), strict=True))
        grader.close()
    return [grades[i] for i in range(len(rows))]


def wrong_ones(rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Grade]]:
    return [
        (row, grade)
        for row, grade in zip(rows, graded(rows), strict=True)
        if grade.verdict not in row["verdicts"]
    ]


def test_every_kind() -> None:
    """The fixture's rows: kind, grader, reference, text, verdicts (any of them), choices."""
    rows = [json.loads(line) for line in FIXTURE.read_text(encoding="utf-8").splitlines()]
    assert len({row["kind"] for row in rows}) > 30
    assert not wrong_ones(rows)


def test_known_cases() -> None:
    if not CASES.is_dir():
        pytest.skip("the known cases (../shared/cases) are not on this machine")
    rows = []
    for name in ("grading.jsonl", "grading_more.jsonl"):
        for line in (CASES / name).read_text(encoding="utf-8").splitlines():
            rows.append(_row(json.loads(line)))
    _give_choices(rows)
    failed = wrong_ones([row for row in rows if row["id"] not in DEPARTURES])
    assert not failed, failed[0]


def _row(case: dict[str, Any]) -> dict[str, Any]:
    want = case.get("expected", case.get("want"))
    return {
        "id": case.get("id", case["kind"]),
        "grader": case["grader"],
        "reference": case.get("gold", case.get("ref")),
        "text": case.get("prediction", case.get("text")),
        "choices": case.get("choices"),
        "verdicts": want if isinstance(want, list) else [want],
    }


def _give_choices(rows: list[dict[str, Any]]) -> None:
    """The cases of boxed wordings come without their questions: the wording is the right choice."""
    for row in rows:
        if row["grader"] == "choice" and not row["choices"] and "\\boxed{A " in row["text"]:
            row["choices"] = ["this", "that", "these", "those"]
            row["choices"]["ABCD".index(row["reference"])] = row["text"][8:-2]
