"""The trace store: what is written is found again, by anyone, after anything."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from array import array
from itertools import accumulate
from pathlib import Path

import pytest

from s1x.errors import UserError
from s1x.traces import upkeep
from s1x.traces.store import TraceStore

KEY, OTHER = b"k" * 16, b"o" * 16

WRITER = """
import sys
from pathlib import Path
from s1x.traces.store import TraceStore
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
        assert [path.name for path in store.damaged] == ["broken.sqlite"]
        assert "broken.sqlite" in store.notes()[0]
    (traces,) = upkeep.describe(tmp_path)
    assert list(traces.damaged) == ["broken.sqlite"]
    assert "broken.sqlite" in "".join(traces.lines())


def write(folder: Path, stream: bytes, *pieces: list[int]) -> Path:
    """A file of its own with a stream in pieces."""
    with TraceStore(folder, "m") as store:
        store._files.clear()  # a writer that has not seen the others
        start = 0
        for piece in pieces:
            store.append(stream, start, piece)
            start += len(piece)
        store.commit()
        assert store.path is not None
        return store.path


def write_first_version(path: Path, *pieces: tuple[int, list[int]]) -> None:
    """A file as s1x wrote it before there were checksums."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    with connection:
        connection.executescript(
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
            "CREATE TABLE pieces (stream BLOB NOT NULL, start INTEGER NOT NULL, token_ids BLOB "
            "NOT NULL, PRIMARY KEY (stream, start)) WITHOUT ROWID;"
            "INSERT INTO meta VALUES ('schema_version', '1');"
        )
        for start, ids in pieces:
            row = (KEY, start, array("i", ids).tobytes())
            connection.execute("INSERT INTO pieces VALUES (?, ?, ?)", row)
    connection.close()


DISAGREEING = [
    ([[1, 2, 3, 4]], [[1, 9, 9, 9, 9, 9]], [1, 9, 9, 9, 9, 9]),
    ([[1], [2, 3, 4]], [[1, 9], [9, 9], [9, 9]], [1, 9, 9, 9, 9, 9]),
    ([[1, 2], [3, 4]], [[1, 2], [9, 9, 9]], [1, 2, 9, 9, 9]),
    ([[7, 7]], [[1, 2], [3]], [1, 2, 3]),
    ([[5, 6]], [[5, 4]], [5, 4]),
]


@pytest.mark.parametrize(("one", "other", "expected"), DISAGREEING)
@pytest.mark.parametrize("version", [1, 2])
def test_files_that_disagree_are_never_spliced(
    tmp_path: Path, one: list[list[int]], other: list[list[int]], expected: list[int], version: int
) -> None:
    for index, pieces in enumerate((one, other)):
        if version == 2:
            write(tmp_path, KEY, *pieces)
        else:
            starts = accumulate([0, *map(len, pieces)])
            parts = list(zip(starts, pieces, strict=False))
            write_first_version(tmp_path / "m" / f"{index}.sqlite", *parts)
    with TraceStore(tmp_path, "m") as store:
        assert store.load(KEY) == expected
        assert store.disagreeing == {KEY}
        assert "disagree about 1" in store.notes()[0]
    (traces,) = upkeep.describe(tmp_path)
    assert traces.num_disagreeing == 1
    upkeep.prune(tmp_path, merge=True)
    (merged,) = upkeep.describe(tmp_path)
    assert (merged.num_files, merged.num_disagreeing) == (1, 1)
    with TraceStore(tmp_path, "m") as store:
        assert store.load(KEY) == expected


def test_a_continuation_follows_only_what_its_writer_saw(tmp_path: Path) -> None:
    write(tmp_path, KEY, [1, 2])
    with TraceStore(tmp_path, "m") as store:
        assert store.load(KEY) == [1, 2]
        store.append(KEY, 2, [3])
    write(tmp_path, KEY, [1, 9, 9, 9])
    with TraceStore(tmp_path, "m") as store:
        assert store.load(KEY) == [1, 9, 9, 9]
        assert sorted(list(kept.tokens) for kept in store.versions(KEY)) == [
            [1, 2, 3],
            [1, 9, 9, 9],
        ]
        store.append(KEY, 4, [8])
    with TraceStore(tmp_path, "m") as store:
        assert store.load(KEY) == [1, 9, 9, 9, 8]


def test_files_of_the_first_version_are_read_and_continued(tmp_path: Path) -> None:
    write_first_version(tmp_path / "m" / "a.sqlite", (0, [1, 2]), (2, [3]))
    write_first_version(tmp_path / "m" / "b.sqlite", (3, [4]))  # continues what a has
    with TraceStore(tmp_path, "m") as store:
        assert store.load(KEY) == [1, 2, 3, 4]
        store.append(KEY, 4, [5])
    with TraceStore(tmp_path, "m") as store:
        assert store.load(KEY) == [1, 2, 3, 4, 5]
        assert not store.disagreeing
        assert not store.damaged


def test_a_continuation_of_which_nobody_knows_the_beginning_is_not_used(tmp_path: Path) -> None:
    write_first_version(tmp_path / "m" / "a.sqlite", (0, [1, 2]))
    write_first_version(tmp_path / "m" / "b.sqlite", (0, [1, 9]))
    write_first_version(tmp_path / "m" / "c.sqlite", (2, [3]))  # of a's, or of b's?
    with TraceStore(tmp_path, "m") as store:
        assert store.load(KEY) == [1, 2]


def damage(path: Path, old: list[int], new: list[int]) -> None:
    """Puts other tokens into a file, in the place of those that stand there."""
    content = path.read_bytes()
    raw = array("i", old).tobytes()
    assert content.count(raw) == 1
    path.write_bytes(content.replace(raw, array("i", new).tobytes()))


def test_a_flipped_token_is_found_named_and_never_used(tmp_path: Path) -> None:
    path = write(tmp_path, KEY, list(range(100, 150)), list(range(150, 200)), [7])
    damage(path, [160, 161, 162], [160, 55, 162])
    with TraceStore(tmp_path, "m") as store:
        assert store.load(KEY) == list(range(100, 150))
        assert store.damaged == {path: "1 damaged piece, not used"}
        store.append(KEY, 50, range(150, 200))  # generated again
    with TraceStore(tmp_path, "m") as store:
        assert store.load(KEY) == [*range(100, 200), 7]
    (traces,) = upkeep.describe(tmp_path)
    assert list(traces.damaged) == [path.name]
    upkeep.prune(tmp_path)
    (traces,) = upkeep.describe(tmp_path)
    assert not traces.damaged
    with TraceStore(tmp_path, "m") as store:
        assert store.load(KEY) == [*range(100, 200), 7]


@pytest.mark.parametrize("token", [-1, 500, 2**31 - 1])
def test_ids_that_the_vocabulary_has_not_are_damage(tmp_path: Path, token: int) -> None:
    write_first_version(tmp_path / "m" / "a.sqlite", (0, [1, 2]), (2, [3, token]), (4, [5]))
    with TraceStore(tmp_path, "m", num_ids=500) as store:
        assert store.load(KEY) == [1, 2]
        assert [path.name for path in store.damaged] == ["a.sqlite"]


def test_a_piece_of_half_a_token_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "m" / "a.sqlite"
    write_first_version(path, (0, [1, 2]), (2, [3]))
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE pieces SET token_ids = x'010203' WHERE start = 2")
    connection.close()
    with TraceStore(tmp_path, "m") as store:
        assert store.load(KEY) == [1, 2]
        assert store.damaged


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_damaged_what_is_read_was_written(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    keys = [bytes([i]) * 16 for i in range(30)]
    written = {key: [rng.randrange(400) for _ in range(200)] for key in keys}
    with TraceStore(tmp_path, "m") as store:
        for key, ids in written.items():
            for start in range(0, 200, 50):
                store.append(key, start, ids[start : start + 50])
    (path,) = (tmp_path / "m").glob("*.sqlite")
    content = bytearray(path.read_bytes())
    if rng.random() < 0.2:
        del content[rng.randrange(len(content)) :]
    for _ in range(rng.choice((1, 5, 200))):
        if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    refused = ""
    try:
        with TraceStore(tmp_path, "m", num_ids=400) as store:
            for key, ids in written.items():
                found = store.load(key)
                assert found == ids[: len(found)]
        upkeep.describe(tmp_path)
    except UserError as error:
        refused = str(error)
    assert not refused or "version" in refused  # the schema's number was hit


def test_a_damaged_description_is_named(tmp_path: Path) -> None:
    write(tmp_path, KEY, [1])
    (tmp_path / "m" / "model.json").write_text("{half", encoding="utf-8")
    (traces,) = upkeep.describe(tmp_path)
    assert list(traces.damaged) == ["model.json"]


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
    by_name = {traces.model: traces for traces in upkeep.describe(tmp_path)}
    assert by_name["n"].description["name"] == "n"
    assert (by_name["n"].num_files, by_name["n"].num_tokens) == (2, 1000)
    freed = upkeep.prune(tmp_path)
    assert freed > 0
    by_name = {traces.model: traces for traces in upkeep.describe(tmp_path)}
    assert (by_name["n"].num_files, by_name["n"].num_streams) == (1, 5)
    with TraceStore(tmp_path, "n") as store:
        assert store.load(bytes([4]) * 16) == list(range(100))
    upkeep.prune(tmp_path, models=["n"])
    assert [traces.model for traces in upkeep.describe(tmp_path)] == ["m"]
    upkeep.prune(tmp_path, unused_days=0.0)
    assert upkeep.describe(tmp_path) == []


def test_prune_and_describe_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no trace store"):
        upkeep.describe(tmp_path / "none")
    with pytest.raises(UserError, match="no model zz"):
        upkeep.prune(tmp_path, models=["zz"])


def test_lookups_stay_fast(tmp_path: Path) -> None:
    with TraceStore(tmp_path, "m") as store:
        for i in range(50_000):
            store.append(i.to_bytes(16, "little"), 0, [i])
    with TraceStore(tmp_path, "m") as store:
        begun = time.perf_counter()
        for i in range(0, 50_000, 50):
            assert store.load(i.to_bytes(16, "little")) == [i]
        assert (time.perf_counter() - begun) / 1000 < 1e-3  # seconds a lookup
