"""One rule for every kind of pool: the same rows as JSON lines, as Parquet, as a data set."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s1x.errors import SettingError, UserError
from s1x.pool.hub import Hub
from s1x.pool.jsonl import Jsonl
from s1x.pool.parquet import Parquet
from s1x.pool.stage import tell_bad_rows

Make = Callable[[Path, list[dict[str, Any]]], Jsonl | Parquet | Hub]
KINDS = ("jsonl", "jsonl.gz", "parquet", "hub")


def made(kind: str, folder: Path, rows: list[dict[str, Any]], **options: Any) -> Any:
    """A pool of these rows, of one of the kinds."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"max_bad_fraction": 0.9, **options}
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if kind == "jsonl":
        (folder / "a.jsonl").write_text(text)
        return Jsonl(path=str(folder / "a.jsonl"), **options)
    if kind == "jsonl.gz":
        (folder / "a.jsonl.gz").write_bytes(gzip.compress(text.encode()))
        return Jsonl(path=str(folder / "a.jsonl.gz"), **options)
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    if kind == "parquet":
        return Parquet(path=str(folder / "a.parquet"), **options)
    return Hub(dataset=str(folder), **options)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def written(pool: Any, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    counts = pool.write(folder)
    rows = [r for p in sorted(folder.glob("part-*")) for r in pq.read_table(p).to_pylist()]
    return rows, counts


@pytest.mark.parametrize("kind", KINDS)
def test_nan_is_no_value(kind: str, tmp_path: Path) -> None:
    nan = math.nan
    rows = [
        {"question": "Q0", "domain": nan, "solution": nan, "trace_tokens": nan, "own": nan},
        {"question": "Q1", "domain": 5.0, "solution": 7.5, "trace_tokens": 3.0, "own": 1.5},
    ]
    first, second = written(made(kind, tmp_path / "data", rows), tmp_path / "pool")[0]
    assert {first[n] for n in ("domain", "solution", "trace_tokens", "own")} == {None}
    assert (second["solution"], second["trace_tokens"], second["own"]) == ("7.5", 3, "1.5")


@pytest.mark.parametrize("kind", KINDS)
def test_a_trace_in_parts_is_whole_or_its_row_is_bad(kind: str, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "Q0", "reasoning_trace": ["a", None, "b"]},
        {"question": "Q1", "reasoning_trace": ["a", "b"]},
        {"question": "Q2", "reasoning_trace": None},
    ]
    kept, counts = written(made(kind, tmp_path / "data", rows), tmp_path / "pool")
    assert [row["reasoning_trace"] for row in kept] == ["a\nb", None]
    assert counts["bad_reasons"] == {"reasoning_trace is a list of other things, not text": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_columns_may_begin_late(kind: str, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": f"Q{i}", "is_correct_small": None} for i in range(2500)
    ]
    if kind.startswith("jsonl"):
        rows = [{"question": row["question"]} for row in rows]
    rows[2400] |= {"is_correct_small": True}
    kept, _ = written(made(kind, tmp_path / "data", rows), tmp_path / "pool")
    assert [i for i, row in enumerate(kept) if row["is_correct_small"]] == [2400]
    if kind.startswith("jsonl"):
        assert (
            "is_correct_small"
            not in written(made(kind, tmp_path / "data", rows, max_rows=2000), tmp_path / "few")[1][
                "columns"
            ]
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_nested_column_that_is_not_there_is_an_error(kind: str, tmp_path: Path) -> None:
    rows = [{"question": f"Q{i}", "meta": {"domain": "D", "deep": {"level": "L"}}} for i in "ab"]
    right = {"domain": "meta.domain", "level": "meta.deep.level"}
    kept, _ = written(made(kind, tmp_path / "data", rows, columns=right), tmp_path / "pool")
    assert [(row["domain"], row["level"]) for row in kept] == [("D", "L")] * 2
    for wrong, meant in (("meta.domian", "meta.domain"), ("meta.deep.levle", "meta.deep.level")):
        with pytest.raises(SettingError) as error:
            made(kind, tmp_path / "data", rows, columns={"domain": wrong}).write(tmp_path / "wrong")
        assert f"pool.columns.domain must be a column of {tmp_path / 'data'}" in str(error.value)
        assert f"got '{wrong}'; did you mean {meant}?" in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_questions_and_values_of_other_types(kind: str, tmp_path: Path) -> None:
    """Each alone, since a Parquet column holds one type."""
    for value, reason in (
        (None, "no question"),
        (math.nan, "no question"),
        ("  ", "empty question"),
        (5, "question is a number, not text"),
        (math.inf, "question is a number, not text"),
        ({"a": 1}, "question is an object, not text"),
    ):
        rows = [{"question": value, "prompt": "Q"}]
        name = f"{reason}-{value}".replace(" ", "-")
        with pytest.raises(SettingError, match=f"the first: .*: {reason}"):
            made(kind, tmp_path / name, rows).write(tmp_path / "pool")
    rows = [{"question": "Q", "domain": math.inf}, {"question": "Q", "domain": 1.0}]
    _, counts = written(made(kind, tmp_path / "inf", rows), tmp_path / "pool")
    assert counts["bad_reasons"] == {"domain is infinite": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_the_licence_is_part_of_what_was_made(kind: str, tmp_path: Path) -> None:
    rows = [{"question": "Q"}]
    old, new = (
        made(kind, tmp_path / "data", rows, license=name) for name in ("cc-by-nc-4.0", "mit")
    )
    assert old.fingerprint() != new.fingerprint()
    assert written(new, tmp_path / "pool")[1]["license"] == "mit"


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_row_does_not_clash_with_the_selections(kind: str, tmp_path: Path) -> None:
    rows = [{"question": "Q", "row": 7}]
    kept, _ = written(made(kind, tmp_path / "data", rows), tmp_path / "pool")
    assert kept == [{"question": "Q", "row_of_source": "7"}]


def test_byte_order_marks_cost_no_row(tmp_path: Path) -> None:
    for name in "abc":
        text = "".join(f'{{"question": "{name}{i}"}}\r\n' for i in range(40))
        (tmp_path / f"{name}.jsonl").write_text("\ufeff" + text, encoding="utf-8")
    joined = b"".join((tmp_path / f"{n}.jsonl").read_bytes() for n in "ab")
    (tmp_path / "d.jsonl").write_bytes(joined)  # a mark in the middle, as `cat` leaves it
    kept, counts = written(Jsonl(path=str(tmp_path)), tmp_path / "pool")
    assert (len(kept), counts["bad_rows"]) == (200, 0)
    assert kept[0] == {"question": "a0"}
    (tmp_path / "wide.jsonl").write_text('{"question": "Q"}\n', encoding="utf-16")
    with pytest.raises(UserError, match=r"wide.jsonl is UTF-16; save it as UTF-8"):
        Jsonl(path=str(tmp_path / "wide.jsonl")).write(tmp_path / "wide")


def test_shared_inputs(shared_data: Path, tmp_path: Path) -> None:
    found = {}
    for name in ("bom", "nan", "late_column"):
        pool = Jsonl(path=str(shared_data.parent / "cases" / "inputs" / f"pool_{name}.jsonl"))
        found[name], counts = written(pool, tmp_path / name)
        assert counts["bad_rows"] == 0
    assert found["bom"][0]["question"] == "q0?"
    assert "nan" not in {row["domain"] for row in found["nan"]}
    assert any(row["is_correct_small"] is not None for row in found["late_column"])


def test_lines_that_break_parsers_are_bad_rows(tmp_path: Path) -> None:
    lines = [
        '{"question": "Q"}',
        '{"question": "Q", "x": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "[" * 100_000,
        '{"question": "lone \\ud83d half"}',
        '{"question": "Q", "\\ud83d": 1}',
        '{"question": "Q", "trace_tokens": ' + "9" * 5000 + "}",
        '{"question": "Q", "trace_tokens": 1e999}',
        '{"question": "Q", "trace_tokens": "\u00b2"}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    pool = Jsonl(path=str(tmp_path / "a.jsonl"), max_bad_fraction=0.9)
    kept, counts = written(pool, tmp_path / "pool")
    assert len(kept) == 1
    assert counts["bad_reasons"] == {
        "a column's name is not valid UTF-8": 1,
        "nested too deeply": 2,
        "not JSON": 1,
        "question is not valid UTF-8": 1,
        "trace_tokens is not a count": 2,
    }


def test_keys_that_are_data(tmp_path: Path) -> None:
    lines = (json.dumps({"question": "Q", f"id-{i}": 1}) for i in range(1200))
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"a.jsonl has more than 1,000 columns, such as id-1199"):
        Jsonl(path=str(tmp_path / "a.jsonl")).write(tmp_path / "pool")


def test_damaged_and_false_gzip(tmp_path: Path) -> None:
    text = b"".join(b'{"question": "Q%d"}\n' % i for i in range(5000))
    zipped = gzip.compress(text)
    middle = len(zipped) // 2
    flipped = zipped[:middle] + bytes(b ^ 0xFF for b in zipped[middle : middle + 9])
    for name, content, words in (
        ("cut.jsonl.gz", zipped[:-20], "is a damaged gzip file"),
        ("head.jsonl.gz", zipped[:9], "is a damaged gzip file"),
        ("flipped.jsonl.gz", flipped + zipped[middle + 9 :], "is a damaged gzip file"),
        ("false.jsonl.gz", text, "is no gzip file; take .gz off its name"),
        ("zipped.jsonl", zipped, "is gzip; end its name in .gz"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as error:
            Jsonl(path=str(tmp_path / name)).write(tmp_path / "pool")
        assert f"{tmp_path / name} {words}" in str(error.value)
        assert "\n" not in str(error.value)


def test_damaged_parquet(tmp_path: Path) -> None:
    rows = {"question": [f"Question {i * 7919 % 1000}" for i in range(5000)]}
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(rows), path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    for content in (
        whole[:middle],
        whole[: middle - 99] + b"\xff" * 200 + whole[middle + 101 :],
        whole[:4] + b"\0" * 40 + whole[44:],
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a.parquet is damaged or cut \(") as error:
            Parquet(path=str(path)).write(tmp_path / "pool")
        assert "\n" not in str(error.value)


def test_parquet_text_that_is_no_utf8(tmp_path: Path) -> None:
    texts = pa.array([b"Q0", b"\xff", b"Q2"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"question": texts}), tmp_path / "a.parquet")
    pool = Parquet(path=str(tmp_path / "a.parquet"), max_bad_fraction=0.5)
    kept, counts = written(pool, tmp_path / "pool")
    assert [row["question"] for row in kept] == ["Q0", "Q2"]
    assert counts["bad_reasons"] == {"not valid UTF-8": 1}
    assert '"line": 2,' in (tmp_path / "pool/bad_rows.jsonl").read_text()


def test_a_column_that_one_parquet_file_lacks(tmp_path: Path) -> None:
    """Whichever of the files it is."""
    full, bare = pa.table({"question": ["Q"], "attempt": ["A"]}), pa.table({"question": ["Q"]})
    for place, tables in enumerate(((full, bare), (bare, full), (full, full, bare))):
        folder = tmp_path / str(place)
        folder.mkdir()
        for name, table in zip("abc", tables, strict=False):
            pq.write_table(table, folder / f"{name}.parquet")
        with pytest.raises(UserError, match=r"\.parquet lacks the column attempt that .*\.parquet"):
            Parquet(path=str(folder)).write(tmp_path / "pool")
    twice = pa.Table.from_arrays([pa.array(["Q"]), pa.array(["R"])], ["question", "question"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(UserError, match="has two columns question"):
        Parquet(path=str(tmp_path / "twice.parquet")).write(tmp_path / "pool")


def test_a_local_data_set_that_cannot_be_read_is_no_fault_of_the_network(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.jsonl").write_text('{"question": "Q", "attempt": "A"}\n')
    (tmp_path / "data/b.jsonl").write_text('{"question": "Q", "level": "L", "extra": 1}\n')
    with pytest.raises(UserError) as error:
        Hub(dataset=str(tmp_path / "data")).write(tmp_path / "pool")
    said = str(error.value)
    assert "data cannot be read (" in said
    assert "because column names don't match" in said
    assert "level" in said
    assert "network" not in said
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"broken cannot be read \(.+\); mend") as error:
        Hub(dataset=str(tmp_path / "broken")).write(tmp_path / "pool")
    assert "\n" not in str(error.value)
    pq.write_table(pa.table({"question": ["Q"]}), tmp_path / "broken/a.parquet")
    with pytest.raises(SettingError, match=r"pool.config_name must be one that .*, got 'no'"):
        Hub(dataset=str(tmp_path / "broken"), config_name="no").write(tmp_path / "pool")


def test_the_console_says_what_was_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: list[dict[str, Any]] = [{"question": "Q"}, {"question": None}, {"question": "R"}]
    made("jsonl", tmp_path, rows).write(tmp_path / "pool")
    tell_bad_rows(tmp_path / "pool")
    said = capsys.readouterr().err
    assert "pool: 1 of 3 rows could not be read (1 no question); " in said
    assert str(tmp_path / "pool" / "bad_rows.jsonl") in said
    made("jsonl", tmp_path, rows[::2]).write(tmp_path / "pool")
    tell_bad_rows(tmp_path / "pool")
    assert capsys.readouterr().err == ""
