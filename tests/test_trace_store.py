"""The trace store: what is written is found again, by anyone, after anything."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from s1x import trace_store
from s1x.errors import UserError
from s1x.trace_store import TraceStore

KEY, OTHER = b"k" * 16, b"o" * 16

WRITER = """
import sys
from pathlib import Path
from s1x.trace_store import TraceStore
store = TraceStore(Path(sys.argv[1]), "m", commit_every_seconds=0.0)
for i in range(10**9):
    store.append(i.to_bytes(16, "little"), 0, [i, i + 1])
    store.append(i.to_bytes(16, "little"), 2, [i + 2])
    print(i, flush=True)
"""


def test_pieces_make_a_stream(tmp_path: Path) -> None:
    with TraceStore(tmp_path, "m") as store:
        store.append(KEY, 0, [1, 2])
        store.append(KEY, 2, [3])
        assert store.load(KEY) == [1, 2, 3]  # before anything is committed
        store.commit()
        assert store.load(KEY) == [1, 2, 3]
        assert store.load(OTHER) == []
    with TraceStore(tmp_path, "m") as store:
        assert store.load(KEY) == [1, 2, 3]
    with TraceStore(tmp_path, "another model") as store:
        assert store.load(KEY) == []


def test_overlapping_files_agree_and_gaps_end_a_stream(tmp_path: Path) -> None:
    with TraceStore(tmp_path, "m") as one, TraceStore(tmp_path, "m") as two:
        one.append(KEY, 0, [1, 2])
        two.append(KEY, 0, [1, 2, 3, 4])
        two.append(OTHER, 3, [9])
    with TraceStore(tmp_path, "m") as store:
        assert store.load(KEY) == [1, 2, 3, 4]
        assert store.load(OTHER) == []


def test_another_writer_is_seen_while_it_writes(tmp_path: Path) -> None:
    with TraceStore(tmp_path, "m") as writer, TraceStore(tmp_path, "m") as reader:
        writer.append(KEY, 0, [5])
        writer.commit()
        reader._listed_at -= 60
        assert reader.load(KEY) == [5]


def test_no_folder_keeps_nothing() -> None:
    with TraceStore(None, "m") as store:
        store.append(KEY, 0, [1])
        assert store.load(KEY) == []


def test_a_closed_store_is_one_plain_file(tmp_path: Path) -> None:
    with TraceStore(tmp_path, "m") as store:
        store.append(KEY, 0, [1])
    assert sorted(path.suffix for path in (tmp_path / "m").iterdir()) == [".json", ".sqlite"]


def test_a_later_schema_is_refused_by_name(tmp_path: Path) -> None:
    with TraceStore(tmp_path, "m") as store:
        store.append(KEY, 0, [1])
    (path,) = (tmp_path / "m").glob("*.sqlite")
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE meta SET value = '99'")
    connection.close()
    with pytest.raises(UserError, match="version 99"):
        TraceStore(tmp_path, "m")


def test_a_broken_file_is_passed_over(tmp_path: Path) -> None:
    with TraceStore(tmp_path, "m") as store:
        store.append(KEY, 0, [1])
    (tmp_path / "m" / "broken.sqlite").write_bytes(b"no database" * 100)
    (tmp_path / "m" / "empty.sqlite").touch()
    with TraceStore(tmp_path, "m") as store:
        assert store.load(KEY) == [1]


def test_a_folder_that_cannot_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        TraceStore(tmp_path / "file", "m")


def _kill_after(folder: Path, seconds: float) -> int:
    """Kills a writer; the last stream that it had said was written."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    lines = process.stdout.read().split()
    process.wait()
    return int(lines[-1]) if lines else 0


def test_kill_9_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    rng = random.Random(0)
    for attempt in range(2):
        folder = tmp_path / str(attempt)
        last = _kill_after(folder, rng.uniform(0.02, 0.2))
        with TraceStore(folder, "m") as store:
            for i in (0, last // 2, last - 1):
                assert i < 0 or store.load(i.to_bytes(16, "little")) == [i, i + 1, i + 2]
        # and the file that was left behind is a plain one again after this
        assert not list((folder / "m").glob("*-wal"))


def test_describe_and_prune(tmp_path: Path) -> None:
    for name, streams in (("m", 3), ("n", 5)):
        for _ in range(2):
            with TraceStore(tmp_path, name, {"name": name}) as store:
                for i in range(streams):
                    store.append(bytes([i]) * 16, 0, range(100))
    by_name = {traces.model: traces for traces in trace_store.describe(tmp_path)}
    assert by_name["n"].description["name"] == "n"
    assert (by_name["n"].num_files, by_name["n"].num_tokens) == (2, 1000)
    freed = trace_store.prune(tmp_path)
    assert freed > 0
    by_name = {traces.model: traces for traces in trace_store.describe(tmp_path)}
    assert (by_name["n"].num_files, by_name["n"].num_streams) == (1, 5)
    with TraceStore(tmp_path, "n") as store:
        assert store.load(bytes([4]) * 16) == list(range(100))
    trace_store.prune(tmp_path, models=["n"])
    assert [traces.model for traces in trace_store.describe(tmp_path)] == ["m"]
    trace_store.prune(tmp_path, unused_days=0.0)
    assert trace_store.describe(tmp_path) == []


def test_prune_and_describe_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no trace store"):
        trace_store.describe(tmp_path / "none")
    with pytest.raises(UserError, match="no model zz"):
        trace_store.prune(tmp_path, models=["zz"])


def test_lookups_stay_fast(tmp_path: Path) -> None:
    with TraceStore(tmp_path, "m") as store:
        for i in range(50_000):
            store.append(i.to_bytes(16, "little"), 0, [i])
    with TraceStore(tmp_path, "m") as store:
        begun = time.perf_counter()
        for i in range(0, 50_000, 50):
            assert store.load(i.to_bytes(16, "little")) == [i]
        assert (time.perf_counter() - begun) / 1000 < 1e-3  # seconds a lookup
