"""`pool=jsonl`: your questions and traces, one JSON object a line.

    python run.py +experiment=s1k pool=jsonl pool.path=my.jsonl +pool.columns.reasoning_trace=cot

A line that is not JSON, or whose values cannot be read, is reported with file and line and counted
in the funnel; more than `max_bad_fraction` of them stop the run.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from s1x.errors import UserError
from s1x.option import option, setting
from s1x.pool import columns as names
from s1x.pool.files import FORMAT, find, hashes
from s1x.pool.mapped import MappedPool
from s1x.pool.values import UnreadableError, convert
from s1x.pool.writer import ROWS_PER_GROUP, PoolWriter

if TYPE_CHECKING:
    import pyarrow as pa

LOOK_AHEAD = 1000
"""Lines read before the columns are settled."""


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
            UserError: nothing to read, a missing column, too many bad rows.
        """
        files = find(self.path, ENDINGS)
        lines = itertools.islice(_lines(files), self.max_rows)
        head = list(itertools.islice(lines, LOOK_AHEAD))
        found = _names(head)
        if head and not found:
            file, line, _ = head[0]
            raise UserError(f"{file}, line {line}: not a JSON object; pool=jsonl reads one a line")
        if not head:
            raise UserError(
                f"pool.path {self.path} has no rows; give a file with one object a line"
            )
        mapping = names.resolve(self.columns, found, self.path)
        others = [n for n in found if n not in mapping.values() and n not in mapping]
        schema = names.schema(list(mapping), others)
        with PoolWriter(folder, schema) as writer:
            rows = itertools.chain(head, lines)
            for batch in _batches(rows, mapping, others, schema, writer):
                writer.add(batch)
            about = {
                "name": self.path,
                "kind": "jsonl",
                "columns": mapping,
                "license": self.license,
            }
            return writer.finish(self.max_bad_fraction, about)


ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".ndjson")
Line = tuple[str, int, str]


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="surrogateescape")
    return path.open(encoding="utf-8", errors="surrogateescape")


def _lines(files: Sequence[Path]) -> Iterator[Line]:
    """(file, line number from 1, text) of every line that is not blank."""
    for path in files:
        with _open(path) as file:
            for number, text in enumerate(file, 1):
                if text.strip():
                    yield str(path), number, text


def _names(lines: Sequence[Line]) -> list[str]:
    """The keys of these lines' objects, in order of appearance."""
    found: dict[str, None] = {}
    for _, _, text in lines:
        try:
            value = json.loads(text)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.update(dict.fromkeys(value))
    return list(found)


def _batches(
    rows: Iterator[Line],
    mapping: dict[str, str],
    others: Sequence[str],
    schema: pa.Schema,
    writer: PoolWriter,
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    values: dict[str, list[Any]] = {name: [] for name in schema.names}
    paths = {ours: theirs.split(".") for ours, theirs in mapping.items()}
    for file, line, text in rows:
        try:
            row = _row(text, mapping, paths, others)
        except UnreadableError as reason:
            writer.bad(file, line, str(reason))
            continue
        for name, value in row.items():
            values[name].append(value)
        if len(values["question"]) == ROWS_PER_GROUP:
            yield pa.RecordBatch.from_pydict(values, schema=schema)
            values = {name: [] for name in schema.names}
    yield pa.RecordBatch.from_pydict(values, schema=schema)


def _row(
    text: str, mapping: dict[str, str], paths: dict[str, list[str]], others: Sequence[str]
) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise UnreadableError("not JSON") from None
    if not isinstance(value, dict):
        raise UnreadableError("not a JSON object")
    row = {}
    for ours, theirs in mapping.items():
        raw = value[theirs] if theirs in value else _reach(value, paths[ours])
        row[ours] = convert(ours, raw)
    for name in others:
        row[name] = _as_text(value.get(name))
    return row


def _reach(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _as_text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()
