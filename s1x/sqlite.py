"""SQLite files that several machines may see.

SQLite's write-ahead log is indexed in memory that the processes of one machine share, so it is used
only on file systems that one machine has. Elsewhere (NFS, Lustre, GPFS, BeeGFS, CephFS, 9p, SMB,
and whatever is not known to be local) files have a rollback journal. Locks between machines are not
relied on either, since many mounts have none: each machine writes files that bear its name, and
never to another's; what was left half-written there is recovered in a copy.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

JOURNALS = ("auto", "wal", "delete")
MOUNTS = Path("/proc/mounts")
#: file systems that no two machines mount at a time, by the kernel's names
LOCAL = re.compile(
    "ext[234]|xfs|btrfs|zfs|f2fs|bcachefs|jfs|reiserfs|nilfs2|apfs|ufs|vfat|exfat|ntfs3|fuseblk|"
    "tmpfs|ramfs|rootfs|overlay|aufs|ecryptfs|fuse.fuse-overlayfs|squashfs|iso9660|udf|erofs"
)
#: what SQLite puts beside a file
BESIDE = ("-wal", "-journal", "-shm")
_SECONDS = 60.0
#: as a file begins that is in WAL mode
_WAL_MARK = slice(18, 20), b"\2\2"
#: errors that pass: another process holds the file, or its journal must be rolled back first
_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY)


def host() -> str:
    """This machine's name as part of a file's."""
    return "".join(c if c.isalnum() else "_" for c in socket.gethostname()) or "host"


def passes(error: sqlite3.Error) -> bool:
    """Whether a file can be tried again later."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _PASSING


def file_system(folder: Path) -> str | None:
    """The kernel's name for the file system of a folder; None where it names none (macOS)."""
    place = folder.resolve()
    found: tuple[str, str | None] = "", None
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:  # the longest mount point that the folder is under; of equals the last
        _, mounted, kind, *_ = line.split(" ")
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mounted)
        if len(point) >= len(found[0]) and place.is_relative_to(point):
            found = point, kind
    return found[1]


@dataclass(frozen=True)
class DatabaseFolder:
    """A folder of SQLite files.

    Attributes:
        path: of the folder.
        journal: of files that are written: wal, delete, or auto: wal where no other machine reads.
    """

    path: Path
    journal: str = "auto"

    @cached_property
    def is_shared(self) -> bool:
        """Whether other machines may see it."""
        kind = file_system(self.path)
        return kind is not None and not LOCAL.fullmatch(kind)

    def write(self, path: Path) -> sqlite3.Connection:
        """Opens or makes a file of this machine.

        Raises:
            sqlite3.Error: it cannot be written.
        """
        connection = sqlite3.connect(path, timeout=_SECONDS, check_same_thread=False)
        with_log = self.journal == "wal" or (self.journal == "auto" and not self.is_shared)
        connection.execute(f"PRAGMA journal_mode = {'WAL' if with_log else 'DELETE'}")
        if with_log:
            connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def read(self, path: Path) -> sqlite3.Connection:
        """Opens a file for reading: what was committed, whoever wrote it and however it ended.

        Raises:
            sqlite3.Error: it is no database, or is being written (`passes`).
            OSError: it cannot be read.
        """
        ours = not self.is_shared or host() in re.split(r"[-.]", path.name)
        if ours and all(os.access(place, os.W_OK) for place in (path, path.parent)):
            return _connect(path, "rw")  # recovers what a killed process left
        with path.open("rb") as file:
            bytes_, mark = _WAL_MARK
            has_log = file.read(100)[bytes_] == mark
        if not has_log:
            connection = _connect(path, "ro")
            try:
                connection.execute("SELECT name FROM sqlite_master").fetchall()
            except sqlite3.OperationalError:  # a journal was left, or there are no locks
                connection.close()
            else:
                return connection
        return _recovered(path)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    name = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(name, uri=True, timeout=_SECONDS, check_same_thread=False)


def _recovered(path: Path) -> sqlite3.Connection:
    """A copy, without what its writer had not committed; its files are gone once it is closed."""
    parts = [path, *(path.with_name(path.name + end) for end in BESIDE[:2])]
    before = list(_states(parts))
    with tempfile.TemporaryDirectory(prefix="s1x-") as folder:
        for part in parts:
            if part.exists():
                shutil.copyfile(part, Path(folder, part.name))
        if list(_states(parts)) != before:
            error = sqlite3.OperationalError("it is being written")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        connection = _connect(Path(folder, path.name), "rw")
        try:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA query_only = ON")
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def _states(parts: list[Path]) -> Iterator[tuple[int, int] | None]:
    for part in parts:
        try:
            state = part.stat()
        except FileNotFoundError:
            yield None
        else:
            yield state.st_size, state.st_mtime_ns
