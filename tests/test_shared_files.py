"""SQLite files as another machine finds them: what was committed is read, nothing is spliced."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from s1x import sqlite
from s1x.annotate.store import AnswerStore
from s1x.engine.chat import Answer
from s1x.errors import UserError
from s1x.evaluate.settings import StoreSettings
from s1x.sqlite import DatabaseFolder, file_system
from s1x.traces import upkeep
from s1x.traces.store import TraceStore

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/me/scratch tmpfs rw 0 0
10.0.0.1@o2ib:/lustre /lustre/my\\040project lustre rw 0 0
systemd-1 /auto autofs rw 0 0
//server/share /auto cifs rw 0 0
sshfs /far fuse.sshfs rw 0 0
host /mnt/host 9p rw 0 0
/dev/sdb1 /homestead xfs rw 0 0
"""

#: writes five streams, commits, and is killed in the midst of a transaction that reached the disk
KILLED = """
import os, signal, sys
from pathlib import Path
from s1x import sqlite
sqlite.host = lambda: sys.argv[3]
from s1x.traces import store as traces
traces.host = sqlite.host
store = traces.TraceStore(Path(sys.argv[1]), "m", journal=sys.argv[2])
for i in range(5):
    store.append(bytes([i]) * 16, 0, range(i, i + 300))
store.commit()
writer = store._writer
writer.execute("PRAGMA cache_size = 1")  # pages of an open transaction are written early
writer.execute("BEGIN")
writer.execute("UPDATE pieces SET token_ids = zeroblob(LENGTH(token_ids))")
for i in range(200):
    row = (bytes([9, i]) * 8, 0, bytes(4000), 0, 0, None)
    writer.execute("INSERT INTO pieces VALUES (?, ?, ?, ?, ?, ?)", row)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Makes the kernel name a file system for the test's folder."""

    def mount(kind: str) -> None:
        mounts = tmp_path.parent / f"{tmp_path.name}-mounts"
        mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/x {tmp_path} {kind} rw 0 0\n")
        monkeypatch.setattr(sqlite, "MOUNTS", mounts)

    return mount


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me/outputs", "nfs4"),
        ("/home/me/scratch/outputs", "tmpfs"),
        ("/homestead/x", "xfs"),
        ("/lustre/my project/x", "lustre"),
        ("/auto/x", "cifs"),
        ("/far/x", "fuse.sshfs"),
        ("/mnt/host/x", "9p"),
        ("/elsewhere", "ext4"),
    ],
)
def test_the_longest_mount_point_names_the_file_system(
    folder: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(sqlite, "MOUNTS", tmp_path / "mounts")
    assert file_system(Path(folder)) == kind
    assert DatabaseFolder(Path(folder)).is_shared is (kind not in ("tmpfs", "xfs", "ext4"))
    monkeypatch.setattr(sqlite, "MOUNTS", tmp_path / "none")
    assert not DatabaseFolder(Path(folder)).is_shared


SHARED = ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "9p", "virtiofs", "cifs", "fuse.sshfs")


@pytest.mark.parametrize("kind", SHARED)
def test_what_is_not_known_to_be_local_gets_no_write_ahead_log(
    kind: str, tmp_path: Path, mounted: Callable[[str], None]
) -> None:
    mounted(kind)
    with TraceStore(tmp_path, "m") as store:
        store.append(b"k" * 16, 0, [1, 2])
        store.commit()
        assert store.path is not None
        assert sorted(p.suffix for p in (tmp_path / "m").iterdir()) == [".json", ".sqlite"]
        assert store.path.read_bytes()[18:20] == b"\1\1"
        with TraceStore(tmp_path, "m") as reader:  # while it is open
            assert reader.load(b"k" * 16) == [1, 2]


def test_the_setting_overrides(tmp_path: Path, mounted: Callable[[str], None]) -> None:
    for kind, journal, expected in (("nfs4", "wal", True), ("ext4", "delete", False)):
        mounted(kind)
        with TraceStore(tmp_path, kind, journal=journal) as store:
            store.append(b"k" * 16, 0, [1])
            store.commit()
            assert any((tmp_path / kind).glob("*-wal")) is expected
    with pytest.raises(UserError, match="journal must be one of"):
        StoreSettings(journal="truncate")


def test_the_trace_store_can_be_elsewhere(tmp_path: Path) -> None:
    assert StoreSettings().place(tmp_path) == tmp_path / "traces"
    assert StoreSettings(folder="/scratch/t").place(tmp_path) == Path("/scratch/t")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"store.folder .*file/x cannot be used"):
        StoreSettings(folder=str(tmp_path / "file" / "x")).check_folder()


