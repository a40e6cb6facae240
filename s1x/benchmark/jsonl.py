"""Your own questions: a file with one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1x.benchmark.benchmark import Benchmark, lettered
from s1x.benchmark.problem import Problem
from s1x.errors import UserError
from s1x.option import option, setting


@option("benchmark", "jsonl")
@dataclass(frozen=True)
class Jsonl(Benchmark):
    """Questions of a JSONL file, its columns named by mapping.

    A row with choices (a list of texts) is multiple choice: they are written out below the
    question, and its answer is the letter, or the text of the right choice, or its index from 0.
    """

    path: str = setting(doc="JSONL file, UTF-8", remedy="give benchmark.path=<file>.jsonl")
    question_column: str = setting("question", "column of the question")
    answer_column: str = setting("answer", "column of the reference answer")
    id_column: str | None = setting("id", "column of ids; rows without it: their line's number")
    domain_column: str | None = setting("domain", "column of the field; missing: domain_name")
    level_column: str | None = setting("level", "column of the difficulty; may be missing")
    choices_column: str | None = setting("choices", "column of the list of choices; may be missing")
    domain_name: str = setting("unknown", "field of the rows that name none")

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
                    f"{first} too; ids must be unique (benchmark.id_column=null numbers the lines)"
                )
            problems.append(problem)
            if self.limit is not None and len(problems) == self.limit:
                break
        return problems

    def _problem(self, number: int, row: dict[str, Any]) -> Problem:
        def optional(column: str | None) -> str | None:
            value = row.get(column) if column else None
            return None if value is None or value == "" else _text(value)

        question = self._needed(number, row, self.question_column, "question_column")
        answer = self._needed(number, row, self.answer_column, "answer_column")
        choices = row.get(self.choices_column) if self.choices_column else None
        if choices:
            choices = self._choices(number, choices)
            answer = self._letter(number, row[self.answer_column], choices)
            question = f"{question}\n\n{lettered(choices)}"
        return Problem(
            problem_id=optional(self.id_column) or str(number),
            question=question,
            answer=answer,
            domain=optional(self.domain_column) or self.domain_name,
            level=optional(self.level_column),
            choices=choices or None,
            metadata={"line": number},
        )

    def _needed(self, number: int, row: dict[str, Any], column: str, setting_name: str) -> str:
        value = row.get(column)
        if value is None or _text(value).strip() == "":
            has = ", ".join(map(str, row)) or "nothing"
            raise UserError(
                f"{self.path} line {number}: no field {column!r} (it has {has}); "
                f"name the column with benchmark.{setting_name}=..."
            )
        return _text(value)

    def _choices(self, number: int, choices: Any) -> tuple[str, ...]:
        if not isinstance(choices, list) or not 2 <= len(choices) <= 26:
            raise UserError(
                f"{self.path} line {number}: field {self.choices_column!r} must be a list of 2 to "
                "26 choices; benchmark.choices_column=null ignores it"
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
            f"{self.path} line {number}: field {self.answer_column!r} is {text!r}, which is "
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
