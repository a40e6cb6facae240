"""`pool=parquet` and the hub pools: any Arrow table in our columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s1x.errors import SettingError, UserError
from s1x.pool.hub import Hub
from s1x.pool.parquet import Parquet
from s1x.pool.s1_59k import S159K


def write(path: Path, columns: dict[str, Any], **options: Any) -> str:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return str(path)


def read(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "part-00000.parquet").to_pylist()
    return rows


def test_types_of_others_become_ours(tmp_path: Path) -> None:
    columns = {
        "question": pa.array(["Q1", "Q2", "Q3"], pa.large_string()),
        "solution": pa.array([1, 2, 3]),
        "thinking_trajectories": pa.array([["a", "b"], None, []], pa.list_(pa.string())),
        "source_type": pa.array(["x", "y", "x"]).dictionary_encode(),
        "right": pa.array([1, 0, None]),
        "n": pa.array([5, 6, None], pa.int16()),
        "meta": pa.array([{"a": 1}, None, {"a": 2}]),
    }
    mapping = {"trace_tokens": "n", "attempt_is_correct": "right"}
    path = write(tmp_path / "a.parquet", columns)
    Parquet(path=path, columns=mapping).write(tmp_path / "pool")
    first, second, third = read(tmp_path / "pool")
    assert (first["question"], first["solution"], first["reasoning_trace"]) == ("Q1", "1", "a\nb")
    assert (first["source"], first["attempt_is_correct"], first["trace_tokens"]) == ("x", True, 5)
    assert first["meta"] == '{"a": 1}'
    assert second["reasoning_trace"] is None
    assert second["attempt_is_correct"] is False
    assert (third["reasoning_trace"], third["trace_tokens"]) == ("", None)


def test_bad_rows_are_named_by_row(tmp_path: Path) -> None:
    columns = {
        "question": [f"Q{i}" if i % 50 else None for i in range(1, 2601)],
        "n": [-1, *range(2599)],
    }
    path = write(tmp_path / "a.parquet", columns, row_group_size=700)
    pool = Parquet(path=path, columns={"trace_tokens": "n"})
    counts = pool.write(tmp_path / "pool")
    assert counts["bad_reasons"] == {"no question": 52, "trace_tokens is not a count": 1}
    lines = (tmp_path / "pool/bad_rows.jsonl").read_text().splitlines()
    assert '"line": 1,' in lines[0]
    assert '"line": 50,' in lines[1]
    assert '"line": 2600,' in lines[-1]
    assert [r["question"] for r in read(tmp_path / "pool")][:50] == [
        f"Q{i}" for i in range(2, 50)
    ] + [
        "Q51",
        "Q52",
    ]
    few = Parquet(path=path, columns={"trace_tokens": "n"}, max_rows=1500)
    assert few.write(tmp_path / "few")["rows_read"] == 1500


def test_wrong_files_and_columns(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("{}")
    with pytest.raises(SettingError, match="path must be a Parquet file"):
        Parquet(path=str(tmp_path / "a.parquet")).write(tmp_path / "pool")
    write(tmp_path / "two/a.parquet", {"question": ["Q"], "attempt": ["A"]})
    write(tmp_path / "two/b.parquet", {"question": ["Q"]})
    with pytest.raises(UserError, match="lacks the column attempt"):
        Parquet(path=str(tmp_path / "two")).write(tmp_path / "pool")
    path = write(tmp_path / "empty.parquet", {"question": pa.array([], pa.string())})
    with pytest.raises(UserError, match="has no rows"):
        Parquet(path=path).write(tmp_path / "pool")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_a_local_data_set_reads_as_one_of_the_hub(offline: None, tmp_path: Path) -> None:
    rows = {"question": [f"Q{i}" for i in range(3000)], "thinking_trajectories": [["t"]] * 3000}
    write(tmp_path / "data/train.parquet", rows)
    pool = Hub(dataset=str(tmp_path / "data"))
    assert pool.write(tmp_path / "pool")["rows"] == 3000
    assert read(tmp_path / "pool")[2999] == {"question": "Q2999", "reasoning_trace": "t"}
    assert pool.fingerprint()["dataset"]["folder"]
    with pytest.raises(SettingError, match="split must be one that"):
        Hub(dataset=str(tmp_path / "data"), split="tset").write(tmp_path / "pool")


def test_s1_59k_joins_features_on_the_question(offline: None, tmp_path: Path) -> None:
    questions = [f"Q{i}" for i in range(20)]
    pool = {
        "question": questions,
        "solution": questions,
        "thinking_trajectories": [["t"]] * 20,
        "attempt": ["a"] * 20,
        "source_type": ["s"] * 20,
        "cot_type": ["math"] * 20,
    }
    features = {
        "question": questions[:0:-1],  # in another order, and Q0 has none
        "isqwen7bcorrect": [i % 2 == 0 for i in range(19, 0, -1)],
        "isqwen32bcorrect": [None] * 19,
        "isgeminicorrect": [True] * 19,
        "gemini_length": [float(i) for i in range(19, 0, -1)],
        "domain": [f"D{i}" for i in range(19, 0, -1)],
    }
    write(tmp_path / "pool/train.parquet", pool)
    write(tmp_path / "features/train.parquet", features)
    S159K(dataset=str(tmp_path / "pool"), features=str(tmp_path / "features")).write(
        tmp_path / "out"
    )
    rows = read(tmp_path / "out")
    assert rows[0]["domain"] is None
    assert rows[0]["trace_tokens"] is None
    for i, row in enumerate(rows[1:], 1):
        assert (row["domain"], row["trace_tokens"]) == (f"D{i}", i)
        assert row["is_correct_qwen2_5_7b"] is (i % 2 == 0)
        assert row["is_correct_qwen2_5_32b"] is None
    assert rows[3]["cot_type"] == "math"


def test_an_unreachable_hub_is_one_sentence(offline: None, tmp_path: Path) -> None:
    pool = Hub(dataset="nobody/no-such-data-set")
    for attempt in (pool.fingerprint, lambda: pool.write(tmp_path / "pool")):
        with pytest.raises(
            UserError, match="no-such-data-set cannot be loaded from the hub"
        ) as error:
            attempt()
        assert "pool=jsonl" in str(error.value)
        assert "\n" not in str(error.value)
