"""A problem out of a row of a data set: what columns hold, read as what it means or refused.

Every reader (file, hub) uses this, so that references, choices and ids follow one set of rules.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from s1x.benchmark.choice import letter_of
from s1x.benchmark.problem import Problem
from s1x.errors import UserError

#: what is read of a row; the last four may be missing
NAMES = ("question", "answer", "id", "domain", "level", "choices")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        place: its file and line, or data set and row; every error begins with it.
        number: of the line or row, from 1; the id where no column has one.
        values: column → value.
        columns: our name → column; a name without one is not read.
        remedy: ends the error of a column that is not there; `{name}` is ours.
    """

    place: str
    number: int
    values: Mapping[str, object]
    columns: Mapping[str, str | None]
    remedy: str

    def problem(
        self, domain_name: str, metadata: dict[str, object], wrong: Sequence[str] = ()
    ) -> Problem:
        """The problem, with choices if the row has any.

        Args:
            domain_name: the field where the row names none.
            metadata: what else is known of it.
            wrong: columns of wrong choices; they and the answer are the choices, answer first.

        Raises:
            UserError: a column that is missing, or holds what cannot be meant.
        """
        question, answer = self._needed("question"), self._needed("answer")
        choices: tuple[str, ...] | None = None
        if wrong:
            choices = (answer, *(self._needed(column) for column in wrong))
            answer = "A"
        elif listed := self._value("choices"):
            choices, labels = self._choices(listed)
            answer = self._letter(answer, choices, labels)
        return Problem(
            problem_id=self._text("id", self._value("id")) or str(self.number),
            question=question,
            answer=answer,
            domain=self._text("domain", self._value("domain")) or domain_name,
            level=self._text("level", self._value("level")) or None,
            choices=choices,
            metadata=metadata,
        )

    def _needed(self, name: str) -> str:
        """The text of a column that must hold one."""
        column = self.columns.get(name, name)
        if column is None or column not in self.values:
            has = ", ".join(map(str, self.values)) or "nothing"
            remedy = self.remedy.format(name=name)
            raise UserError(f"{self.place}: no column {column!r} (it has {has}); {remedy}")
        value = self.values[column]
        text = self._text(name, value)
        if not text or (name == "answer" and text.lower() == "nan"):
            shown = "null" if value is None else "blank" if text == "" else "NaN"
            raise self._error(name, f"is {shown}; fill it in or take the row out")
        return text

    def _error(self, name: str, text: str) -> UserError:
        return UserError(f"{self.place}: column {self.columns.get(name, name)!r} {text}")

    def _value(self, name: str) -> object:
        column = self.columns.get(name, name)
        return self.values.get(column) if column else None

    def _text(self, name: str, value: object) -> str | None:
        """A value as text; None for null and NaN."""
        if isinstance(value, (list, tuple)):
            parts = [self._text(name, part) for part in value]
            if not parts or not all(parts):
                raise self._error(name, "is a list with a gap")
            return ", ".join(part for part in parts if part)
        if isinstance(value, Mapping):
            raise self._error(name, "is an object, not a text; name a column that holds the text")
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        text = str(value)
        if _SURROGATE.search(text):
            raise self._error(name, "is not valid UTF-8 (it has a lone surrogate); mend the text")
        return text.strip()

    def _choices(self, listed: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The choices, and the labels they have in the data set (none where it gives none)."""
        labels: list[str] = []
        if isinstance(listed, Mapping):  # ARC: {"label": [...], "text": [...]}
            marks, listed = listed.get("label"), listed.get("text")
            labels = [str(mark) for mark in marks] if isinstance(marks, list) else []
        if isinstance(listed, list) and all(
            isinstance(part, Mapping) and "text" in part for part in listed
        ):  # CommonsenseQA: [{"label": "A", "text": ...}, ...]
            labels = [str(part["label"]) for part in listed if "label" in part]
            listed = [part["text"] for part in listed]
        if not isinstance(listed, list) or not 2 <= len(listed) <= 26:
            must = "must be a list of 2 to 26 choices; benchmark.columns.choices=null ignores it"
            raise self._error("choices", must)
        texts = [None if isinstance(part, list) else self._text("choices", part) for part in listed]
        while texts and texts[-1] is None:
            texts.pop()  # a table pads shorter lists
        given = tuple(text for text in texts if text)
        if len(given) != len(texts) or len(given) < 2:
            raise self._error("choices", "has choices that are null, NaN or blank")
        return given, tuple(labels[: len(given)]) if len(labels) >= len(given) else ()

    def _letter(self, text: str, choices: tuple[str, ...], labels: tuple[str, ...]) -> str:
        """The letter of the right choice, which is named by letter, label, text or index."""
        letters = [chr(65 + index) for index in range(len(choices))]
        value = self._value("answer")
        index = value if isinstance(value, int) and not isinstance(value, bool) else None
        worded = letters[choices.index(text)] if text in choices else None
        if text in labels:
            return letters[labels.index(text)]
        if worded and (index is not None or len(text) > 1):
            return worded
        if index is not None and 0 <= index < len(choices):
            return letters[index]
        letter = letter_of(text, choices)
        if letter not in letters:
            letter = worded
        if letter is None:
            must = f"which is neither a letter A to {letters[-1]} nor one of the choices"
            raise self._error("answer", f"is {text!r}, {must}")
        return letter
