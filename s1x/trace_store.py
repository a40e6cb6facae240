"""The trace store: every token a model has written, kept on disk (DESIGN 4).

`<folder>/<model>/<host>-<pid>-<number>.sqlite`: one file a writing process, all files of a model
read. A stream (see `s1x.engine.streams`) lies there in pieces (key, start, token ids); pieces are
only ever added, so a process that is killed loses no more than what it had not yet committed, and
whoever reads months later needs only the key. While a file is written it is in WAL mode; closing
it makes it a plain single file, which any machine of a shared file system can read.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import sqlite3
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from s1x.errors import UserError

SCHEMA_VERSION = 1
_SUFFIX = ".sqlite"
_MODEL_FILE = "model.json"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pieces (
    stream BLOB NOT NULL, start INTEGER NOT NULL, token_ids BLOB NOT NULL,
    PRIMARY KEY (stream, start)
) WITHOUT ROWID;
"""
_numbers = itertools.count()


class TraceStore:
    """The streams of one model.

    Args:
        folder: of the store; None keeps nothing (streams then live as long as the process).
        model: name of the model's own folder: a fingerprint of its weights and its engine.
        description: written beside the streams for people, once.
        save_every_tokens: a stream in flight is saved whenever so many tokens are new.
        commit_every_seconds: how much time a killed process may lose.

    Raises:
        UserError: the folder cannot be written, or a file is of another schema version.
    """

    def __init__(
        self,
        folder: Path | None,
        model: str,
        description: dict[str, Any] | None = None,
        save_every_tokens: int = 64,
        commit_every_seconds: float = 0.5,
    ) -> None:
        self.folder = folder / model if folder is not None else None
        self.save_every_tokens = save_every_tokens
        self.commit_every_seconds = commit_every_seconds
        self._writer: sqlite3.Connection | None = None
        self._path: Path | None = None
        self._readers: dict[Path, sqlite3.Connection] = {}
        self._pending: list[tuple[bytes, int, bytes]] = []
        self._committed_at = self._listed_at = time.monotonic()
        if self.folder is not None:
            self._describe(description)
            self._list()

    # -- reading ----------------------------------------------------------------------------------

    def load(self, stream: bytes) -> list[int]:
        """The tokens of a stream from its first one on, as far as any file has them."""
        if self.folder is None:
            return []
        if time.monotonic() - self._listed_at > 5:
            self._list()
        pieces: list[tuple[int, bytes]] = []
        for path, connection in list(self._readers.items()):
            try:
                rows = connection.execute(
                    "SELECT start, token_ids FROM pieces WHERE stream = ?", (stream,)
                )
                pieces += rows.fetchall()
            except sqlite3.DatabaseError:  # half a file of a machine that died: not ours to mend
                self._drop(path)
        pieces += [(start, ids) for key, start, ids in self._pending if key == stream]
        return _joined(pieces)

    def _list(self) -> None:
        assert self.folder is not None
        self._listed_at = time.monotonic()
        for path in sorted(self.folder.glob("*" + _SUFFIX)):
            if path not in self._readers and path != self._path and _is_readable(path):
                connection = _open(path)
                if connection is not None:
                    self._readers[path] = connection

    def _drop(self, path: Path) -> None:
        self._readers.pop(path).close()

    # -- writing ----------------------------------------------------------------------------------

    def append(self, stream: bytes, start: int, token_ids: Iterable[int]) -> None:
        """Adds a piece of a stream; it is on disk after the next commit, half a second at most."""
        if self.folder is None:
            return
        self._pending.append((stream, start, array("i", token_ids).tobytes()))
        if time.monotonic() - self._committed_at >= self.commit_every_seconds:
            self.commit()

    def commit(self) -> None:
        """Puts all pieces on disk.

        Raises:
            UserError: the disk is full or the folder can't be written.
        """
        self._committed_at = time.monotonic()
        if not self._pending or self.folder is None:
            return
        try:
            writer = self._writer or self._create()
            with writer:
                writer.executemany("INSERT OR IGNORE INTO pieces VALUES (?, ?, ?)", self._pending)
        except sqlite3.OperationalError as error:
            raise UserError(
                f"the trace store {self.folder} cannot be written ({error}); free some space, or "
                "choose another folder with output=..."
            ) from error
        self._pending.clear()

    def _create(self) -> sqlite3.Connection:
        assert self.folder is not None
        name = f"{_host()}-{os.getpid()}-{time.time_ns():x}-{next(_numbers)}{_SUFFIX}"
        self._path = self.folder / name
        writer = sqlite3.connect(self._path, check_same_thread=False)
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("PRAGMA synchronous = NORMAL")
        with writer:
            writer.executescript(_SCHEMA)
            writer.execute("INSERT INTO meta VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),))
        self._writer = self._readers[self._path] = writer
        return writer

    def _describe(self, description: dict[str, Any] | None) -> None:
        assert self.folder is not None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            place = self.folder / _MODEL_FILE
            if not place.exists():
                content = {"schema_version": SCHEMA_VERSION, **(description or {})}
                half = place.with_name(f"{place.name}.{os.getpid()}")
                half.write_text(json.dumps(content, indent=1, ensure_ascii=False))
                half.replace(place)
        except OSError as error:
            raise UserError(
                f"the trace store {self.folder} cannot be written ({error.strerror}); choose "
                "another folder with output=..."
            ) from error

    def close(self) -> None:
        """Commits, and leaves the file as a plain single file."""
        self.commit()
        if self._writer is not None:
            # while another process reads it, it stays in WAL mode, which is as good
            with contextlib.suppress(sqlite3.OperationalError):
                self._writer.execute("PRAGMA journal_mode = DELETE")
        for connection in self._readers.values():
            connection.close()
        self._readers.clear()
        self._writer = None

    def __enter__(self) -> TraceStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _joined(pieces: list[tuple[int, bytes]]) -> list[int]:
    """The gapless beginning of a stream out of pieces that may overlap (files of two processes)."""
    tokens = array("i")
    for start, raw in sorted(pieces, key=lambda piece: piece[0]):
        ids = array("i", raw)
        if start > len(tokens):
            break
        if start + len(ids) > len(tokens):
            tokens.extend(ids[len(tokens) - start :])
    return tokens.tolist()


def _host() -> str:
    return "".join(c if c.isalnum() else "_" for c in socket.gethostname()) or "host"


def _is_readable(path: Path) -> bool:
    """A file in WAL mode is only safe to read on the machine that writes it."""
    return path.name.startswith(_host() + "-") or not path.with_name(path.name + "-wal").exists()


def _open(path: Path) -> sqlite3.Connection | None:
    """Opens one file for reading; None where it is empty or not whole yet.

    Raises:
        UserError: it is of a schema that this version does not know.
    """
    # what a killed process left in its write-ahead log can only be recovered by a writer
    mode = "rw" if path.name.startswith(_host() + "-") and os.access(path, os.W_OK) else "ro"
    connection = sqlite3.connect(f"file:{path}?mode={mode}", uri=True, check_same_thread=False)
    try:
        row = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    except sqlite3.DatabaseError:
        row = None
    if row is None:
        connection.close()
        return None
    if row[0] != str(SCHEMA_VERSION):
        connection.close()
        raise UserError(
            f"{path} is of trace store version {row[0]}, this s1x reads version {SCHEMA_VERSION}; "
            "use the s1x that wrote it, or move the file away"
        )
    return connection


# -- looking at it and making it smaller -----------------------------------------------------------


@dataclass(frozen=True)
class ModelTraces:
    """What the store holds of one model.

    Attributes:
        model: name of its folder (a fingerprint).
        description: what was written about it: name, engine, dtype.
        num_files, num_streams, num_tokens, num_bytes: sizes; a stream in two files counts twice.
        last_used: seconds since the epoch of the last change.
    """

    model: str
    description: dict[str, Any]
    num_files: int
    num_streams: int
    num_tokens: int
    num_bytes: int
    last_used: float


def describe(folder: Path) -> list[ModelTraces]:
    """What a store holds, the largest model first.

    Raises:
        UserError: there is no store.
    """
    if not folder.is_dir():
        raise UserError(f"there is no trace store at {folder}; evaluations write one")
    found = [_describe_model(place) for place in sorted(folder.iterdir()) if place.is_dir()]
    return sorted(found, key=lambda traces: -traces.num_bytes)


def _describe_model(place: Path) -> ModelTraces:
    files = list(place.glob("*" + _SUFFIX))
    streams = tokens = 0
    for path in files:
        connection = _open(path) if _is_readable(path) else None
        if connection is None:
            continue
        query = "SELECT COUNT(DISTINCT stream), COALESCE(SUM(LENGTH(token_ids)), 0) FROM pieces"
        count, size = connection.execute(query).fetchone()
        connection.close()
        streams, tokens = streams + count, tokens + size // array("i").itemsize
    sizes = [path.stat() for path in place.iterdir()]
    about = place / _MODEL_FILE
    return ModelTraces(
        model=place.name,
        description=json.loads(about.read_text()) if about.is_file() else {},
        num_files=len(files),
        num_streams=streams,
        num_tokens=tokens,
        num_bytes=sum(stat.st_size for stat in sizes),
        last_used=max((stat.st_mtime for stat in sizes), default=0.0),
    )


def prune(
    folder: Path, models: Iterable[str] = (), unused_days: float | None = None, merge: bool = True
) -> int:
    """Makes a store smaller: removes models, and merges the files of those that stay.

    Not to be used while an evaluation writes into it.

    Args:
        folder: of the store.
        models: names of models (or beginnings of them) to remove.
        unused_days: also removes models that have not changed for so many days.
        merge: puts all files of a model into one, each stream once.

    Returns:
        Bytes freed.

    Raises:
        UserError: there is no store, or no model of that name.
    """
    before = describe(folder)
    names = tuple(models)
    for name in names:
        if not any(traces.model.startswith(name) for traces in before):
            raise UserError(f"the trace store {folder} has no model {name}")
    now = time.time()
    for traces in before:
        old = unused_days is not None and now - traces.last_used > unused_days * 86_400
        if old or traces.model.startswith(names or ("\0",)):
            _remove(folder / traces.model)
        elif merge and traces.num_files > 1:
            _merge(folder, traces.model)
    return sum(t.num_bytes for t in before) - sum(t.num_bytes for t in describe(folder))


def _remove(place: Path) -> None:
    for path in place.iterdir():
        path.unlink()
    place.rmdir()


def _merge(folder: Path, model: str) -> None:
    files = [path for path in (folder / model).glob("*" + _SUFFIX) if _is_readable(path)]
    with TraceStore(folder, model) as store:
        for stream in _streams(files):
            store.append(stream, 0, store.load(stream))
        store.commit()
        written = store._path
    for path in files:
        if path != written:
            for part in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
                part.unlink(missing_ok=True)


def _streams(files: list[Path]) -> Iterator[bytes]:
    seen: set[bytes] = set()
    for path in files:
        connection = _open(path)
        if connection is None:
            continue
        for (stream,) in connection.execute("SELECT DISTINCT stream FROM pieces"):
            if stream not in seen:
                seen.add(stream)
                yield stream
        connection.close()
