"""References, choices and ids are read as what they mean, or refused by file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from s1x.artifact import fingerprint
from s1x.benchmark.benchmark import load_problems
from s1x.benchmark.grader import Grade, make_grader
from s1x.benchmark.hub import Hub
from s1x.benchmark.jsonl import Jsonl
from s1x.benchmark.problem import Problem, content_hash
from s1x.errors import UserError
from s1x.option import result_settings

INPUTS = Path(__file__).resolve().parents[3] / "shared" / "cases" / "inputs"


def jsonl(tmp_path: Path, *rows: Any, **settings: Any) -> Jsonl:
    path = tmp_path / "mine.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Jsonl(path=str(path), **settings)


def row(answer: Any, **more: Any) -> dict[str, Any]:
    return {"question": "q?", "answer": answer, **more}


@pytest.mark.parametrize("grader", ["exact", "math"])
@pytest.mark.parametrize(
    "answer",
    [["2"], [2], 2, 2.0, "2", " 2 ", "$2$", "\\boxed{2}", "1+1 = <<1+1=2>>2\n#### 2", '["2"]'],
)
def test_a_reference_is_read_as_what_it_means(tmp_path: Path, grader: str, answer: Any) -> None:
    benchmark = jsonl(tmp_path, row(answer), grader=grader)
    (problem,) = load_problems("mine", benchmark)
    made = benchmark.make_grader()
    assert made.grade(problem, "so \\boxed{2}").verdict == "correct"
    assert made.grade(problem, "so \\boxed{1}").verdict == "wrong"
    made.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("NaN", "is NaN"),
        ('"nan"', "is NaN"),
        ("null", "is null"),
        ('"  "', "is blank"),
        ('{"value": 2}', "is an object"),
        ("[]", "list with a gap"),
        ('["2", null]', "list with a gap"),
        ('"\\ud800"', "lone surrogate"),
    ],
)
def test_a_reference_that_means_nothing_is_refused(tmp_path: Path, answer: str, words: str) -> None:
    benchmark = jsonl(tmp_path, row("1"), f'{{"question": "q", "answer": {answer}}}')
    with pytest.raises(UserError, match=rf"mine\.jsonl line 2: .*{words}"):
        load_problems("mine", benchmark)


@pytest.mark.parametrize(
    ("choices", "answer", "letter"),
    [
        ([1, 2, 3, 4], 3, "C"),
        ([10, 20, 30], 1, "B"),
        (["apple", "pear", None, float("nan")], "pear", "B"),
        (["apple", "pear"], "b", "B"),
        (["apple", "pear"], "(B)", "B"),
        (["apple", "pear"], "B) pear", "B"),
        (["apple", "pear"], "\\text{(B)}", "B"),
        (["same", "same", "other"], "B", "B"),
        ([{"label": "A", "text": "apple"}, {"label": "B", "text": "pear"}], "B", "B"),
        ([{"label": "1", "text": "apple"}, {"label": "2", "text": "pear"}], "2", "B"),
        ({"label": ["A", "B"], "text": ["apple", "pear"]}, "pear", "B"),
    ],
)
def test_choices_are_read(tmp_path: Path, choices: Any, answer: Any, letter: str) -> None:
    benchmark = jsonl(tmp_path, row(answer, choices=choices), grader="choice")
    (problem,) = load_problems("mine", benchmark)
    assert problem.answer == letter
    assert "null" not in problem.question.lower()
    assert "{" not in problem.question
    verdict = benchmark.make_grader().grade(problem, f"The answer is {letter}.").verdict
    assert verdict == "correct"


def test_equal_choices_are_equally_right(tmp_path: Path) -> None:
    benchmark = jsonl(tmp_path, row("same", choices=["same", "same", "no"]), grader="choice")
    (problem,) = load_problems("mine", benchmark)
    verdicts = [benchmark.make_grader().grade(problem, f"Answer: {x}").verdict for x in "ABC"]
    assert verdicts == ["correct", "correct", "wrong"]


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (["a", None, "c"], "null, NaN or blank"),
        (["a", " ", "c"], "null, NaN or blank"),
        (["a", {"value": 1}], "is an object"),
        (["a"], "2 to 26"),
        ("ab", "2 to 26"),
    ],
)
def test_choices_that_mean_nothing_are_refused(tmp_path: Path, choices: Any, words: str) -> None:
    with pytest.raises(UserError, match=rf"mine\.jsonl line 1: .*{words}"):
        load_problems("mine", jsonl(tmp_path, row("A", choices=choices)))


def test_a_reference_that_the_grader_cannot_meet_is_told_with_its_line(tmp_path: Path) -> None:
    benchmark = jsonl(tmp_path, row("A"), row("pear"), grader="choice")
    with pytest.raises(UserError, match=r"mine\.jsonl line 2: the reference answer 'pear'.*grader"):
        load_problems("mine", benchmark)
    long = jsonl(tmp_path, row("x" * 3000), grader="math")
    with pytest.raises(UserError, match=r"line 1: .*ungraded.*3000 characters"):
        load_problems("mine", long)


def test_ids_are_unique_in_every_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"id": "1", "problem": "1+1?", "answer": "2"},
        {"id": 1, "problem": "1+2?", "answer": 3},
    ]
    benchmark = Hub(repository="me/data", id_column="id")
    monkeypatch.setattr(Hub, "_rows", lambda self: rows)
    with pytest.raises(UserError, match=r"me/data row 2: the id '1' is that of me/data row 1 too"):
        load_problems("mine", benchmark)
    rows[0]["answer"] = float("nan")
    with pytest.raises(UserError, match=r"me/data row 1: column 'answer' is NaN"):
        load_problems("mine", benchmark)


def test_files_that_are_damaged_are_one_line(tmp_path: Path) -> None:
    whole = gzip.compress((json.dumps(row("2")) + "\n").encode() * 1000)
    path = tmp_path / "mine.jsonl.gz"
    path.write_bytes(whole)
    assert len(Jsonl(path=str(path)).load()) == 1000
    for damaged in (whole[:-20], b"no gzip at all", whole[:30] + b"\0" * 40 + whole[70:]):
        path.write_bytes(damaged)
        with pytest.raises(
            UserError, match=r"mine\.jsonl\.gz (is a damaged gzip|is no gzip|line)"
        ) as error:
            load_problems("mine", Jsonl(path=str(path)))
        assert "\n" not in str(error.value)


def test_what_is_the_same_problem() -> None:
    problem = Problem("1", "1+1?", "2", "sums", "easy")
    moved = Problem("7", "1+1?", "2", "other", metadata={"place": "elsewhere"})
    assert problem.content_hash() == moved.content_hash()
    for other in (
        Problem("1", "1+2?", "2", "sums", "easy"),
        Problem("1", "1+1?", "3", "sums", "easy"),
        Problem("1", "1+1?", "2", "sums", "easy", ("a", "b")),
    ):
        assert other.content_hash() != problem.content_hash()
    for other in (
        Problem("1", "1+1?", "2", "algebra", "easy"),
        Problem("1", "1+1?", "2", "sums", "hard"),
        Problem("2", "1+1?", "2", "sums", "easy"),
    ):
        assert content_hash([other]) != content_hash([problem])
    placed = Problem("1", "1+1?", "2", "sums", "easy", metadata={"place": "elsewhere"})
    assert content_hash([placed]) == content_hash([problem])


def test_inputs_of_known_situations() -> None:
    if not INPUTS.is_dir():
        pytest.skip("the known cases (../shared/cases) are not on this machine")
    for name, answer in (
        ("reference_boxed", "2"),
        ("reference_gsm8k", "2"),
        ("reference_list", "2"),
        ("choices_ints", "C"),
        ("choices_dicts", "B"),
        ("choices_null", "A"),
    ):
        (problem,) = load_problems(name, Jsonl(path=str(INPUTS / f"bench_{name}.jsonl")))
        assert problem.answer == answer, name
    for name, words in (
        ("reference_blank", "is blank"),
        ("reference_nan", "is NaN"),
        ("surrogate", "lone surrogate"),
    ):
        with pytest.raises(UserError, match=rf"bench_{name}\.jsonl line 1: .*{words}"):
            load_problems(name, Jsonl(path=str(INPUTS / f"bench_{name}.jsonl")))
    twice = Jsonl(path=str(INPUTS / "bench_duplicate_ids.jsonl"), columns={"question": "problem"})
    with pytest.raises(UserError, match=r"line 2: the id '1'"):
        load_problems("twice", twice)


class Half:
    """A grader of one's own with the least that one can have."""

    def grade(self, problem: Problem, answer_text: str) -> Grade:
        return Grade(answer_text, "own", "correct" if problem.answer in answer_text else "wrong")


class Nothing:
    pass


def test_graders_of_ones_own(tmp_path: Path) -> None:
    benchmark = jsonl(tmp_path, row("2"), grader=f"{__name__}.Half")
    (problem,) = load_problems("mine", benchmark)
    grades = benchmark.make_grader().grade_all([(problem, "it is 2"), (problem, "3")])
    assert [grade.verdict for grade in grades] == ["correct", "wrong"]
    assert fingerprint(result_settings(benchmark.make_grader()))  # a run can be made with it
    with pytest.raises(UserError, match="must have grade"):
        make_grader(f"{__name__}.Nothing")
