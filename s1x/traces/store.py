"""The trace store: every token a model has written, kept on disk.

`<folder>/<model>/<host>-<pid>-<number>.sqlite`: one file per writing process, all files of a model
read. A stream (see `s1x.traces.streams`) is stored in pieces (key, start, token ids); pieces are
only ever added, so a process that is killed loses no more than what it had not yet committed, and
whoever reads months later needs only the key. How files are shared between machines is told in
`s1x.sqlite`; closing one makes it a plain single file.

Each piece carries a checksum of itself and one of all tokens before it. A piece that fails its own,
or holds an id that the vocabulary does not have, is never used. A piece continues only the very
tokens that its writer saw, so what is read is always one stream that a model wrote: where files
disagree, the longest is taken whole (of equals the one with the smaller ids), and the store counts
it. Beside the ids a piece can hold how sure the model was of them (`s1x.traces.confidence`), from
schema version 3 on. Files of version 1 have no checksums; their pieces continue their own file's.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
import struct
import time
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from s1x.errors import UserError
from s1x.sqlite import DatabaseFolder, host, passes
from s1x.traces.confidence import ROW_BYTES

SCHEMA_VERSION = 3
SUFFIX = ".sqlite"
MODEL_FILE = "model.json"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pieces (
    stream BLOB NOT NULL, start INTEGER NOT NULL, token_ids BLOB NOT NULL,
    prefix_checksum INTEGER, checksum INTEGER NOT NULL, confidence BLOB,
    PRIMARY KEY (stream, start, checksum)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS origins (
    stream BLOB PRIMARY KEY, origin TEXT NOT NULL, checksum INTEGER NOT NULL
) WITHOUT ROWID;
"""
_READ_PIECES = {
    1: "SELECT start, token_ids, NULL, NULL, NULL FROM pieces WHERE stream = ?",
    2: "SELECT start, token_ids, prefix_checksum, checksum, NULL FROM pieces WHERE stream = ?",
    3: "SELECT start, token_ids, prefix_checksum, checksum, confidence FROM pieces "
    "WHERE stream = ?",
}
_READ_VERSION = "SELECT value FROM meta WHERE key = 'schema_version'"
#: checksums of stream ends kept in memory; those beyond are computed again from the files
_MAX_ENDS = 100_000
_numbers = itertools.count()


class _Piece(NamedTuple):
    start: int
    token_ids: bytes
    prefix_checksum: int | None
    checksum: int | None
    confidence: bytes | None


@dataclass(eq=False)
class Stored:
    """One stream as far as pieces carry it.

    Attributes:
        tokens: its ids.
        checksum: of all its tokens.
        confidences: rows of `s1x.traces.confidence`, one a token; None where any is not there.
    """

    tokens: array[int] = field(default_factory=lambda: array("i"))
    checksum: int = 0
    confidences: bytearray | None = field(default_factory=bytearray)

    def up_to(self, length: int) -> Stored:
        """Its beginning."""
        tokens, known = self.tokens[:length], self.confidences
        rows = None if known is None else known[: length * ROW_BYTES]
        return Stored(tokens, zlib.crc32(tokens), rows)

    def add(self, piece: _Piece) -> None:
        """Puts a piece at its end."""
        self.tokens.frombytes(piece.token_ids)
        self.checksum = zlib.crc32(piece.token_ids, self.checksum)
        if piece.confidence is None:
            self.confidences = None
        elif self.confidences is not None:
            self.confidences += piece.confidence

    def begins(self, other: Stored) -> bool:
        """Whether the other one says the same, and perhaps more."""
        return self.tokens == other.tokens[: len(self.tokens)]


@dataclass(frozen=True)
class _File:
    path: Path
    connection: sqlite3.Connection
    version: int


