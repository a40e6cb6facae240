"""`pool=jsonl`: what is read, what is refused, and how it is told."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from s1x.errors import SettingError, UserError
from s1x.pool.jsonl import Jsonl
from s1x.pool.stage import run


def write_lines(path: Path, *lines: Any) -> str:
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return str(path)


def read(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "part-00000.parquet").to_pylist()
    return rows


def test_values_are_read_whatever_form_they_have(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "a.jsonl",
        {"problem": "Q1", "answer": 7, "thinking": ["a", "b"], "isgeminicorrect": "yes", "n": 3},
        "",
        {"problem": "Q2", "thinking": None, "models": {"small": {"right": 0, "says": "5"}}},
        {"problem": "Q3", "thinking": "one text", "tokens": 12.0, "extra": {"deep": [1]}},
    )
    columns = {
        "trace_tokens": "tokens",
        "is_correct_small": "models.small.right",
        "answer_small": "models.small.says",
    }
    counts = Jsonl(path=path, columns=columns).write(tmp_path / "pool")
    assert counts["rows"] == counts["rows_read"] == 3
    first, second, third = read(tmp_path / "pool")
    assert first["question"] == "Q1"
    assert first["solution"] == "7"
    assert first["reasoning_trace"] == "a\nb"
    assert first["attempt_is_correct"] is True
    assert first["n"] == "3"
    assert second["reasoning_trace"] is None
    assert second["is_correct_small"] is False
    assert second["answer_small"] == "5"
    assert third["trace_tokens"] == 12
    assert third["extra"] == '{"deep": [1]}'


def test_rows_that_cannot_be_read_are_named_and_counted(tmp_path: Path) -> None:
    good = [{"question": f"Q{i}", "reasoning_trace": "t"} for i in range(90)]
    bad = ['{"question": "cut', "[1]", {"reasoning_trace": "t"}, {"question": " "}]
    bad += [{"question": "Q", "reasoning_trace": 5}, {"question": "Q", "reasoning_trace": [1]}]
    path = write_lines(tmp_path / "a.jsonl", *good[:3], *bad, *good[3:])
    counts = Jsonl(path=path, max_bad_fraction=0.1).write(tmp_path / "pool")
    assert (counts["rows_read"], counts["rows"], counts["bad_rows"]) == (96, 90, 6)
    assert counts["bad_reasons"] == {
        "not JSON": 1,
        "not a JSON object": 1,
        "no question": 1,
        "empty question": 1,
        "reasoning_trace is a number, not text": 1,
        "reasoning_trace is a list of other things, not text": 1,
    }
    noted = [json.loads(x) for x in (tmp_path / "pool/bad_rows.jsonl").read_text().splitlines()]
    assert [(row["file"], row["line"]) for row in noted] == [(path, line) for line in range(4, 10)]
    assert noted[0]["reason"] == "not JSON"
    with pytest.raises(SettingError) as error:
        Jsonl(path=path, max_bad_fraction=0.05).write(tmp_path / "strict")
    assert "max_bad_fraction must be 0.0625 or more" in str(error.value)
    assert f"the first: {path}, line 4: not JSON" in str(error.value)


def test_bytes_that_are_no_utf8_make_one_bad_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"question": "ok"}\n{"question": "\xff"}\n')
    counts = Jsonl(path=str(tmp_path / "a.jsonl"), max_bad_fraction=0.5).write(tmp_path / "pool")
    assert counts["bad_reasons"] == {"question is not valid UTF-8": 1}


def test_folders_globs_gzip_and_limits(tmp_path: Path) -> None:
    write_lines(tmp_path / "b.jsonl", {"question": "B1"}, {"question": "B2"})
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write('{"question": "A1"}\n')
    Jsonl(path=str(tmp_path)).write(tmp_path / "pool")
    assert [row["question"] for row in read(tmp_path / "pool")] == ["A1", "B1", "B2"]
    Jsonl(path=str(tmp_path / "b*.jsonl"), max_rows=1).write(tmp_path / "pool")
    assert [row["question"] for row in read(tmp_path / "pool")] == ["B1"]


def test_many_rows_keep_their_order_over_row_groups(tmp_path: Path) -> None:
    rows = [{"question": f"Q{i}", "attempt": "x" * (i % 7)} for i in range(5000)]
    Jsonl(path=write_lines(tmp_path / "a.jsonl", *rows)).write(tmp_path / "pool")
    assert [r["question"] for r in read(tmp_path / "pool")] == [r["question"] for r in rows]
    assert pq.ParquetFile(tmp_path / "pool/part-00000.parquet").num_row_groups == 5


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"path": "nowhere.jsonl"}, "path must be a file, a folder or a glob that exists"),
        (
            {"columns": {"reasoning_trace": "cot"}},
            r"columns.reasoning_trace must be a column of .*has q",
        ),
        ({"columns": {"trace": "q"}}, "columns must be a mapping from our names"),
        ({}, "columns.question must be the column of .* it has q, a"),
        ({"max_bad_fraction": 2.0}, "max_bad_fraction must be 1 or less"),
    ],
)
def test_mistakes_name_key_value_and_remedy(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"q": "Q", "a": "A"})
    with pytest.raises(SettingError, match=words):
        Jsonl(**{"path": path, **changed}).write(tmp_path / "pool")


def test_empty_and_foreign_files_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match="has no rows"):
        Jsonl(path=str(tmp_path / "empty.jsonl")).write(tmp_path / "pool")
    (tmp_path / "text.jsonl").write_text("hello\n")
    with pytest.raises(UserError, match=r"text.jsonl, line 1: not a JSON object"):
        Jsonl(path=str(tmp_path / "text.jsonl")).write(tmp_path / "pool")
    with pytest.raises(SettingError, match="path must be set"):
        Jsonl()


def test_fingerprint_follows_content_and_mapping(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"question": "Q", "b": "B"})
    first = Jsonl(path=path).fingerprint()
    assert Jsonl(path=path).fingerprint() == first
    assert Jsonl(path=path, columns={"attempt": "b"}).fingerprint() != first
    write_lines(tmp_path / "a.jsonl", {"question": "Q", "b": "C"})
    assert Jsonl(path=path).fingerprint() != first


def test_real_traces_are_read_whole(shared_data: Path, tmp_path: Path) -> None:
    counts = Jsonl(path=str(shared_data / "traces.jsonl")).write(tmp_path)
    assert (counts["rows"], counts["bad_rows"]) == (3188, 0)
    assert counts["columns"]["reasoning_trace"] == "thinking"
    rows = read(tmp_path)
    assert len({row["question"] for row in rows}) == 1400
    assert sum(row["finish_reason"] == "truncated" for row in rows) == 676


def test_the_stage_writes_what_it_took(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"question": "Q"}, "not JSON")
    counts = run(Jsonl(path=path, max_bad_fraction=0.5, license="MIT"), tmp_path / "pool")
    assert json.loads((tmp_path / "pool/pool.json").read_text()) == counts
    assert (counts["rows"], counts["bad_rows"], counts["license"]) == (1, 1, "MIT")
    (cost,) = json.loads((tmp_path / "pool/costs.json").read_text())
    assert (cost["stage"], cost["item"], cost["model_calls"]) == ("pool", path, 0)
    assert 0 < cost["wall_seconds"] < 60
    assert cost["gpu_hours"] == 0
