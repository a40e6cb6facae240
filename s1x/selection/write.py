"""Files of a selection: the chosen rows, the same in s1K's published columns, and those dropped."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import jinja2
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from s1x.errors import UserError, reason_of
from s1x.hub import hub_answers
from s1x.selection.table import PoolTable

WRITTEN_FILES = ("README.md", "chosen.parquet", "s1k.parquet", "dropped.parquet", "funnel.json")
ROWS_PER_GROUP = 1024
CARD = Path(__file__).with_name("card.md.jinja")

TEXT = pa.string()
#: s1K's columns → ours, where they differ
PUBLISHED = {
    "solution": "solution",
    "question": "question",
    "cot_type": "domain",
    "source_type": "source",
    "metadata": "metadata",
    "cot": "cot",
    "thinking_trajectories": "reasoning_trace",
    "attempt": "attempt",
}


def chosen(table: PoolTable, rows: pl.Series, path: Path) -> None:
    """The chosen rows with all the pool's columns, and `row`, their number in the pool."""
    fields = [pa.field("row", pa.int64()), *table.schema]
    if "trace_tokens" not in table.schema.names and "trace_tokens" in table.names:
        fields.append(pa.field("trace_tokens", pa.int64()))
    _write(table.batches(table.names, rows), pa.schema(fields), path)


def published(table: PoolTable, rows: pl.Series, path: Path) -> None:
    """The chosen rows in the columns of s1K, which others' training scripts read."""
    there = table.schema.names
    own = {name: name if name in there else ours for name, ours in PUBLISHED.items()}
    columns = {
        name: (pl.col(ours) if ours in there else pl.lit(None)).cast(pl.String)
        for name, ours in own.items()
    }
    trace = columns["thinking_trajectories"]
    columns["thinking_trajectories"] = pl.when(trace.is_not_null()).then(pl.concat_list(trace))
    types = dict.fromkeys(columns, TEXT) | {"thinking_trajectories": pa.list_(TEXT)}
    read = [ours for ours in dict.fromkeys(own.values()) if ours in there]
    _write((b.select(**columns) for b in table.batches(read, rows)), pa.schema(types), path)


def dropped(table: PoolTable, frame: pl.DataFrame, path: Path) -> None:
    """Every row that was not chosen: its number and question, the step, the reason, what was
    found."""
    small = [n for n in ("source", "domain", "trace_tokens") if n in table.names]
    types = dict.fromkeys(("row", "step", "reason", "detail", "question", *small), TEXT)
    types |= {name: pa.int64() for name in ("row", "trace_tokens") if name in types}
    frame = frame.sort("row")

    def told() -> Iterator[pl.DataFrame]:
        first = 0
        for batch in table.batches(["question", *small], frame["row"]):
            yield pl.concat([frame.slice(first, batch.height), batch.drop("row")], how="horizontal")
            first += batch.height

    _write(told(), pa.schema(types), path)


def _write(frames: Iterable[pl.DataFrame], schema: pa.Schema, path: Path) -> None:
    """One Parquet file from frames; Arrow copies what is kept, so that no batch stays in memory."""
    with pq.ParquetWriter(path, schema) as file:
        waiting: list[pa.Table] = []
        for frame in frames:
            waiting.append(frame.select(schema.names).to_arrow().cast(schema))
            if sum(table.num_rows for table in waiting) >= ROWS_PER_GROUP:
                file.write_table(pa.concat_tables(waiting), ROWS_PER_GROUP)
                waiting = []
        file.write_table(pa.concat_tables([schema.empty_table(), *waiting]), ROWS_PER_GROUP)


def card(table: PoolTable, summary: Mapping[str, object], path: Path) -> None:
    """The dataset card; its front matter makes `datasets.load_dataset(folder)` work.

    Args:
        summary: what funnel.json holds.
    """
    names = [name for name in ("source", "license") if name in table.schema.names]
    origins: list[tuple[object, ...]] = []
    if names:
        groups = table.lazy(names).group_by(names).agg(rows=pl.len())
        most = groups.sort("rows", *names, descending=[True, *(False for _ in names)]).head(40)
        origins = most.collect().rows()
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters["json"] = functools.partial(json.dumps, ensure_ascii=False)
    template = environment.from_string(CARD.read_text(encoding="utf-8"))
    licence = table.counts().get("license") or "not given"
    text = template.render(summary, licence=licence, names=names, origins=origins)
    path.write_text(text, encoding="utf-8")


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
            reason = reason_of(error)
    raise UserError(
        f"selection.push_to_hub {repository}: the hub refused or cannot be reached ({reason}); "
        f"the chosen rows are in {folder}, log in by `hf auth login` and the same command "
        "uploads them, or set selection.push_to_hub=null"
    )
