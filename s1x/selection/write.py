"""Files of a selection: the chosen rows, the same in s1K's published columns, and those dropped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x.errors import UserError
from s1x.hub import hub_answers

if TYPE_CHECKING:
    import pyarrow as pa

    from s1x.selection.stage import Choice
    from s1x.selection.table import Numbers, PoolTable

WRITTEN_FILES = (
    "README.md",
    "chosen.parquet",
    "s1k.parquet",
    "dropped.parquet",
    "*.png",
    "funnel.json",
)


def chosen(table: PoolTable, numbers: Numbers, path: Path) -> None:
    """The chosen rows with all the pool's columns, and `row`, their number in the pool."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = list(table.schema.names)
    derived = [name for name in table.names if name not in texts]
    fields = [pa.field("row", pa.int64()), *table.schema]
    fields += [pa.field(name, table.column(name).type) for name in derived]
    schema = pa.schema(fields)
    with pq.ParquetWriter(path, schema) as file:
        for rows, batch in table.scan(texts, numbers):
            columns: dict[str, Any] = {"row": pa.array(rows)}
            columns.update({name: batch.column(name) for name in texts})
            counted = [n for n in texts if n == "trace_tokens"]
            columns.update(_small_columns(table, [*derived, *counted], rows, schema))
            file.write_table(pa.table(columns, schema=schema))


def _small_columns(
    table: PoolTable, names: Sequence[str], rows: Numbers, schema: pa.Schema
) -> dict[str, Any]:
    """Columns that are held whole, for these rows, in the file's types."""
    import pyarrow as pa

    places = pa.array(rows)
    return {n: table.column(n).take(places).cast(schema.field(n).type) for n in names}


def published(table: PoolTable, numbers: Numbers, path: Path) -> None:
    """The chosen rows in the columns of s1K, which others' training scripts read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.string()
    names = ("solution", "question", "cot_type", "source_type", "metadata", "cot")
    schema = pa.schema(
        [*((n, text) for n in names), ("thinking_trajectories", pa.list_(text)), ("attempt", text)]
    )
    ours = {
        "cot_type": "domain",
        "source_type": "source",
        "thinking_trajectories": "reasoning_trace",
    }
    wanted = {n: n if n in table.schema.names else ours.get(n, n) for n in schema.names}
    there = {theirs: own for theirs, own in wanted.items() if own in table.schema.names}
    with pq.ParquetWriter(path, schema) as file:
        for _, batch in table.scan(list(dict.fromkeys(there.values())), numbers):
            columns: dict[str, Any] = {
                n: pa.nulls(batch.num_rows, schema.field(n).type) for n in names
            }
            columns.update({n: batch.column(own).cast(text) for n, own in there.items()})
            columns["thinking_trajectories"] = _as_lists(
                columns.get("thinking_trajectories"), batch
            )
            columns.setdefault("attempt", pa.nulls(batch.num_rows, text))
            file.write_table(pa.table({n: columns[n] for n in schema.names}, schema=schema))


def _as_lists(texts: Any, batch: pa.RecordBatch) -> pa.Array:
    import pyarrow as pa

    if texts is None:
        return pa.nulls(batch.num_rows, pa.list_(pa.string()))
    return pa.array([None if t is None else [t] for t in texts.to_pylist()], pa.list_(pa.string()))


def dropped(table: PoolTable, choice: Choice, path: Path) -> None:
    """Every row that was not chosen: its number and question, the step, the reason, what was
    found."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.string()
    small = [n for n in ("source", "domain", "trace_tokens") if n in table.names]
    schema = pa.schema(
        [
            ("row", pa.int64()),
            ("step", text),
            ("reason", text),
            ("detail", text),
            ("question", text),
        ]
        + [(n, pa.int64() if n == "trace_tokens" else text) for n in small]
    )
    numbers = np.flatnonzero(choice.step_of >= 0)
    steps = pa.array([entry["step"] for entry in choice.funnel], text)
    reasons = pa.array(choice.reasons, text)
    with pq.ParquetWriter(path, schema) as file:
        for rows, batch in table.scan(["question"], numbers, 16_384):
            columns: dict[str, Any] = {
                "row": pa.array(rows),
                "step": steps.take(pa.array(choice.step_of[rows])),
                "reason": reasons.take(pa.array(choice.reason_of[rows])),
                "detail": pa.array([choice.details.get(row) for row in rows.tolist()], text),
                "question": batch.column("question"),
            }
            columns.update(_small_columns(table, small, rows, schema))
            file.write_table(pa.table(columns, schema=schema))


def push(folder: Path, repository: str, private: bool) -> str:
    """Uploads a selection's files to the hub as a data set; returns its address.

    Raises:
        UserError: the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    reason = "no answer"
    if hub_answers():
        try:
            api = HfApi()
            page = api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repository,
                repo_type="dataset",
                folder_path=folder,
                allow_patterns=list(WRITTEN_FILES),
                commit_message="Selection by s1x",
            )
            return str(page)
        except Exception as error:  # of the client or the network, dozens of kinds
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise UserError(
        f"selection.push_to_hub {repository}: the hub refused or cannot be reached ({reason}); "
        f"the chosen rows are in {folder}, log in by `hf auth login` and the same command "
        "uploads them, or set selection.push_to_hub=null"
    )
