"""Your own questions: a file with one JSON object a line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1x.benchmark.benchmark import Benchmark
from s1x.benchmark.problem import Problem
from s1x.benchmark.row import NAMES, Row
from s1x.errors import SettingError, UserError
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

    def source(self) -> str:
        """The file's name."""
        return Path(self.path).name

    def _problems(self) -> list[Problem]:
        given = {name: None if c is None else str(c) for name, c in self.columns.items()}
        columns = {name: name for name in NAMES} | given
        remedy = "name the column with benchmark.columns.{name}=..."
        problems: list[Problem] = []
        for number, values in read_rows(Path(self.path).expanduser()):
            place = f"{self.path} line {number}"
            row = Row(place, number, values, columns, remedy)
            problems.append(row.problem(self.domain_name, {"place": place}))
            if self.limit is not None and len(problems) == self.limit:
                break
        return problems


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (from 1) and object of each line that is not empty.

    Raises:
        UserError: no such file, damaged, not UTF-8, or a line that is not a JSON object.
    """
    if not path.is_file():
        raise UserError(f"benchmark.path {path} is no file; give the path of a JSONL file")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, _row(path, number, line)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        reason = str(error).rstrip(".")
        raise UserError(f"{path} is damaged or no gzip file ({reason}); fetch it again") from None


def _row(path: Path, number: int, line: bytes) -> dict[str, Any]:
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
    return row
