"""Every answer of a model, kept as it comes, in one SQLite file.

The key is the hash of model, messages and sampling, so a killed run goes on where it was, a second
run costs nothing, and a changed prompt asks anew only what it changes.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Message = Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What a model replied.

    Attributes:
        text: the reply.
        reasoning: its reasoning where the server gives that apart, else None.
        finish_reason: stop, length, ... as the server says.
        prompt_tokens, generated_tokens: as the server counts, None where it does not say.
    """

    text: str
    reasoning: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    generated_tokens: int | None = None


def key_of(model: str, messages: Sequence[Message], sampling: Mapping[str, Any]) -> str:
    """The name of an answer: 32 hex digits of its question."""
    asked = {"model": model, "messages": [dict(m) for m in messages], "sampling": dict(sampling)}
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class AnswerStore:
    """Answers by key; safe against `kill -9`, and for several processes on one machine."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, model TEXT, text TEXT, "
            "reasoning TEXT, finish_reason TEXT, prompt_tokens INTEGER, generated_tokens INTEGER) "
            "WITHOUT ROWID"
        )

    def get(self, key: str) -> Answer | None:
        """The answer kept under a key."""
        found = self._db.execute(
            "SELECT text, reasoning, finish_reason, prompt_tokens, generated_tokens "
            "FROM answers WHERE key = ?",
            (key,),
        ).fetchone()
        return Answer(*found) if found else None

    def put(self, key: str, model: str, answer: Answer) -> Answer:
        """Keeps an answer; one that is there already stays, and is what comes back."""
        self._db.execute(
            "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                model,
                answer.text,
                answer.reasoning,
                answer.finish_reason,
                answer.prompt_tokens,
                answer.generated_tokens,
            ),
        )
        kept = self.get(key)
        assert kept is not None
        return kept

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Closes the file."""
        self._db.close()
