"""Your own questions: a file with one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1x.benchmark.benchmark import Benchmark, lettered
from s1x.benchmark.problem import Problem
from s1x.errors import SettingError, UserError
from s1x.option import option, setting

#: what is read of a row; the last four may be missing
NAMES = ("question", "answer", "id", "domain", "level", "choices")


@option("benchmark", "jsonl")
@dataclass(frozen=True)
class Jsonl(Benchmark):
    """Questions of a JSONL file, its columns named by mapping.

    A row with choices (a list of texts) is multiple choice: they are written out below the
    question, and its answer is the letter, or the text of the right choice, or its index from 0.
    """

    path: str = setting(doc="JSONL file, UTF-8", remedy="give benchmark.path=<file>.jsonl")
    columns: dict[str, Any] = setting(
        factory=dict,
        doc="{our name: the file's column} where they differ; null: not read. Names: "
        + ", ".join(NAMES),
    )
    domain_name: str = setting("unknown", "field of the rows that name none")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.columns:
            if name not in NAMES:
                raise SettingError("columns", "keyed by " + ", ".join(NAMES), name)

    def column(self, name: str) -> str | None:
        """The file's column for one of our names; None: not to be read."""
        found = self.columns.get(name, name)
        return None if found is None else str(found)

    def source(self) -> str:
        """The file's name."""
        return Path(self.path).name

    def _problems(self) -> list[Problem]:
        problems: list[Problem] = []
        lines_of: dict[str, int] = {}
        for number, row in read_rows(Path(self.path).expanduser()):
            problem = self._problem(number, row)
            first = lines_of.setdefault(problem.problem_id, number)
            if first != number:
                raise UserError(
                    f"{self.path} line {number}: the id {problem.problem_id!r} is that of line "
                    f"{first} too; ids must be unique (benchmark.columns.id=null numbers the lines)"
                )
            problems.append(problem)
            if self.limit is not None and len(problems) == self.limit:
                break
        return problems

    def _problem(self, number: int, row: dict[str, Any]) -> Problem:
        def optional(name: str) -> str | None:
            column = self.column(name)
            value = row.get(column) if column else None
            return None if value is None or value == "" else _text(value)

        question = self._needed(number, row, "question")
        answer = self._needed(number, row, "answer")
        choices_column = self.column("choices")
        choices = row.get(choices_column) if choices_column else None
        if choices:
            choices = self._choices(number, choices)
            answer = self._letter(number, row[str(self.column("answer"))], choices)
            question = f"{question}\n\n{lettered(choices)}"
        return Problem(
            problem_id=optional("id") or str(number),
            question=question,
            answer=answer,
            domain=optional("domain") or self.domain_name,
            level=optional("level"),
            choices=choices or None,
            metadata={"line": number},
        )

    def _needed(self, number: int, row: dict[str, Any], name: str) -> str:
        column = self.column(name)
        value = row.get(column) if column else None
        if value is None or _text(value).strip() == "":
            has = ", ".join(map(str, row)) or "nothing"
            raise UserError(
                f"{self.path} line {number}: no field {column!r} (it has {has}); "
                f"name the column with benchmark.columns.{name}=..."
            )
        return _text(value)

    def _choices(self, number: int, choices: Any) -> tuple[str, ...]:
        if not isinstance(choices, list) or not 2 <= len(choices) <= 26:
            raise UserError(
                f"{self.path} line {number}: field {self.column('choices')!r} must be a list of "
                "2 to 26 choices; benchmark.columns.choices=null ignores it"
            )
        return tuple(map(_text, choices))

    def _letter(self, number: int, answer: Any, choices: tuple[str, ...]) -> str:
        letters = [chr(65 + i) for i in range(len(choices))]
        if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
            return letters[answer]
        text = _text(answer).strip()
        if text.strip("().") in letters:
            return text.strip("().")
        if text in choices:
            return letters[choices.index(text)]
        raise UserError(
            f"{self.path} line {number}: field {self.column('answer')!r} is {text!r}, which is "
            f"neither a letter {letters[0]} to {letters[-1]} nor one of the choices"
        )


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (from 1) and object of each line that is not empty.

    Raises:
        UserError: no such file, not UTF-8, or a line that is not a JSON object.
    """
    if not path.is_file():
        raise UserError(f"benchmark.path {path} is no file; give the path of a JSONL file")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError:
                raise UserError(f"{path} line {number} is not UTF-8 text") from None
            except (ValueError, RecursionError):
                raise UserError(
                    f"{path} line {number} is not JSON; each line must be one JSON object"
                ) from None
            if not isinstance(row, dict):
                raise UserError(f"{path} line {number} is not a JSON object")
            yield number, row


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
