"""`pool=parquet`: your questions and traces in Parquet files.

    python run.py +experiment=s1k pool=parquet pool.path=my_pool/ +pool.columns.attempt=response

Files are streamed: memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from s1x.errors import SettingError, UserError, reason_of
from s1x.jsonl import UnreadableError, Values
from s1x.option import option
from s1x.pool.columns import Found, check_columns
from s1x.pool.pool import FilePool
from s1x.pool.writer import Row

BATCH_ROWS = 1024


@option("pool", "parquet")
@dataclass(frozen=True)
class Parquet(FilePool):
    """A pool in Parquet files of the same columns; `columns` maps our names to the files'."""

    kind: ClassVar[str] = "parquet"
    endings: ClassVar[tuple[str, ...]] = (".parquet",)

    def source(self, nested: set[str]) -> tuple[str, Found, Iterator[Row]]:
        """The columns of the files' schemas, the same in all, and the rows of all files."""
        files = self.files()
        return self.path, _names(files), _rows(files)


def _names(files: Sequence[Path]) -> Found:
    found = {}
    for path in files:
        with _opened(path) as file:
            found[path] = arrow_names(file.schema_arrow, str(path))
    for path, own in found.items():
        for other, theirs in found.items():
            if missing := set(theirs.columns) - set(own.columns):
                raise UserError(f"{path} lacks the column {min(missing)} that {other} has")
    inner = dict.fromkeys(name for own in found.values() for name in own.nested)
    return Found(found[files[0]].columns, list(inner))


def _rows(files: Sequence[Path]) -> Iterator[Row]:
    for path in files:
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
    with path.open("rb") as file:
        if file.read(4) != b"PAR1":
            remedy = "use pool=jsonl for JSON lines"
            raise SettingError("pool.path", "a Parquet file", str(path), remedy)
    try:
        with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as opened:
            yield opened
    except (pa.ArrowException, OSError) as error:
        reason = reason_of(error)
        raise UserError(f"{path} is damaged or cut ({reason}); make or download it again") from None


# -- Arrow, of Parquet files and of data sets of the hub -------------------------------------------


def arrow_names(schema: pa.Schema, where: str) -> Found:
    """The columns of an Arrow schema and the fields of its structs.

    Raises:
        UserError: two columns of one name, or too many.
    """
    check_columns(schema.names, where)
    return Found(list(schema.names), [name for field in schema for name in _within(field)])


def _within(field: pa.Field) -> Iterator[str]:
    if pa.types.is_struct(field.type):
        for place in range(field.type.num_fields):
            inner = field.type.field(place)
            yield f"{field.name}.{inner.name}"
            yield from (f"{field.name}.{name}" for name in _within(inner))


def arrow_rows(batch: pa.RecordBatch, file: str, first: int) -> Iterator[Row]:
    """The rows of an Arrow batch; `first` rows of the file came before it."""
    values: list[Values]
    try:
        values = batch.to_pylist()
    except ValueError:  # somewhere in it is a value that Python cannot have
        values = [_value(batch.slice(place, 1)) for place in range(batch.num_rows)]
    for place, row in enumerate(values, first + 1):
        yield Row(file, place, row)


def _value(row: pa.RecordBatch) -> Values:
    try:
        values: dict[str, object] = row.to_pylist()[0]
    except UnicodeDecodeError:
        return UnreadableError("not valid UTF-8")
    except ValueError as error:
        return UnreadableError(f"cannot be read ({reason_of(error)})")
    return values
