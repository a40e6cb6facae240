"""Rows of other people's data, from whatever they stand in to a pool's folder: one way for all.

JSON lines, Parquet files and data sets of the hub differ in how a row is read; what a value means,
which rows are bad, how they are named and counted is written here once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from s1x.errors import UserError
from s1x.pool.columns import Found, schema
from s1x.pool.values import UnreadableError, as_text, convert, reach
from s1x.pool.writer import ROWS_PER_GROUP, PoolWriter

if TYPE_CHECKING:
    import pyarrow as pa

MAX_COLUMNS = 1000


class Row(NamedTuple):
    """A row as it came: its file, its line (or place) from 1, its values or why there are none."""

    file: str
    line: int
    values: Mapping[str, object] | UnreadableError


def write_rows(
    rows: Iterable[Row],
    mapping: Mapping[str, str],
    others: Mapping[str, str],
    folder: Path,
    max_bad_fraction: float,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Writes a pool folder; gives its counts.

    Args:
        mapping: {our name: the data's}.
        others: {name in the pool: the data's} of columns that pass through as text.
        about: what else `pool.json` says.

    Raises:
        UserError: an empty pool or too many bad rows.
    """
    import pyarrow as pa

    wanted = schema(mapping, others)
    with PoolWriter(folder, wanted) as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            try:
                batch.append(_converted(row.values, mapping, others))
            except UnreadableError as reason:
                writer.bad(row.file, row.line, str(reason))
            if len(batch) == ROWS_PER_GROUP:
                writer.add(pa.Table.from_pylist(batch, schema=wanted))
                batch = []
        writer.add(pa.Table.from_pylist(batch, schema=wanted))
        return writer.finish(max_bad_fraction, about)


def _converted(
    values: Mapping[str, object] | UnreadableError,
    mapping: Mapping[str, str],
    others: Mapping[str, str],
) -> dict[str, Any]:
    if isinstance(values, UnreadableError):
        raise values
    try:
        row: dict[str, Any] = {o: convert(o, reach(values, t)) for o, t in mapping.items()}
        row.update({name: as_text(values.get(theirs)) for name, theirs in others.items()})
    except RecursionError:
        raise UnreadableError("nested too deeply") from None
    return row


def check_columns(names: Sequence[str], where: str) -> None:
    """Refuses column names that cannot be a pool's.

    Raises:
        UserError: two of one name, or so many that they must be data (ids as keys of the rows).
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"pool: {where} has two columns {twice[0]}; rename one")
    if len(names) > MAX_COLUMNS:
        raise UserError(
            f"pool: {where} has more than {MAX_COLUMNS:,} columns, such as {names[-1]}; "
            "put what is data into a value, not into a key"
        )


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
    for place, values in enumerate(_values(batch), first + 1):
        yield Row(file, place, values)


def _values(batch: pa.RecordBatch) -> Iterable[dict[str, object] | UnreadableError]:
    try:
        return batch.to_pylist()  # type: ignore[no-any-return]
    except ValueError:  # somewhere in it is a value that Python cannot have
        return [_value(batch.slice(place, 1)) for place in range(batch.num_rows)]


def _value(row: pa.RecordBatch) -> dict[str, object] | UnreadableError:
    try:
        values: dict[str, object] = row.to_pylist()[0]
    except UnicodeDecodeError:
        return UnreadableError("not valid UTF-8")
    except ValueError as error:
        return UnreadableError(f"cannot be read ({str(error).splitlines()[0]})")
    return values
