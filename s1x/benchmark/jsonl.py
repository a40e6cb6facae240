"""Your own questions: a file with one JSON object a line."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from s1x.benchmark.benchmark import Benchmark
from s1x.benchmark.problem import Problem
from s1x.benchmark.row import NAMES, Row
from s1x.errors import SettingError, UserError
from s1x.jsonl import UnreadableError, read
from s1x.option import option, setting


@option("benchmark", "jsonl")
@dataclass(frozen=True)
class Jsonl(Benchmark):
    """Questions of a JSONL file, its columns named by mapping.

    A row with choices (a list of texts) is multiple choice: they are written out below the
    question, and its answer is the letter, or the text of the right choice, or its index from 0.
    """

    path: str = setting(
        doc="JSONL file, UTF-8, or .jsonl.gz", remedy="give benchmark.path=<file>.jsonl"
    )
    columns: dict[str, str | None] = setting(
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

    def source(self) -> str:
        """The file's name."""
        return Path(self.path).name

    def _problems(self) -> list[Problem]:
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise UserError(f"benchmark.path {path} is no file; give the path of a JSONL file")
        return [
            row.problem(self.domain_name, {"place": row.place})
            for row in itertools.islice(self._rows(path), self.limit)
        ]

    def _rows(self, path: Path) -> Iterator[Row]:
        columns = dict(zip(NAMES, NAMES, strict=True)) | self.columns
        remedy = "name the column with benchmark.columns.{name}=..."
        for number, values in read(path):
            place = f"{self.path} line {number}"
            if isinstance(values, UnreadableError):
                raise UserError(f"{place} is {values}; each line must be one JSON object")
            yield Row(place, number, values, columns, remedy)