class TraceStore:
    """The streams of one model.

    Args:
        folder: of the store; None keeps nothing (streams then live as long as the process).
        model: name of the model's own folder: a fingerprint of its weights and its engine.
        description: written beside the streams for people, once.
        num_ids: ids of the vocabulary; a stored id past them is damage. None: not known.
        end_ids: given, each token has its confidence beside it (pieces without are not used); they
            are the ids whose rank that tells (`s1x.traces.confidence`).
        save_every_tokens: a stream in flight is saved whenever this many tokens are new.
        commit_every_seconds: how much time a killed process may lose.
        journal: of the file that is written; see `s1x.sqlite.DatabaseFolder`.

    Attributes:
        damaged: files → what is wrong with them, as found so far.
        disagreeing: streams of which files hold different versions, as found so far.
        path: the file that this process writes, once there is one.

    Raises:
        UserError: the folder cannot be written, or a file is of another schema version.
    """

    def __init__(
        self,
        folder: Path | None,
        model: str,
        description: Mapping[str, object] | None = None,
        num_ids: int | None = None,
        save_every_tokens: int = 64,
        commit_every_seconds: float = 0.5,
        end_ids: Sequence[int] | None = None,
        journal: str = "auto",
    ) -> None:
        self.folder = folder / model if folder is not None else None
        self._database = DatabaseFolder(self.folder or Path(), journal)
        self.num_ids, self.end_ids = num_ids, end_ids
        self.save_every_tokens = save_every_tokens
        self.commit_every_seconds = commit_every_seconds
        self.damaged: dict[Path, str] = {}
        self.disagreeing: set[bytes] = set()
        self._damaged_pieces: dict[Path, set[tuple[bytes, object]]] = {}
        self._writer: sqlite3.Connection | None = None
        self.path: Path | None = None
        self._files: dict[Path, _File] = {}
        self._pending: dict[bytes, list[_Piece]] = {}
        self._origins: dict[bytes, str] = {}
        self._ends: dict[bytes, tuple[int, int]] = {}
        self._committed_at = self._listed_at = time.monotonic()
        if self.folder is not None:
            about = {"num_ids": num_ids} | ({} if end_ids is None else {"end_ids": list(end_ids)})
            self._describe({**(description or {}), **about})
            self._list()

    # -- reading ----------------------------------------------------------------------------------

    def load(self, stream: bytes) -> list[int]:
        """The tokens of a stream from its first one on, as one writer left them."""
        return self.read(stream).tokens.tolist()

    def read(self, stream: bytes) -> Stored:
        """What `load` reads, and how sure the model was of it."""
        chains = self.versions(stream)
        if not chains:
            return Stored()
        self._set_end(stream, len(chains[0].tokens), chains[0].checksum)
        return chains[0]

    def versions(self, stream: bytes) -> list[Stored]:
        """All that was written for a stream, the version that is used first; mostly just one."""
        if self.folder is None:
            return []
        if time.monotonic() - self._listed_at > 5:
            self._list()
        pieces = [
            (index, piece)
            for index, file in enumerate(list(self._files.values()))
            for piece in self._read(file, stream)
        ]
        pieces += [(-1, piece) for piece in self._pending.get(stream, ())]
        chains = _chains(pieces)
        if len(chains) > 1:
            self.disagreeing.add(stream)
        return chains

    def _read(self, file: _File, stream: bytes) -> list[_Piece]:
        rows = self._query(file, _READ_PIECES[file.version], stream)
        pieces = [_Piece(*row) for row in rows]
        return [piece for piece in pieces if self._is_sound(file, stream, piece)]

    def _query(self, file: _File, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Rows of a file; one that cannot be read is passed over, for good or until it is free."""
        try:
            yield from file.connection.execute(query, values)
        except sqlite3.DatabaseError as error:
            self._files.pop(file.path, None)
            if not passes(error):
                self.damaged[file.path] = f"content that cannot be read ({error})"
            file.connection.close()

    def _is_sound(self, file: _File, stream: bytes, piece: _Piece) -> bool:
        """Whether a piece is what was written; if not, its file is noted as damaged."""
        start, token_ids, prefix_checksum, checksum, confidence = piece
        sound = isinstance(start, int) and start >= 0 and isinstance(token_ids, bytes)
        sound = sound and len(token_ids) > 0 and len(token_ids) % array("i").itemsize == 0
        if sound and file.version > 1:
            sound = checksum == piece_checksum(
                stream, start, token_ids, prefix_checksum, confidence
            )
        if sound and (self.end_ids is not None or confidence is not None):
            number = len(token_ids) // array("i").itemsize
            sound = isinstance(confidence, bytes) and len(confidence) == ROW_BYTES * number
        if sound:
            # as unsigned numbers, negative ids are large
            sound = max(array("I", token_ids)) < (self.num_ids or 1 << 31)
        if not sound:
            found = self._damaged_pieces.setdefault(file.path, set())
            found.add((stream, start))
            count = f"{len(found)} damaged piece" + ("s" if len(found) > 1 else "")
            self.damaged[file.path] = f"{count}, not used"
        return sound

    def paths(self) -> list[Path]:
        """The files that can be read."""
        return list(self._files)

    def sizes(self) -> tuple[int, int]:
        """Streams and tokens in the files; what is in two files counts twice."""
        query = "SELECT COUNT(DISTINCT stream), COALESCE(SUM(LENGTH(token_ids)), 0) FROM pieces"
        streams = tokens = 0
        for file in list(self._files.values()):
            for count, size in self._query(file, query):
                streams, tokens = streams + count, tokens + size // array("i").itemsize
        return streams, tokens

    def streams(self) -> Iterator[bytes]:
        """The keys of all streams in the files."""
        seen: set[bytes] = set()
        for file in list(self._files.values()):
            for (stream,) in self._query(file, "SELECT DISTINCT stream FROM pieces"):
                if stream not in seen and isinstance(stream, bytes):
                    seen.add(stream)
                    yield stream

    def origins(self) -> Iterator[tuple[bytes, str]]:
        """The streams whose origin was noted, and the origin."""
        for file in [file for file in self._files.values() if file.version > 1]:
            for stream, origin, checksum in self._query(file, "SELECT * FROM origins"):
                if checksum == _origin_checksum(stream, origin):
                    yield stream, origin

    def notes(self) -> list[str]:
        """What a reader of the results must know: damaged files, and files that disagree."""
        found = [
            f"trace store: {path} has {reason}" for path, reason in sorted(self.damaged.items())
        ]
        if self.disagreeing:
            found.append(
                f"trace store: files disagree about {len(self.disagreeing)} of the streams read; "
                "each was taken whole from one of them (stages=[store] store.check=100 measures "
                "how far the engine repeats itself)"
            )
        return found

    def _list(self) -> None:
        assert self.folder is not None
        self._listed_at = time.monotonic()
        for path in sorted(self.folder.glob("*" + SUFFIX)):
            new = path not in self._files and path not in self.damaged and path != self.path
            if new:
                try:
                    file = self._open(path)
                except (sqlite3.DatabaseError, OSError) as error:
                    self.damaged[path] = f"no readable content ({error})"
                    continue
                if file is not None:
                    self._files[path] = file

    def _open(self, path: Path) -> _File | None:
        """Opens one file for reading; None where it is empty or not whole yet.

        Raises:
            UserError: it is of a schema that this version does not know.
            sqlite3.DatabaseError: it is damaged.
            OSError: it cannot be read.
        """
        with contextlib.ExitStack() as stack:
            try:
                connection = stack.enter_context(contextlib.closing(self._database.read(path)))
                found = connection.execute(_READ_VERSION).fetchall()
            except sqlite3.OperationalError:
                return None
            version = str(found[0][0]) if found else "0"
            if not version.isdecimal():
                raise sqlite3.DatabaseError(f"its version is {found[0][0]!r}")
            if int(version) in _READ_PIECES:
                stack.pop_all()
                return _File(path, connection, int(version))
            if version == "0":
                return None
        raise UserError(
            f"{path} is of trace store version {version}, this s1x reads version {SCHEMA_VERSION} "
            "and earlier; use the s1x that wrote it, or move the file away"
        )

    # -- writing ----------------------------------------------------------------------------------

    def append(
        self, stream: bytes, start: int, token_ids: Iterable[int], confidence: bytes | None = None
    ) -> None:
        """Adds a piece of a stream; it is on disk after the next commit, half a second at most."""
        raw = array("i", token_ids).tobytes()
        if self.folder is None or not raw:
            return
        prefix_checksum = self._prefix_checksum(stream, start)
        checksum = piece_checksum(stream, start, raw, prefix_checksum, confidence)
        piece = _Piece(start, raw, prefix_checksum, checksum, confidence)
        self._pending.setdefault(stream, []).append(piece)
        if prefix_checksum is not None:
            length = start + len(raw) // array("i").itemsize
            self._set_end(stream, length, zlib.crc32(raw, prefix_checksum))
        if time.monotonic() - self._committed_at >= self.commit_every_seconds:
            self.commit()

    def note_origin(self, stream: bytes, origin: str) -> None:
        """Keeps what a stream follows from, so that it can be generated again."""
        if self.folder is not None:
            self._origins[stream] = origin

    def _prefix_checksum(self, stream: bytes, start: int) -> int | None:
        """The checksum of the tokens that a piece continues; None where nobody has them."""
        if start == 0:
            return 0
        if self._ends.get(stream, (0, 0))[0] != start:
            tokens = self.load(stream)
            return zlib.crc32(array("i", tokens[:start])) if len(tokens) >= start else None
        return self._ends[stream][1]

    def _set_end(self, stream: bytes, length: int, checksum: int) -> None:
        if len(self._ends) > _MAX_ENDS:
            self._ends.clear()
        self._ends[stream] = (length, checksum)

    def commit(self) -> None:
        """Puts all pieces on disk.

        Raises:
            UserError: the disk is full or the folder can't be written.
        """
        self._committed_at = time.monotonic()
        if not self._pending or self.folder is None:
            return
        rows = [(stream, *piece) for stream, pieces in self._pending.items() for piece in pieces]
        origins = [
            (stream, origin, _origin_checksum(stream, origin))
            for stream, origin in self._origins.items()
        ]
        try:
            writer = self._writer or self._create()
            with writer:
                writer.executemany("INSERT OR IGNORE INTO pieces VALUES (?, ?, ?, ?, ?, ?)", rows)
                writer.executemany("INSERT OR IGNORE INTO origins VALUES (?, ?, ?)", origins)
        except sqlite3.OperationalError as error:
            raise UserError(
                f"the trace store {self.folder} cannot be written ({error}); free some space, or "
                "choose another folder with store.folder=... (on a file system with file locks)"
            ) from error
        self._pending.clear()
        self._origins.clear()

    def _create(self) -> sqlite3.Connection:
        assert self.folder is not None
        name = f"{host()}-{os.getpid()}-{time.time_ns():x}-{next(_numbers)}{SUFFIX}"
        self.path = self.folder / name
        writer = self._database.write(self.path)
        with writer:
            writer.executescript(_SCHEMA)
            writer.execute("INSERT INTO meta VALUES ('schema_version', ?)", (str(SCHEMA_VERSION),))
        self._writer = writer
        self._files[self.path] = _File(self.path, writer, SCHEMA_VERSION)
        return writer

    def _describe(self, description: Mapping[str, object]) -> None:
        assert self.folder is not None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            about = self.folder / MODEL_FILE
            if not about.exists():
                content = {"schema_version": SCHEMA_VERSION, **description}
                half = about.with_name(f"{about.name}.{os.getpid()}")
                text = json.dumps(content, indent=1, ensure_ascii=False)
                half.write_text(text, encoding="utf-8", errors="replace")
                half.replace(about)
        except OSError as error:
            raise UserError(
                f"the trace store {self.folder} cannot be written ({error.strerror}); choose "
                "another folder with store.folder=..."
            ) from error

    def close(self) -> None:
        """Commits, and leaves the file as a plain single file."""
        self.commit()
        if self._writer is not None:
            # while another process reads it, it stays in WAL mode, which is as good
            with contextlib.suppress(sqlite3.OperationalError):
                self._writer.execute("PRAGMA journal_mode = DELETE")
        for file in self._files.values():
            file.connection.close()
        self._files.clear()
        self._writer = None

    def __enter__(self) -> TraceStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def piece_checksum(
    stream: bytes,
    start: int,
    token_ids: bytes,
    prefix_checksum: int | None,
    confidence: bytes | None = None,
) -> int:
    """The checksum of one piece."""
    head = struct.pack("<qq", start, -1 if prefix_checksum is None else prefix_checksum)
    checksum = zlib.crc32(token_ids, zlib.crc32(head, zlib.crc32(stream)))
    return checksum if confidence is None else zlib.crc32(confidence, checksum)


def _origin_checksum(stream: bytes, origin: str) -> int:
    return zlib.crc32(origin.encode(), zlib.crc32(stream))


def _chains(pieces: list[tuple[int, _Piece]]) -> list[Stored]:
    """The streams that pieces of several files (by index) make up; the one to use comes first.

    A chain that begins another one says the same and is part of it.
    """
    chains: list[Stored] = []
    of_file: dict[int, Stored] = {}
    for index, piece in sorted(pieces, key=lambda item: (item[1].start, -len(item[1].token_ids))):
        base = _base(chains, of_file.get(index), piece)
        if base is None:
            continue
        if base in chains and len(base.tokens) == piece.start:  # as usual: the next piece of it
            base.add(piece)
            of_file[index] = base
            continue
        made = base.up_to(piece.start)
        made.add(piece)
        longer = next((chain for chain in chains if made.begins(chain)), None)
        if longer is None:
            chains = [*(chain for chain in chains if not chain.begins(made)), made]
        of_file[index] = longer or made
    return sorted(chains, key=lambda chain: (-len(chain.tokens), chain.tokens))


def _base(chains: list[Stored], own: Stored | None, piece: _Piece) -> Stored | None:
    """A chain whose beginning the piece continues; None where there is none, or a doubt.

    Args:
        chains: so far.
        own: the chain that the piece's file had a part in last.
        piece: one of version 1 says nothing of the tokens before it, and continues its own file's.
    """
    if piece.start == 0:
        return Stored()
    long_enough = [chain for chain in chains if len(chain.tokens) >= piece.start]
    wanted = piece.prefix_checksum
    if wanted is not None:
        ends = (c for c in long_enough if len(c.tokens) == piece.start and c.checksum == wanted)
        fits = (c for c in long_enough if zlib.crc32(c.tokens[: piece.start]) == wanted)
        return next(itertools.chain(ends, fits), None)
    if own is not None:
        return own if len(own.tokens) >= piece.start else None
    beginnings = {chain.tokens[: piece.start].tobytes() for chain in long_enough}
    return long_enough[0] if len(beginnings) == 1 else None
