"""`pool=parquet`: your questions and traces in Parquet files.

    python run.py +experiment=s1k pool=parquet pool.path=my_pool/ +pool.columns.attempt=response

Files are streamed: memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x.errors import SettingError, UserError
from s1x.option import option, setting
from s1x.pool.columns import Found
from s1x.pool.files import FORMAT, find, hashes
from s1x.pool.mapped import MappedPool
from s1x.pool.rows import Row, arrow_names, arrow_rows

if TYPE_CHECKING:
    import pyarrow.parquet as pq

BATCH_ROWS = 1024


@option("pool", "parquet")
@dataclass(frozen=True)
class Parquet(MappedPool):
    """A pool in Parquet files of the same columns; `columns` maps our names to the files'."""

    path: str = setting(doc="a file, a folder or a glob", remedy="set pool.path=<file.parquet>")

    def fingerprint(self) -> dict[str, Any]:
        """Content hash of the files and the settings that change what is read."""
        return {
            "pool": "parquet",
            "format": FORMAT,
            "files": hashes(find(self.path, (".parquet",))),
            **self.reading(),
        }

    def write(self, folder: Path) -> dict[str, Any]:
        """Writes the pool in our columns; returns its counts.

        Raises:
            UserError: nothing to read, a damaged file, a missing column, too many bad rows.
        """
        source = ParquetFiles(find(self.path, (".parquet",)))
        return self.write_from(source, folder, "parquet", self.path, self.license)


@dataclass(frozen=True)
class ParquetFiles:
    """The rows of some files, never more than a few batches in memory."""

    files: Sequence[Path]

    def names(self, rows: Iterator[Row], nested: Collection[str]) -> Found:
        """The columns of the files' schemas; they must be the same in all of them."""
        found = [self._names(path) for path in self.files]
        for path, own in zip(self.files, found, strict=True):
            for other, theirs in zip(self.files, found, strict=True):
                if missing := set(theirs.columns) - set(own.columns):
                    name = min(missing)
                    raise UserError(f"{path} lacks the column {name} that {other} has")
        inner = dict.fromkeys(name for own in found for name in own.nested)
        return Found(found[0].columns, list(inner))

    def _names(self, path: Path) -> Found:
        with _opened(path) as file:
            return arrow_names(file.schema_arrow, str(path))

    def rows(self) -> Iterator[Row]:
        """All rows of all files."""
        for path in self.files:
            first = 0
            with _opened(path) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS):
                    yield from arrow_rows(batch, str(path), first)
                    first += batch.num_rows


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """The file, opened so that big row groups are read in pieces.

    Raises:
        SettingError: it is not Parquet.
        UserError: it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    if not is_parquet:
        raise SettingError(
            "pool.path", "a Parquet file", str(path), "use pool=jsonl for JSON lines"
        )
    try:
        with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as opened:
            yield opened
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"{path} is damaged or cut ({reason}); make or download it again") from None
