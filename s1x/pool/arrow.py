"""Columns and rows of Arrow tables, for Parquet files and data sets of the hub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from s1x.jsonl import UnreadableError, Values
from s1x.pool.columns import Found, check_columns
from s1x.pool.writer import Row

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 1024


def arrow_names(schema: pa.Schema, where: str) -> Found:
    """The columns of an Arrow schema and the fields of its structs.

    Raises:
        UserError: two columns of one name, or too many.
    """
    check_columns(schema.names, where)
    return Found(list(schema.names), [name for field in schema for name in _within(field)])


def _within(field: pa.Field) -> Iterator[str]:
    import pyarrow as pa

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
        return UnreadableError(f"cannot be read ({str(error).splitlines()[0]})")
    return values
