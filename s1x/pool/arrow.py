"""Arrow tables as they come (Parquet files, hub data sets) made into a pool's columns.

Columns of the expected types are cast whole; any other type is read value by value, so that the
rows that cannot be read are named one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x.pool import columns as names
from s1x.pool.values import UnreadableError, convert
from s1x.pool.writer import PoolWriter

if TYPE_CHECKING:
    import pyarrow as pa


def write_batches(
    batches: Iterable[tuple[str, int, pa.RecordBatch]],
    mapping: dict[str, str],
    others: Sequence[str],
    folder: Path,
    max_bad_fraction: float,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Writes a pool folder from (file, rows before this batch, batch) triples; returns its counts.

    Raises:
        UserError: an empty pool or too many bad rows.
    """
    schema = names.schema(list(mapping), others)
    with PoolWriter(folder, schema) as writer:
        for file, first, batch in batches:
            writer.add(_convert(batch, mapping, schema, writer, file, first))
        return writer.finish(max_bad_fraction, about)


def read_parquet(
    files: Sequence[Path], max_rows: int | None
) -> Iterator[tuple[str, int, pa.RecordBatch]]:
    """Streams Parquet files in batches of 1,024 rows, never holding more than a few of them.

    Raises:
        SettingError: a file that is not Parquet.
    """
    left = max_rows
    for path in files:
        first = 0
        for batch in open_parquet(path).iter_batches(batch_size=1024):
            if left is not None:
                batch = batch.slice(0, left)
                left -= batch.num_rows
            yield str(path), first, batch
            first += batch.num_rows
            if left == 0:
                return


def open_parquet(path: Path) -> Any:
    """The file opened so that big row groups are read in pieces.

    Raises:
        SettingError: it is not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from s1x.errors import SettingError

    try:
        return pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    except pa.ArrowInvalid:
        raise SettingError(
            "pool.path", "a Parquet file", str(path), "use pool=jsonl for JSON lines"
        ) from None


def _convert(
    batch: pa.RecordBatch,
    mapping: dict[str, str],
    schema: pa.Schema,
    writer: PoolWriter,
    file: str,
    first: int,
) -> pa.RecordBatch:
    import pyarrow as pa

    bad: dict[int, str] = {}
    arrays = []
    for field in schema:
        source = _reach(batch, mapping.get(field.name, field.name))
        if field.name in mapping:
            arrays.append(_column(field.name, field.type, source, bad))
        else:
            arrays.append(_as_text(source))
    _check_questions(arrays[schema.get_field_index("question")], bad)
    made = pa.RecordBatch.from_arrays(arrays, schema=schema)
    if not bad:
        return made
    for row in sorted(bad):
        writer.bad(file, first + row + 1, bad[row])
    keep = [row not in bad for row in range(batch.num_rows)]
    return made.filter(pa.array(keep))


def _reach(batch: pa.RecordBatch, name: str) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if name in batch.schema.names:
        return batch.column(name)
    head, *rest = name.split(".")
    array = batch.column(head)
    for key in rest:
        if not pa.types.is_struct(array.type) or array.type.get_field_index(key) < 0:
            return pa.nulls(batch.num_rows)
        array = pc.struct_field(array, key)
    return array


def _column(name: str, wanted: Any, array: pa.Array, bad: dict[int, str]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import types

    kind = array.type
    if types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if types.is_null(kind) or (kind == wanted and wanted != pa.int64()):
        return array.cast(wanted)
    is_text = types.is_large_string(kind) or types.is_string_view(kind)
    if wanted == pa.string() and is_text:
        return array.cast(wanted)
    is_list = types.is_list(kind) or types.is_large_list(kind)
    if wanted == pa.string() and is_list and types.is_string(kind.value_type):
        return pc.binary_join(array, "\n")
    if wanted == pa.int64() and types.is_integer(kind) and not pc.any(pc.less(array, 0)).as_py():
        return array.cast(wanted)
    values: list[Any] = []
    for row, value in enumerate(array.to_pylist()):
        try:
            values.append(convert(name, value))
        except UnreadableError as reason:
            bad.setdefault(row, str(reason))
            values.append(None)
    return pa.array(values, wanted)


def _check_questions(questions: pa.Array, bad: dict[int, str]) -> None:
    import pyarrow.compute as pc

    empty = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(questions)), 0)
    for reason, mask in (("no question", questions.is_null()), ("empty question", empty)):
        if pc.any(mask).as_py():
            for row, value in enumerate(mask.to_pylist()):
                if value:
                    bad.setdefault(row, reason)


def _as_text(array: pa.Array) -> pa.Array:
    import json

    import pyarrow as pa
    from pyarrow import types

    if types.is_string(array.type):
        return array
    if (
        types.is_large_string(array.type)
        or types.is_null(array.type)
        or types.is_dictionary(array.type)
    ):
        return array.cast(pa.string())
    texts = [
        None
        if v is None
        else v
        if isinstance(v, str)
        else json.dumps(v, ensure_ascii=False, default=str)
        for v in array.to_pylist()
    ]
    return pa.array(texts, pa.string())
