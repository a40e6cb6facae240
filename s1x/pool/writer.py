"""Writes a pool folder: Parquet parts, the rows that could not be read, and the counts.

Rows stream through in batches, so a pool of any size needs the memory of one row group.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from s1x.errors import SettingError, UserError

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_GROUP = 1024
ROWS_PER_PART = 65_536
COUNTS = "pool.json"
BAD_ROWS = "bad_rows.jsonl"


class PoolWriter:
    """Collects batches of one schema into `part-00000.parquet`, ... and counts the bad rows.

    Use it as a context manager, then call `finish`.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("part-*.parquet"):
            old.unlink()
        self.folder, self.schema = folder, schema
        self.num_rows = 0
        self._part: Any = None
        self._part_rows = self._num_parts = self.num_bad = 0
        self._reasons: Counter[str] = Counter()
        self._first_bad = ""
        self._bad = (folder / BAD_ROWS).open("w", encoding="utf-8")

    def __enter__(self) -> PoolWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close_part()
        self._bad.close()

    def add(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Writes rows of the pool's schema as one row group."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
        if not table.num_rows:
            return
        if self._part is None:
            path = self.folder / f"part-{self._num_parts:05d}.parquet"
            self._part = pq.ParquetWriter(path, self.schema)
            self._num_parts += 1
        self._part.write_table(table, row_group_size=ROWS_PER_GROUP)
        self.num_rows += table.num_rows
        self._part_rows += table.num_rows
        if self._part_rows >= ROWS_PER_PART:
            self._close_part()

    def bad(self, file: str, line: int, reason: str) -> None:
        """Notes a row that cannot be read: its file, its line (or row) from 1, and why."""
        self._first_bad = self._first_bad or f"{file}, line {line}: {reason}"
        self._reasons[reason] += 1
        self.num_bad += 1
        row = {"file": file, "line": line, "reason": reason}
        self._bad.write(json.dumps(row, ensure_ascii=False) + "\n")

    def finish(self, max_bad_fraction: float, about: dict[str, Any]) -> dict[str, Any]:
        """Checks the counts and writes them to `pool.json`.

        Args:
            max_bad_fraction: more bad rows than this share stop the run.
            about: what else to write down of the pool (JSON-able).

        Raises:
            UserError: an empty pool, or too many bad rows; names the first one.
        """
        rows_read = self.num_rows + self.num_bad
        if not rows_read:
            raise UserError(f"pool: {about.get('name', 'it')} has no rows; check pool.path")
        if self.num_bad > max_bad_fraction * rows_read or not self.num_rows:
            raise SettingError(
                "pool.max_bad_fraction",
                f"{self.num_bad / rows_read:.3g} or more for this pool ({self.num_bad} of "
                f"{rows_read} rows cannot be read; the first: {self._first_bad})",
                max_bad_fraction,
                "mend the rows, map pool.columns, or raise it",
            )
        counts = {
            **about,
            "rows_read": rows_read,
            "rows": self.num_rows,
            "bad_rows": self.num_bad,
            "bad_reasons": dict(sorted(self._reasons.items())),
        }
        text = json.dumps(counts, indent=1, ensure_ascii=False, sort_keys=True)
        (self.folder / COUNTS).write_text(text, encoding="utf-8")
        return counts

    def _close_part(self) -> None:
        if self._part is not None:
            self._part.close()
        self._part, self._part_rows = None, 0
