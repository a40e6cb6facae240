"""The pool: its faults are there in the numbers stated, and 8-grams tell questions apart."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from s1x.errors import SettingError
from s1x_puzzles import puzzles_59k
from s1x_puzzles.families import is_right, parse_question
from s1x_puzzles.puzzles import SPLITS, Puzzles
from s1x_puzzles.puzzles_59k import (
    OVERLAPS_PER_BENCHMARK,
    Puzzles59k,
    Row,
    load_verdicts,
    question_hash,
    store_verdicts,
)
from s1x_puzzles.tokenizer import count_tokens

FORMAT_FAULTS = re.compile(r"\[asy\]|!\[Image\]|p\d{1,3}\.|\*\*(?=.*\d)[^\s\]]*\*\*")


@pytest.fixture(scope="module")
def pool() -> list[tuple[Row, tuple[str, ...]]]:
    return list(Puzzles59k().generate(load_verdicts()))


@pytest.fixture(scope="module")
def benchmark_questions() -> set[str]:
    return {p.question for split in SPLITS for p in Puzzles(split=split).load()}


def _ngrams(text: str) -> set[str]:
    words = text.lower().split()
    return {" ".join(words[i : i + 8]) for i in range(len(words) - 7)}


def test_faults_come_in_the_numbers_stated(pool: list[tuple[Row, tuple[str, ...]]]) -> None:
    faults = Counter(fault for _, row_faults in pool for fault in row_faults)
    assert len(pool) == 59_000
    expected = {
        "exact_duplicate": 0.10,
        "near_duplicate": 0.05,
        "missing_trace": 0.08,
        "cut_trace": 0.04,
        "short_trace": 0.06,
        "wrong_attempt": 0.283,
        "malformed_question": 0.05,
    }
    assert set(faults) == {*expected, "benchmark_overlap"}
    for fault, share in expected.items():
        assert faults[fault] / 59_000 == pytest.approx(share, rel=0.2), fault
    assert faults["benchmark_overlap"] == 3 * OVERLAPS_PER_BENCHMARK
    levels = Counter(row["level"] for row, _ in pool)
    assert 0.94 < levels["easy"] / 59_000 < 0.97
    domains = Counter(row["domain"] for row, _ in pool)
    assert max(domains.values()) > 4 * min(n for d, n in domains.items() if n > 100)


def test_rows_say_the_truth_about_themselves(pool: list[tuple[Row, tuple[str, ...]]]) -> None:
    for row, faults in pool[::7]:
        question, trace = str(row["question"]), row["reasoning_trace"]
        assert (trace is None) == ("missing_trace" in faults)
        assert row["trace_tokens"] == (None if trace is None else count_tokens(str(trace)))
        if "near_duplicate" not in faults:  # which may have lost its capitals
            assert bool(FORMAT_FAULTS.search(question)) == ("malformed_question" in faults)
        if "near_duplicate" in faults or "malformed_question" in faults:
            continue
        assert is_right(question, int(str(row["solution"])))
        if row["attempt"] is not None:
            said = int(str(row["attempt"]).removeprefix("Answer: "))
            assert row["attempt_is_correct"] == is_right(question, said)
            assert row["attempt_is_correct"] == ("wrong_attempt" not in faults)


def test_clean_rows_are_no_benchmark_questions(
    pool: list[tuple[Row, tuple[str, ...]]], benchmark_questions: set[str]
) -> None:
    for row, faults in pool:
        shared = str(row["question"]) in benchmark_questions
        if "near_duplicate" not in faults and "malformed_question" not in faults:
            assert shared == ("benchmark_overlap" in faults)
        if not shared and (puzzle := parse_question(str(row["question"]))):
            assert "benchmark_overlap" in faults or not puzzle.held_out


def test_a_shared_8_gram_nearly_always_means_a_shared_question(
    pool: list[tuple[Row, tuple[str, ...]]], benchmark_questions: set[str]
) -> None:
    asked = set().union(*map(_ngrams, benchmark_questions))
    assert all(map(_ngrams, benchmark_questions))
    hits = [bool(_ngrams(str(row["question"])) & asked) for row, _ in pool]
    overlaps = ["benchmark_overlap" in faults for _, faults in pool]
    assert all(hit for hit, overlap in zip(hits, overlaps, strict=True) if overlap)
    falsely = sum(hit and not overlap for hit, overlap in zip(hits, overlaps, strict=True))
    assert falsely < 0.02 * len(pool)


def test_a_seed_gives_the_same_rows_and_another_gives_others(tmp_path: Path) -> None:
    small = Puzzles59k(rows=2000, seed=3)
    assert list(small.generate()) == list(small.generate())
    questions = {row["question"] for row, _ in small.generate()}
    others = {row["question"] for row, _ in Puzzles59k(rows=2000, seed=4).generate()}
    assert len(questions & others) < 0.1 * len(questions)
    assert small.fingerprint() != Puzzles59k(rows=2000, seed=4).fingerprint()


def test_the_file_has_the_columns_of_every_pool(tmp_path: Path) -> None:
    import pyarrow.parquet

    counts = Puzzles59k(rows=1000).write(tmp_path)
    table = pyarrow.parquet.read_table(tmp_path / "part-00000.parquet")
    assert counts["rows"] == table.num_rows == 1000
    assert json.loads((tmp_path / "pool.json").read_text()) == counts
    assert "Apache-2.0" in str(counts["license"])
    assert table.column_names == [
        *[
            "question",
            "solution",
            "reasoning_trace",
            "attempt",
            "source",
            "domain",
            "level",
            "trace_tokens",
        ],
        *["attempt_is_correct", "is_correct_solver_large", "is_correct_solver_small"],
    ]


def test_the_shipped_verdicts_judge_every_question(pool: list[tuple[Row, tuple[str, ...]]]) -> None:
    for name in ("is_correct_solver_small", "is_correct_solver_large"):
        verdicts = [row[name] for row, _ in pool]
        assert None not in verdicts
        assert 0.05 < sum(map(bool, verdicts)) / len(verdicts) < 0.35


def test_verdicts_survive_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = {question_hash(str(n)): (n % 2 == 1, n > 1) for n in range(4)}
    store_verdicts(verdicts, tmp_path / "verdicts.parquet")
    monkeypatch.setattr(puzzles_59k, "VERDICTS_FILE", tmp_path / "verdicts.parquet")
    assert puzzles_59k.load_verdicts.__wrapped__() == verdicts


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(SettingError, match="rows must be 1000 or more, got 10"):
        Puzzles59k(rows=10)
