"""`pool=jsonl`: your questions and traces, one JSON object a line.

    python run.py +experiment=s1k pool=jsonl pool.path=my.jsonl +pool.columns.reasoning_trace=cot

A line that is not JSON, or whose values cannot be read, is reported with file and line and counted
in the funnel; more than `max_bad_fraction` of them stop the run. The files are read twice: once for
the columns, which may begin at any row, once for the rows.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from s1x.errors import UserError
from s1x.option import option, setting
from s1x.pool.columns import Found
from s1x.pool.files import FORMAT, find, hashes
from s1x.pool.mapped import MappedPool
from s1x.pool.rows import Row, check_columns
from s1x.pool.values import UnreadableError

ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".ndjson")


@option("pool", "jsonl")
@dataclass(frozen=True)
class Jsonl(MappedPool):
    """A pool in JSON lines (also .gz); `columns` maps our names to the file's.

    A name that is not mapped is looked for under our own name, then under those of well-known data
    sets (`s1x.pool.columns.ALIASES`). `a.b` reaches into a nested object. Columns that are not ours
    pass through as text.
    """

    path: str = setting(doc="a file, a folder or a glob", remedy="set pool.path=<file.jsonl>")

    def fingerprint(self) -> dict[str, Any]:
        """Content hash of the files and the settings that change what is read."""
        return {
            "pool": "jsonl",
            "format": FORMAT,
            "files": hashes(find(self.path, ENDINGS)),
            **self.reading(),
        }

    def write(self, folder: Path) -> dict[str, Any]:
        """Writes the pool as Parquet; returns its counts.

        Raises:
            UserError: nothing to read, a damaged file, a missing column, too many bad rows.
        """
        source = JsonLines(self.path, find(self.path, ENDINGS))
        return self.write_from(source, folder, "jsonl", self.path, self.license)


@dataclass(frozen=True)
class JsonLines:
    """The lines of some files as rows."""

    name: str
    files: Sequence[Path]

    def names(self, rows: Iterator[Row], nested: Collection[str]) -> Found:
        """The keys of all objects, in order of appearance."""
        found: dict[str, None] = {}
        inner: dict[str, None] = {}
        first: Row | None = None
        for row in rows:
            first = first or row
            if isinstance(row.values, Mapping):
                found.update(dict.fromkeys(row.values))
                for name in nested:
                    with suppress(RecursionError):
                        inner.update(dict.fromkeys(_within(name, row.values.get(name))))
        if first is None:
            raise UserError(
                f"pool.path {self.name} has no rows; give a file with one object a line"
            )
        if not found:
            raise UserError(
                f"{first.file}, line {first.line}: not a JSON object; pool=jsonl reads one a line"
            )
        check_columns(list(found), self.name)
        return Found(list(found), list(inner))

    def rows(self) -> Iterator[Row]:
        """Every line that is not blank."""
        for path in self.files:
            for number, text in _lines(path):
                if text.strip():
                    yield Row(str(path), number, _parsed(text))


def _within(name: str, value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"{name}.{key}"
            yield from _within(f"{name}.{key}", inner)


def _parsed(text: str) -> Mapping[str, object] | UnreadableError:
    """A line's object; a byte order mark before it is no part of it."""
    try:
        values = json.loads(text.lstrip("\ufeff"))
    except RecursionError:
        return UnreadableError("nested too deeply")
    except ValueError:
        return UnreadableError("not JSON")
    if not isinstance(values, dict):
        return UnreadableError("not a JSON object")
    try:
        "".join(values).encode("utf-8")
    except UnicodeEncodeError:
        return UnreadableError("a column's name is not valid UTF-8")
    return values


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with _open(path) as file:
            yield from enumerate(file, 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is a damaged gzip file ({error}); download it again") from None


def _open(path: Path) -> TextIO:
    with path.open("rb") as file:
        start = file.read(2)
    if start in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{path} is UTF-16; save it as UTF-8")
    zipped = start == b"\x1f\x8b"
    if zipped != (path.suffix == ".gz") and start:
        what = "gzip; end its name in .gz" if zipped else "no gzip file; take .gz off its name"
        raise UserError(f"{path} is {what}")
    if zipped:
        return gzip.open(path, "rt", encoding="utf-8", errors="surrogateescape")
    return path.open(encoding="utf-8", errors="surrogateescape")
