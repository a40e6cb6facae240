"""`import=rows`: a CSV or Parquet file with one answer a row.

python run.py stages=[report] import=rows import.path=answers.csv +import.columns.correct=is_right
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl
from polars.exceptions import PolarsError

from s1x.classes import nearest
from s1x.console import say_once
from s1x.errors import SettingError, UserError, reason_of
from s1x.imports.importer import (
    COLUMNS,
    Answer,
    Budget,
    FileImport,
    Json,
    as_truth,
    known_columns,
    whole_number,
)
from s1x.option import option
from s1x.rows import CORRECT, UNANSWERED, UNGRADED, WRONG

NAMES = (
    *("problem_id", "question", "reference_answer", "answer_text", "thinking_text"),
    *("correct", "verdict", "benchmark", "model", "sample"),
    *("setting", "limit_min_tokens", "limit_max_tokens", *COLUMNS),
)
VERDICTS = (CORRECT, WRONG, UNANSWERED, UNGRADED)


@option("import", "rows")
@dataclass(frozen=True)
class Rows(FileImport):
    """A table of answers, its columns named as in rows.parquet or by `columns`.

    Needed: `problem_id` or `question`, and `correct` (true, false) or `verdict`, or else
    `answer_text` and `reference_answer` with import.regrade. A budget stands in
    `limit_max_tokens`, or as a label in `setting`; `sample` numbers the answers to one question.
    """

    wrote: ClassVar[str] = "a table"
    endings: ClassVar[tuple[str, ...]] = (".csv", ".parquet")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.columns:
            if name not in NAMES:
                hint = nearest(name, NAMES, "write +import.columns.<our name>=<theirs>")
                raise SettingError("columns", f"keyed by {', '.join(NAMES)}", name, hint)

    def read(self, file: Path) -> Iterator[Answer]:
        """See `FileImport.read`."""
        table = _table(file)
        ours = {name: name for name in NAMES if name in table.columns} | self.columns
        for name, theirs in ours.items():
            if theirs not in table.columns:
                must = f"a column of {file} (it has {', '.join(table.columns)})"
                raise SettingError(f"import.columns.{name}", must, theirs)
        self._check(file, ours)
        if idle := sorted(set(table.columns) - set(ours.values())):
            say_once(f"{file}: columns that are not read: {', '.join(idle)}")
        table = table.select(pl.col(theirs).alias(name) for name, theirs in ours.items())
        for number, row in enumerate(table.iter_rows(named=True), 1):
            yield self._answer(f"{file} row {number}", row, file)

    def _check(self, file: Path, ours: Json) -> None:
        """Refuses a table that lacks what an answer needs."""
        if "problem_id" not in ours and "question" not in ours:
            raise UserError(f"{file} has neither problem_id nor question; map import.columns")
        graded = self.regrade or "correct" in ours or "verdict" in ours
        if not graded:
            raise UserError(
                f"{file} has neither correct nor verdict; map import.columns, or set import.regrade"
            )
        if "model" not in ours and self.model is None:
            raise UserError(f"{file} does not name the model; set import.model")

    def _answer(self, place: str, row: Json, file: Path) -> Answer:
        def text(name: str) -> str | None:
            return None if row.get(name) is None else str(row[name])

        problem = text("problem_id") or text("question")
        if problem is None:
            raise UserError(f"{place}: problem_id and question are empty")
        verdict, correct = text("verdict"), None
        if verdict is not None and verdict not in VERDICTS:
            raise UserError(f"{place}: verdict is {verdict!r:.60}, not {', '.join(VERDICTS)}")
        if verdict is None and row.get("correct") is not None:
            correct = as_truth(row["correct"])
            if correct is None:
                raise UserError(f"{place}: correct is {row['correct']!r:.60}, not true or false")
        columns = known_columns(row, place)
        return Answer(
            place=place,
            benchmark=text("benchmark") or file.stem,
            model=self.model or text("model") or UNNAMED,
            problem_id=problem,
            question=text("question"),
            reference=text("reference_answer"),
            text=text("answer_text"),
            thinking=text("thinking_text"),
            correct=correct if verdict is None else verdict == CORRECT,
            sample=_whole(place, "sample", row) or 0,
            budget=self._budget(place, row, file),
            columns=columns | ({"verdict": verdict} if verdict else {}),
        )

    def _budget(self, place: str, row: Json, file: Path) -> Budget:
        least, most = (_whole(place, f"limit_{end}_tokens", row) for end in ("min", "max"))
        named = self.budget(file)
        if named is not None and least is most is None and row.get("setting") is None:
            return named
        label = (
            Budget.of(most, self.policy).setting if row.get("setting") is None else row["setting"]
        )
        settings = {} if most is None else {"max_thinking_tokens": most}
        return Budget(str(label), least, most, self.policy, settings=settings)


UNNAMED = "unnamed"


def _table(file: Path) -> pl.DataFrame:
    """The table; a CSV file's cells as text, empty ones null.

    Raises:
        UserError: it cannot be read.
    """
    try:
        if file.suffix == ".parquet":
            return pl.read_parquet(file, glob=False)
        return pl.read_csv(file, infer_schema=False, glob=False)
    except (PolarsError, OSError, UnicodeDecodeError) as error:
        reason = reason_of(error)
        raise UserError(f"{file} cannot be read as {file.suffix[1:].upper()} ({reason})") from None


def _whole(place: str, name: str, row: Json) -> int | None:
    return None if row.get(name) is None else whole_number(name, row[name], place)
