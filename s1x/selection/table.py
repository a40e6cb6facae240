"""A pool's Parquet parts as columns: small ones whole, texts streamed.

Memory does not grow with the texts: a column of texts is only ever seen a batch at a time, and row
groups in which no row survives are not read at all. Rows are named by their number in the pool.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Numbers = npt.NDArray[np.int64]

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
        self.schema = self._open(files[0]).schema_arrow
        self.num_rows = sum(self._open(f).metadata.num_rows for f in files)
        if not self.num_rows:
            raise UserError(f"pool: {folder} is empty; check pool.path")
        self._small: dict[str, pa.Array] = {}
        self._counts: dict[str, Any] | None = None

    @property
    def names(self) -> list[str]:
        """The columns there are, derived ones included."""
        return [*self.schema.names, *(n for n in self._small if n not in self.schema.names)]

    def counts(self) -> dict[str, Any]:
        """What the pool stage wrote of itself (`pool.json`): rows read, bad rows, licence."""
        path = self.folder / "pool.json"
        if self._counts is None:
            self._counts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return self._counts

    def column(self, name: str) -> pa.Array:
        """A small column whole, one value a row; texts come dictionary-encoded.

        Raises:
            UserError: the pool lacks the column; names the remedy.
        """
        import pyarrow as pa

        if name not in self._small:
            self.need([name])
            encode = [name] if pa.types.is_string(self.schema.field(name).type) else None
            chunks = []
            for path in self.files:
                table = self._open(path, encode).read(columns=[name], use_threads=False)
                chunks += table.column(0).chunks
            if encode:
                whole = pa.chunked_array(chunks).unify_dictionaries()
                self._small[name] = whole.combine_chunks()
            else:
                self._small[name] = pa.chunked_array(
                    chunks, self.schema.field(name).type
                ).combine_chunks()
            if isinstance(
                self._small[name], pa.ChunkedArray
            ):  # one chunk stays chunked in old Arrow
                self._small[name] = self._small[name].chunk(0)
        return self._small[name]

    def null_count(self, name: str) -> int:
        """Rows in which a column of the files is null, without reading it."""
        count = 0
        for path in self.files:
            file = self._open(path)
            place = file.schema_arrow.names.index(name)
            for group in range(file.num_row_groups):
                count += file.metadata.row_group(group).column(place).statistics.null_count
        return count

    def derive(self, name: str, values: pa.Array) -> None:
        """Adds or replaces a small column, one value a row of the pool."""
        assert len(values) == self.num_rows
        self._small[name] = values

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

    def scan(
        self, columns: Sequence[str], rows: Numbers | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[tuple[Numbers, pa.RecordBatch]]:
        """Streams columns of some rows (sorted row numbers; None: all), in the pool's order.

        Yields:
            (row numbers, batch of these rows) pairs.
        """
        import numpy as np
        import pyarrow as pa

        self.need(columns)
        first = 0
        for path in self.files:
            file = self._open(path)
            for group in range(file.num_row_groups):
                size = file.metadata.row_group(group).num_rows
                if rows is not None and _between(rows, first, first + size).size == 0:
                    first += size
                    continue
                stream = file.iter_batches(
                    batch_size=batch_rows,
                    row_groups=[group],
                    columns=list(columns),
                    use_threads=False,
                )
                for batch in stream:
                    batch = batch.select(list(columns))
                    last = first + batch.num_rows
                    if rows is None:
                        yield np.arange(first, last), batch
                    elif (wanted := _between(rows, first, last)).size == batch.num_rows:
                        yield wanted, batch
                    elif wanted.size:
                        yield wanted, batch.take(pa.array(wanted - first))
                    first = last

    def _open(self, path: Path, encode: list[str] | None = None) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetFile(path, read_dictionary=encode, buffer_size=1 << 20, pre_buffer=False)


def _between(rows: Numbers, first: int, last: int) -> Numbers:
    import numpy as np

    start, end = np.searchsorted(rows, [first, last])
    return rows[start:end]
