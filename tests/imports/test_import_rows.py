"""Tables of answers become rows, or are refused with file, line and column."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from logs import report_of, rows_of

from s1x.errors import SettingError, UserError
from s1x.imports.rows import Rows

TABLE = """id,q,gold,reply,is_right,limit,tokens,cost
a,1+1?,2,It is 2.,yes,64,10,0.1
a,1+1?,2,It is 2.,yes,512,40,0.1
b,2+2?,4,It is 5.,no,64,12,0.1
b,2+2?,4,It is 4.,1,512,80,0.2
c,3+3?,6,,,64,,
c,3+3?,6,It is 6.,true,512,,
"""
COLUMNS = (
    "import.columns={problem_id:id,question:q,reference_answer:gold,answer_text:reply,"
    "correct:is_right,limit_max_tokens:limit,thinking_tokens:tokens}"
)


def _settings(file: Path, *more: str) -> list[str]:
    return ["import=rows", f"import.path={file}", "import.model=theirs", COLUMNS, *more]


def test_a_table_with_budgets_is_a_curve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sums.csv"
    file.write_text(TABLE, encoding="utf-8")
    rows = rows_of(tmp_path, *_settings(file))
    assert rows["verdict"].to_list() == [
        "correct",
        "correct",
        "wrong",
        "correct",
        "ungraded",
        "correct",
    ]
    assert rows["ungraded_reason"].to_list()[4] == "the file has no verdict on it"
    assert rows["thinking_tokens"].to_list() == [10, 40, 12, 80, None, None]
    assert "columns that are not read: cost" in capsys.readouterr().err
    (curve,) = report_of(tmp_path, *_settings(file))["curves"]
    assert [p["setting"] for p in curve["points"]] == ["max 64", "max 512"]
    assert [p["mean_thinking_tokens"] for p in curve["points"]] == [11, 60], "of those that say it"
    assert any("not recorded in 2 of the 6 rows" in words for words in curve["warnings"])
    assert curve["control_percent"]["value"] == 100.0
    assert curve["benchmark"] == "sums"


def test_parquet_is_read_too_and_graded_again(tmp_path: Path) -> None:
    file = tmp_path / "sums.csv"
    file.write_text(TABLE, encoding="utf-8")
    pl.read_csv(file).write_parquet(tmp_path / "sums.parquet")
    rows = rows_of(tmp_path, *_settings(tmp_path / "sums.parquet", "import.regrade=true"))
    assert rows["verdict"].to_list() == [
        "correct",
        "correct",
        "wrong",
        "correct",
        "ungraded",
        "correct",
    ]
    assert rows["ungraded_reason"].to_list()[4] == "its text was not kept"
    assert rows["extracted_answer"].to_list()[:3] == ["2", "2", "5"]


def test_our_own_rows_are_read_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "sums.csv"
    file.write_text(TABLE, encoding="utf-8")
    rows = rows_of(tmp_path, *_settings(file))
    rows.write_parquet(tmp_path / "again.parquet")
    again = rows_of(tmp_path, "import=rows", f"import.path={tmp_path / 'again.parquet'}")
    kept = [
        "problem_id",
        "setting",
        "verdict",
        "thinking_tokens",
        "answer_text",
        "benchmark",
        "model",
    ]
    assert again.select(kept).rows() == rows.select(kept).rows()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("yes,64", "maybe,64", r"row 1: correct is 'maybe', not true or false"),
        (
            "64,10",
            "lots,10",
            r"row 1: limit_max_tokens must be a whole number, 0 or more, got 'lots'",
        ),
        (
            "512,40",
            "512,4.5",
            r"row 2: thinking_tokens must be a whole number, 0 or more, got '4\.5'",
        ),
        (
            "a,1+1?,2,It is 2.,yes,512",
            "a,1+1?,3,It is 2.,yes,512",
            r"row 2: id a has another question",
        ),
        (
            "a,1+1?,2,It is 2.,yes,512",
            "a,1+1?,2,It is 2.,yes,64",
            r"row 2 answers question a at max 64",
        ),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "sums.csv"
    file.write_text(TABLE.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError, match=message) as error:
        rows_of(tmp_path, *_settings(file))
    assert str(file) in str(error.value)


def test_a_table_that_lacks_a_column_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sums.csv"
    file.write_text(TABLE, encoding="utf-8")
    with pytest.raises(UserError, match="neither problem_id nor question"):
        _ = Rows(path=str(file), model="m").answers
    with pytest.raises(UserError, match=r"neither correct nor verdict; map import\.columns"):
        _ = Rows(path=str(file), model="m", columns={"problem_id": "id"}).answers
    with pytest.raises(UserError, match=r"does not name the model; set import\.model"):
        _ = Rows(path=str(file), columns={"problem_id": "id", "correct": "is_right"}).answers
    with pytest.raises(SettingError, match=r"import\.columns\.question must be a column of .*sums"):
        _ = Rows(path=str(file), columns={"question": "ask"}).answers
    with pytest.raises(SettingError, match="did you mean question"):
        Rows(path=str(file), columns={"qestion": "q"})
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"bad\.parquet cannot be read as PARQUET"):
        _ = Rows(path=str(tmp_path / "bad.parquet")).answers
    file.write_bytes(b"id,q\n\xff\xfe,1\n")
    with pytest.raises(UserError, match=r"sums\.csv cannot be read as CSV"):
        _ = Rows(path=str(file)).answers