def killed(folder: Path, journal: str, host: str) -> Path:
    """What a writer on that machine leaves behind."""
    command = [sys.executable, "-c", KILLED, str(folder), journal, host]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    (path,) = (folder / "m").glob(f"{host}-*.sqlite")
    end = "-wal" if journal == "wal" else "-journal"
    assert path.with_name(path.name + end).stat().st_size > 0
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest.mark.parametrize("kind", ["nfs4", "ext4"])
@pytest.mark.parametrize("host", ["elsewhere", sqlite.host()])
def test_what_a_killed_writer_committed_is_read_wherever_it_ran(
    journal: str, kind: str, host: str, tmp_path: Path, mounted: Callable[[str], None]
) -> None:
    """The whole folder as another machine finds it: memory that processes share does not travel."""
    path = killed(tmp_path / "there", journal, host)
    shutil.copytree(tmp_path / "there", tmp_path / "here", ignore=lambda *_: [path.name + "-shm"])
    before = contents(tmp_path / "here" / "m")
    mounted(kind)
    with TraceStore(tmp_path / "here", "m") as store:
        for i in range(5):
            assert store.load(bytes([i]) * 16) == list(range(i, i + 300))
        assert store.load(bytes([9, 0]) * 8) == []
        assert not store.notes()
        if kind == "nfs4" and host == "elsewhere":
            assert contents(tmp_path / "here" / "m") == before  # it is its writer's
        store.append(b"\1" * 16, 300, [1000])
    with TraceStore(tmp_path / "here", "m") as store:
        assert store.load(b"\1" * 16) == [*range(1, 301), 1000]
    upkeep.prune(tmp_path / "here")
    assert len(list((tmp_path / "here" / "m").iterdir())) == 2  # one file, and what it is about
    with TraceStore(tmp_path / "here", "m") as store:
        assert store.load(b"\1" * 16) == [*range(1, 301), 1000]


@pytest.mark.parametrize("lost", ["-wal", "-journal"])
def test_without_its_journal_a_file_says_less_but_nothing_wrong(
    lost: str, tmp_path: Path, mounted: Callable[[str], None]
) -> None:
    """A copy that left it out: pages of a transaction that never ended stand in the file."""
    path = killed(tmp_path, "wal" if lost == "-wal" else "delete", "elsewhere")
    for end in (lost, "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    mounted("nfs4")
    with TraceStore(tmp_path, "m") as store:
        for i in range(5):
            written = list(range(i, i + 300))
            assert store.load(bytes([i]) * 16) in ([], written)
        assert lost == "-wal" or "not used" in store.notes()[0] or "cannot be" in store.notes()[0]


def test_a_file_that_cannot_be_opened_is_named(
    tmp_path: Path, mounted: Callable[[str], None]
) -> None:
    mounted("nfs4")
    (tmp_path / "m" / "elsewhere-1.sqlite").mkdir(parents=True)
    with TraceStore(tmp_path, "m") as store:
        assert "elsewhere-1.sqlite has no readable content" in store.notes()[0]


def test_a_file_that_changes_while_it_is_copied_is_left_for_later(
    tmp_path: Path, mounted: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = killed(tmp_path, "wal", "elsewhere")
    mounted("nfs4")
    copy = shutil.copyfile

    def racing(source: Path, target: Path) -> None:
        copy(source, target)
        os.utime(path, ns=(1, 1))

    monkeypatch.setattr(shutil, "copyfile", racing)
    with TraceStore(tmp_path, "m") as store:
        assert store.load(b"\0" * 16) == []
        assert not store.notes()
        monkeypatch.undo()
        mounted("nfs4")
        store._listed_at -= 60
        assert store.load(b"\0" * 16) == list(range(300))


def test_answers_have_a_file_for_each_machine(
    tmp_path: Path, mounted: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Annotation goes on where a requeued job lands; remembered scores are kept the same way."""
    mounted("lustre")
    path = tmp_path / "answers.sqlite"
    for machine in ("first", "second"):
        monkeypatch.setattr("s1x.annotate.store.host", lambda name=machine: name)
        store = AnswerStore(path)
        if machine == "second":
            assert store.get("a") == Answer("of first", None, "stop", 3, 4)
            assert store.get("c") is None
        store.put(
            "a" if machine == "first" else "b", "m", Answer(f"of {machine}", None, "stop", 3, 4)
        )
        store.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "answers-first.sqlite",
        "answers-second.sqlite",
    ]
    damaged = tmp_path / "answers-first.sqlite"
    damaged.write_bytes(damaged.read_bytes().replace(b"of first", b"of fir5t"))
    mounted("ext4")  # the folder was brought home
    store = AnswerStore(path)
    assert store.get("b") == Answer("of second", None, "stop", 3, 4)
    assert store.get("a") is None
    assert store.num_damaged == 1
    store.close()


def test_answers_that_cannot_be_read_are_told(
    tmp_path: Path, mounted: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    mounted("nfs4")
    (tmp_path / "answers-elsewhere.sqlite").write_bytes(b"no database" * 100)
    AnswerStore(tmp_path / "answers.sqlite").close()
    said = capsys.readouterr()
    assert "answers-elsewhere.sqlite cannot be read" in said.out + said.err


def test_what_is_committed_survives_without_a_log(tmp_path: Path) -> None:
    connection = DatabaseFolder(tmp_path, "delete").write(tmp_path / "x.sqlite")
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.close()
    assert sqlite3.connect(tmp_path / "x.sqlite").execute("PRAGMA journal_mode").fetchone() == (
        "delete",
    )
