"""`pool=jsonl`: your questions and traces, one JSON object a line.

    python run.py +experiment=s1k pool=jsonl pool.path=my.jsonl +pool.columns.reasoning_trace=cot

A line that is not JSON, or whose values cannot be read, is reported with file and line and counted
in the funnel; more than `max_bad_fraction` of them stop the run. The files are read twice: once for
the columns, which may begin at any row, once for the rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from s1x.errors import UserError
from s1x.jsonl import read
from s1x.option import option
from s1x.pool.columns import Found, check_columns
from s1x.pool.pool import FilePool
from s1x.pool.writer import Row


@option("pool", "jsonl")
@dataclass(frozen=True)
class Jsonl(FilePool):
    """A pool in JSON lines (also .gz); `columns` maps our names to the file's."""

    kind: ClassVar[str] = "jsonl"
    endings: ClassVar[tuple[str, ...]] = (".jsonl", ".jsonl.gz", ".json", ".ndjson")

    def source(self, nested: set[str]) -> tuple[str, Found, Iterator[Row]]:
        """The keys of all objects, in order of appearance, and every line that is not blank."""
        rows = itertools.islice(self._rows(), self.max_rows)
        return self.path, _names(rows, nested, self.path), self._rows()

    def _rows(self) -> Iterator[Row]:
        for path in self.files():
            for number, values in read(path):
                yield Row(str(path), number, values)


def _names(rows: Iterator[Row], nested: Collection[str], name: str) -> Found:
    found: dict[str, None] = {}
    inner: dict[str, None] = {}
    first: Row | None = None
    for row in rows:
        first = first or row
        if isinstance(row.values, Mapping):
            found.update(dict.fromkeys(row.values))
            for outer in nested:
                with suppress(RecursionError):
                    inner.update(dict.fromkeys(_within(outer, row.values.get(outer))))
    if first is None:
        raise UserError(f"pool.path {name} has no rows; give a file with one object a line")
    if not found:
        raise UserError(
            f"{first.file}, line {first.line}: not a JSON object; pool=jsonl reads one a line"
        )
    check_columns(list(found), name)
    return Found(list(found), list(inner))


def _within(name: str, value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"{name}.{key}"
            yield from _within(f"{name}.{key}", inner)
