"""A pool's Parquet parts as a table that is scanned: texts are never held whole.

Rows are named by their number in the pool.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from s1x.errors import UserError

BATCH_ROWS = 2048


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
        self._sizes = [
            pl.scan_parquet(f, glob=False).select(pl.len()).collect().item() for f in files
        ]
        self.num_rows: int = sum(self._sizes)
        if not self.num_rows:
            raise UserError(f"pool: {folder} is empty; check pool.path")
        self._counted = pl.DataFrame(schema={"row": pl.UInt32, "counted": pl.Int64})

    @property
    def names(self) -> list[str]:
        """The columns there are, `trace_tokens` among them once some were counted."""
        counted = [] if self._counted.is_empty() else ["trace_tokens"]
        return list(dict.fromkeys([*self.schema.names, *counted]))

    def counts(self) -> dict[str, Any]:
        """What the pool stage wrote of itself (`pool.json`): rows read, bad rows, licence."""
        path = self.folder / "pool.json"
        counts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        assert isinstance(counts, dict)
        return counts

    def add_trace_tokens(self, counted: pl.DataFrame) -> None:
        """Adds counts (`row`, `counted`) for rows whose trace_tokens the pool does not give."""
        self._counted = pl.concat([self._counted, counted])

    def need(self, columns: Sequence[str]) -> None:
        """Raises the user's error for the first column that the pool lacks."""
        for name in columns:
            if name not in self.names:
                have = ", ".join(self.names)
                raise UserError(
                    f"the pool has no column {name}; map it with "
                    f"+pool.columns.{name}=<your column>, "
                    f"make it with stages=[annotate], or leave the step out (the pool has {have})"
                )

    def lazy(self, columns: Sequence[str], rows: pl.Series | None = None) -> pl.LazyFrame:
        """`row` and these columns of some rows (sorted numbers; None: all), to be scanned."""
        frame = pl.scan_parquet(self.files, glob=False, row_index_name="row")
        if rows is not None and len(rows) < self.num_rows:
            frame = frame.filter(pl.col("row").is_in(rows.implode()))
        return self._select(frame, columns)

    def batches(
        self, columns: Sequence[str], rows: pl.Series | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[pl.DataFrame]:
        """The same, in pieces that fit into memory; where no row is wanted nothing is read."""
        first = 0
        for path, size in zip(self.files, self._sizes, strict=True):
            for start in range(0, size, batch_rows):
                number = min(batch_rows, size - start)
                wanted = None if rows is None else _between(rows, first + start, number)
                if wanted is None or len(wanted):
                    part = pl.scan_parquet(path, glob=False).slice(start, number)
                    part = part.with_row_index("row", first + start)
                    batch = self._select(part, columns).collect()
                    yield batch if wanted is None else batch[wanted - (first + start)]
            first += size

    def _select(self, frame: pl.LazyFrame, columns: Sequence[str]) -> pl.LazyFrame:
        self.need(columns)
        if "trace_tokens" in columns and not self._counted.is_empty():
            known = [pl.col("trace_tokens")] if "trace_tokens" in self.schema.names else []
            counted = self._counted.lazy()
            frame = frame.join(counted, on="row", how="left", maintain_order="left")
            frame = frame.with_columns(trace_tokens=pl.coalesce("counted", *known))
        return frame.select("row", *columns)

    def scan(
        self, columns: Sequence[str], batch_rows: int = BATCH_ROWS
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """All rows as Arrow batches, each with the number of its first row: to write them anew."""
        first = 0
        for path in self.files:
            with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
                for batch in file.iter_batches(batch_rows, columns=list(columns)):
                    yield first, batch.select(list(columns))
                    first += batch.num_rows


def _between(rows: pl.Series, first: int, number: int) -> pl.Series:
    start, end = (rows.search_sorted(edge, side="left") for edge in (first, first + number))
    return rows[start:end]
