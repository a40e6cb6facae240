"""A pool's Parquet parts as a table that is scanned: texts are never held whole.

Rows are named by their number in the pool.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from s1x.errors import UserError

BATCH_ROWS = 2048


class PoolCounts(TypedDict, total=False):
    """What the pool stage wrote of itself (`pool.json`)."""

    name: str
    license: str
    rows_read: int
    bad_reasons: dict[str, int]


class PoolTable:
    """The rows of a pool folder (`part-*.parquet`, else every Parquet file in it).

    Raises:
        UserError: a folder without Parquet files, or without rows.
    """

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("part-*.parquet")) or sorted(folder.glob("*.parquet"))
        if not files:
            raise UserError(
                f"pool: {folder} has no Parquet files; run the pool stage again (force=[pool])"
            )
        self.folder, self.files = folder, files
        self.schema = pq.read_schema(files[0]).remove_metadata()
        self._sizes: list[int] = [pq.read_metadata(file).num_rows for file in files]
        self.num_rows = sum(self._sizes)
        if not self.num_rows:
            raise UserError(f"pool: {folder} is empty; check pool.path")
        self._counted = pl.DataFrame(schema={"row": pl.UInt32, "counted": pl.Int64})

    @property
    def names(self) -> list[str]:
        """The columns there are, `trace_tokens` among them once some were counted."""
        counted = [] if self._counted.is_empty() else ["trace_tokens"]
        return list(dict.fromkeys([*self.schema.names, *counted]))

    def counts(self) -> PoolCounts:
        """What the pool stage wrote of itself; nothing where it did not make the pool."""
        path = self.folder / "pool.json"
        counts: PoolCounts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return counts

    def add_trace_tokens(self, counted: pl.DataFrame) -> None:
        """Adds counts (`row`, `counted`) for rows whose trace_tokens the pool does not give."""
        self._counted = pl.concat([self._counted, counted])

    def need(self, columns: Sequence[str]) -> None:
        """Raises the user's error for the first column that the pool lacks."""
        for name in columns:
            if name not in self.names:
                raise UserError(
                    f"the pool has no column {name}; map it with "
                    f"+pool.columns.{name}=<your column>, make it with stages=[annotate], "
                    f"or leave the step out (the pool has {', '.join(self.names)})"
                )

    def lazy(self, columns: Sequence[str], rows: pl.Series | None = None) -> pl.LazyFrame:
        """`row` and these columns of some rows (sorted numbers; None: all), to be scanned."""
        frame = pl.scan_parquet(self.files, glob=False, row_index_name="row")
        if rows is not None and len(rows) < self.num_rows:
            frame = frame.filter(pl.col("row").is_in(rows.implode()))
        return self._select(frame, columns)

    def batches(self, columns: Sequence[str], rows: pl.Series) -> Iterator[pl.DataFrame]:
        """The same, in pieces that fit into memory; where no row is wanted nothing is read."""
        first = 0
        for path, size in zip(self.files, self._sizes, strict=True):
            for start in range(0, size, BATCH_ROWS):
                number = min(BATCH_ROWS, size - start)
                edges = (first + start, first + start + number)
                low, high = (rows.search_sorted(edge, side="left") for edge in edges)
                if high > low:
                    part = pl.scan_parquet(path, glob=False).slice(start, number)
                    part = part.with_row_index("row", edges[0])
                    yield self._select(part, columns).collect()[rows[low:high] - edges[0]]
            first += size

    def _select(self, frame: pl.LazyFrame, columns: Sequence[str]) -> pl.LazyFrame:
        self.need(columns)
        if "trace_tokens" in columns and not self._counted.is_empty():
            known = [pl.col("trace_tokens")] if "trace_tokens" in self.schema.names else []
            counted = self._counted.lazy()
            frame = frame.join(counted, on="row", how="left", maintain_order="left")
            frame = frame.with_columns(trace_tokens=pl.coalesce("counted", *known))
        return frame.select("row", *columns)

    def scan(self, columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
        """All rows as Arrow batches: to write them anew."""
        for path in self.files:
            with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
                for batch in file.iter_batches(batch_rows, columns=list(columns)):
                    yield batch.select(list(columns))
