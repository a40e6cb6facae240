"""Benchmarks of one's own: mapping, choices, ids, and mistakes named by file, line and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from s1x.benchmark.jsonl import Jsonl
from s1x.errors import SettingError, UserError


def written(tmp_path: Path, *rows: Any) -> str:
    path = tmp_path / "mine.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_columns_are_mapped_and_ids_default_to_line_numbers(tmp_path: Path) -> None:
    path = written(
        tmp_path, {"q": "1+1?", "a": 2, "f": "sums", "lv": 3}, "", {"q": "2+2?", "a": "4"}
    )
    benchmark = Jsonl(
        path=path,
        columns={"question": "q", "answer": "a", "domain": "f", "level": "lv"},
        domain_name="other",
        instruction="Put it in a box.",
    )
    first, second = benchmark.load()
    assert (first.problem_id, first.question) == ("1", "1+1?\n\nPut it in a box.")
    assert (first.answer, first.domain, first.level) == ("2", "sums", "3")
    assert (second.problem_id, second.domain, second.level) == ("3", "other", None)
    assert benchmark.info()["source"] == "mine.jsonl"


def test_limit_stops_reading(tmp_path: Path) -> None:
    row = {"question": "q", "answer": "1"}
    assert len(Jsonl(path=written(tmp_path, row, row, "broken"), limit=2).load()) == 2


@pytest.mark.parametrize(
    ("answer", "letter"), [("B", "B"), ("(B)", "B"), (1, "B"), ("two", "B"), (0, "A")]
)
def test_choices_are_written_out(tmp_path: Path, answer: Any, letter: str) -> None:
    row = {"question": "Which?", "answer": answer, "choices": ["one", "two"]}
    (problem,) = Jsonl(path=written(tmp_path, row)).load()
    assert problem.question == "Which?\n\nA) one\nB) two"
    assert (problem.answer, problem.choices) == (letter, ("one", "two"))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (['{"question": '], ["line 1", "not JSON"]),
        (["[1, 2]"], ["line 1", "not a JSON object"]),
        ([{"question": "q", "answer": "1"}, {"question": "q"}], ["line 2", "'answer'"]),
        ([{"answer": "1"}], ["line 1", "'question'", "benchmark.columns.question"]),
        ([{"question": "q", "answer": None}], ["line 1", "'answer'"]),
        ([{"question": "  ", "answer": "1"}], ["line 1", "'question'"]),
        ([{"id": 1, "question": "q", "answer": "1"}] * 2, ["line 2", "'1'", "line 1", "unique"]),
        ([{"question": "q", "answer": "Z", "choices": ["a", "b"]}], ["line 1", "A to B"]),
        ([{"question": "q", "answer": "A", "choices": "ab"}], ["line 1", "'choices'"]),
        (["[" * 100_000], ["line 1", "nested too deeply"]),
    ],
)
def test_mistakes_name_file_line_and_field(tmp_path: Path, rows: list, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        Jsonl(path=written(tmp_path, *rows)).load()
    assert "\n" not in str(error.value)
    for word in ["mine.jsonl", *words]:
        assert word in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        Jsonl(path=str(tmp_path / "missing.jsonl")).load()
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "\xe9", "answer": "1"}\n')
    with pytest.raises(UserError, match="line 1: column 'question' is not valid UTF-8"):
        Jsonl(path=str(tmp_path / "latin.jsonl")).load()
    with pytest.raises(SettingError, match="path"):
        Jsonl()
    with pytest.raises(SettingError, match="limit"):
        Jsonl(path="x", limit=0)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "bom.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"question": "q", "answer": "1"}\n')
    assert Jsonl(path=str(path)).load()[0].answer == "1"


def test_real_files(shared_data: Path) -> None:
    gsm8k = Jsonl(path=str(shared_data / "gsm8k_test.jsonl"), grader="math", domain_name="words")
    problems = gsm8k.load()
    assert len(problems) == 1319
    assert problems[0].problem_id == "gsm8k-test-0"
    assert problems[0].answer == "18"
    mcq = Jsonl(path=str(shared_data / "mcq_sample.jsonl"), columns={"domain": "subject"}).load()
    assert len(mcq) == 500
    assert len({p.domain for p in mcq}) == 18
    assert all(len(p.choices or ()) == 4 and p.answer in "ABCD" for p in mcq)
    aime = Jsonl(path=str(shared_data / "aime24.jsonl"), columns={"question": "problem"}).load()
    assert len(aime) == 30


def test_samples_per_problem_of_one_benchmark() -> None:
    from s1x.evaluate.settings import Sampling

    general = Sampling(temperature=1.0, samples_per_problem=4)
    assert Jsonl(path="x").sampling(general) is general
    assert Jsonl(path="x", samples_per_problem=64).sampling(general).samples_per_problem == 64
