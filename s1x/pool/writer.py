"""Writes a pool folder: Parquet parts, the rows that could not be read, and the counts.

JSON lines, Parquet files and data sets of the hub differ in how a row is read; which rows are bad,
how they are named and counted is written here once. Rows stream through in batches, so a pool of
any size needs the memory of one row group.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from s1x.errors import SettingError, UserError
from s1x.jsonl import UnreadableError, Values
from s1x.pool.columns import as_text, convert, reach

ROWS_PER_GROUP = 1024
ROWS_PER_PART = 65_536
COUNTS = "pool.json"
BAD_ROWS = "bad_rows.jsonl"


class Row(NamedTuple):
    """A row as it came: its file, its line (or place) from 1, its values or why there are none."""

    file: str
    line: int
    values: Values


class PoolWriter:
    """Collects batches of one schema into `part-00000.parquet`, ... and counts the bad rows.

    Use it as a context manager, then call `finish`.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("part-*.parquet"):
            old.unlink()
        self.folder, self.schema = folder, schema
        self.num_rows = self._num_parts = 0
        self._part: pq.ParquetWriter | None = None
        self._reasons: Counter[str] = Counter()
        self._first_bad = ""
        self._bad = (folder / BAD_ROWS).open("w", encoding="utf-8")

    def __enter__(self) -> PoolWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_part()
        self._bad.close()

    def add_rows(
        self, rows: Iterable[Row], mapping: Mapping[str, str], others: Mapping[str, str]
    ) -> None:
        """Writes rows as they came.

        Args:
            mapping: {our name: the data's}.
            others: {name in the pool: the data's} of columns that pass through as text.
        """
        batch: list[dict[str, object]] = []
        for row in rows:
            try:
                batch.append(_converted(row.values, mapping, others))
            except UnreadableError as reason:
                self._note(row, str(reason))
            except RecursionError:
                self._note(row, "nested too deeply")
            if len(batch) == ROWS_PER_GROUP:
                self.add(pa.Table.from_pylist(batch, schema=self.schema))
                batch = []
        self.add(pa.Table.from_pylist(batch, schema=self.schema))

    def add(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Writes rows of the pool's schema as one row group."""
        if not batch.num_rows:
            return
        if self._part is None:
            path = self.folder / f"part-{self._num_parts:05d}.parquet"
            self._part = pq.ParquetWriter(path, self.schema)
            self._num_parts += 1
        self._part.write(batch, row_group_size=ROWS_PER_GROUP)
        before, self.num_rows = self.num_rows, self.num_rows + batch.num_rows
        if self.num_rows // ROWS_PER_PART > before // ROWS_PER_PART:
            self._close_part()

    def _note(self, row: Row, reason: str) -> None:
        self._first_bad = self._first_bad or f"{row.file}, line {row.line}: {reason}"
        self._reasons[reason] += 1
        note = {"file": row.file, "line": row.line, "reason": reason}
        self._bad.write(json.dumps(note, ensure_ascii=False) + "\n")

    def finish(self, max_bad_fraction: float, about: Mapping[str, object]) -> dict[str, object]:
        """Checks the counts and writes them to `pool.json`.

        Args:
            max_bad_fraction: more bad rows than this share stop the run.
            about: what else to write down of the pool (JSON-able).

        Raises:
            UserError: an empty pool, or too many bad rows; names the first one.
        """
        num_bad = self._reasons.total()
        rows_read = self.num_rows + num_bad
        if not rows_read:
            raise UserError(f"pool: {about.get('name', 'it')} has no rows; check pool.path")
        if num_bad > max_bad_fraction * rows_read or not self.num_rows:
            raise SettingError(
                "pool.max_bad_fraction",
                f"{num_bad / rows_read:.3g} or more for this pool ({num_bad} of "
                f"{rows_read} rows cannot be read; the first: {self._first_bad})",
                max_bad_fraction,
                "mend the rows, map pool.columns, or raise it",
            )
        counts = {
            **about,
            "rows_read": rows_read,
            "rows": self.num_rows,
            "bad_rows": num_bad,
            "bad_reasons": dict(sorted(self._reasons.items())),
        }
        text = json.dumps(counts, indent=1, ensure_ascii=False, sort_keys=True)
        (self.folder / COUNTS).write_text(text, encoding="utf-8")
        return counts

    def _close_part(self) -> None:
        if self._part is not None:
            self._part.close()
        self._part = None


def _converted(
    values: Values, mapping: Mapping[str, str], others: Mapping[str, str]
) -> dict[str, object]:
    if isinstance(values, UnreadableError):
        raise values
    row: dict[str, object] = {ours: convert(ours, reach(values, m)) for ours, m in mapping.items()}
    return row | {name: as_text(values.get(theirs)) for name, theirs in others.items()}
