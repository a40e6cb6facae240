"""Every answer of a model, kept as it comes, in one SQLite file.

The key is the hash of model, messages and sampling, so a killed run goes on where it was, a second
run costs nothing, and a changed prompt asks anew only what it changes.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

from s1x.console import say_once
from s1x.engine.chat import Answer, Message
from s1x.errors import UserError
from s1x.sqlite import DatabaseFolder, host

_COLUMNS = "text, reasoning, finish_reason, prompt_tokens, generated_tokens"
_FIND = f"SELECT {_COLUMNS}, checksum FROM answers WHERE key = ?"


def key_of(model: str, messages: Sequence[Message], sampling: Mapping[str, object]) -> str:
    """The name of an answer: 32 hex digits of its question."""
    asked = {"model": model, "messages": [dict(m) for m in messages], "sampling": dict(sampling)}
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class AnswerStore:
    """Answers by key; safe against `kill -9`, and for several processes on one machine.

    On a file system that other machines may see, each machine writes a file with its name at the
    end, and reads those that the others had written before (see `s1x.sqlite`).

    Attributes:
        num_damaged: answers that were not what had been written; they are forgotten.

    Raises:
        UserError: at any call, when the file is damaged or cannot be written.
    """

    def __init__(self, path: Path, journal: str = "auto") -> None:
        self.num_damaged = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = DatabaseFolder(path.parent, journal)
        self.path = path.with_stem(f"{path.stem}-{host()}") if folder.is_shared else path
        with self._checked():
            self._db = folder.write(self.path)
            self._db.isolation_level = None
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, model TEXT, text TEXT, "
                "reasoning TEXT, finish_reason TEXT, prompt_tokens INTEGER, "
                "generated_tokens INTEGER, checksum TEXT) WITHOUT ROWID"
            )
            names = [row[1] for row in self._db.execute("PRAGMA table_info(answers)")]
            if "checksum" not in names:  # a file of an earlier version
                self._db.execute("ALTER TABLE answers ADD COLUMN checksum TEXT")
            self._db.text_factory = bytes
        self._others = list(self._opened(folder, path))

    def _opened(self, folder: DatabaseFolder, path: Path) -> Iterator[sqlite3.Connection]:
        """The files of other machines; what cannot be read is told and passed over."""
        for other in sorted(path.parent.glob(f"{path.stem}*{path.suffix}")):
            if other == self.path:
                continue
            try:
                connection = folder.read(other)
                connection.text_factory = bytes
                connection.execute(_FIND, ("",)).fetchone()
            except (sqlite3.Error, OSError) as error:
                say_once(f"{other} cannot be read ({error}): what it has is asked for again")
            else:
                yield connection

    def get(self, key: str) -> Answer | None:
        """The answer kept under a key; None too where it is damaged."""
        with self._checked():
            answer = self._get(self._db, key)
        for other in list(self._others) if answer is None else ():
            try:
                answer = answer or self._get(other, key)
            except (sqlite3.Error, UnicodeDecodeError) as error:
                self._others.remove(other)
                say_once(f"a file beside {self.path} is read no further: {error}")
        return answer

    def _get(self, place: sqlite3.Connection, key: str) -> Answer | None:
        found = place.execute(_FIND, (key,)).fetchone()
        if found is None:
            return None
        *values, checksum = found
        if checksum is None or checksum.decode() == _checksum(key, values):
            text, reasoning, finish = (value and value.decode() for value in values[:3])
            return Answer(text, reasoning, finish, *values[3:])
        self.num_damaged += 1
        if place is self._db:
            place.execute("DELETE FROM answers WHERE key = ?", (key,))
        return None

    def put(self, key: str, model: str, answer: Answer) -> Answer:
        """Keeps an answer; one that is there already stays, and is what comes back."""
        values = astuple(answer)
        row = (key, model, *values, _checksum(key, values))
        with self._checked():
            query = f"INSERT OR IGNORE INTO answers (key, model, {_COLUMNS}, checksum) VALUES "
            self._db.execute(query + "(?, ?, ?, ?, ?, ?, ?, ?)", row)
        return self.get(key) or answer

    def __len__(self) -> int:
        with self._checked():
            return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Closes the files."""
        for place in (self._db, *self._others):
            place.close()

    @contextmanager
    def _checked(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise UserError(
                f"annotate: the answers in {self.path} cannot be used ({error}); free space on "
                "its disk, or make it writable"
            ) from None
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise UserError(
                f"annotate: {self.path} is damaged ({error}); put a copy in its place, or mend it "
                "with `sqlite3 <file> .recover`, or remove it: its answers are then paid for again"
            ) from None


def _checksum(key: str, values: Sequence[object]) -> str:
    digest = hashlib.blake2b(key.encode(), digest_size=8)
    for value in values:
        raw = value if isinstance(value, bytes) else str(value).encode()
        digest.update(b"%d:" % len(raw) + raw)
    return digest.hexdigest()
