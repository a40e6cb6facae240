"""Files of a selection: the chosen rows, the same in s1K's published columns, and those dropped."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from s1x.errors import UserError
from s1x.hub import hub_answers
from s1x.selection.table import PoolTable

WRITTEN_FILES = ("README.md", "chosen.parquet", "s1k.parquet", "dropped.parquet", "funnel.json")
ROWS_PER_GROUP = 1024

ROW = pl.col("row").cast(pl.Int64)


def chosen(table: PoolTable, rows: pl.Series, path: Path) -> None:
    """The chosen rows with all the pool's columns, and `row`, their number in the pool."""
    _write(table.lazy(table.names, rows).with_columns(ROW), path)


def published(table: PoolTable, rows: pl.Series, path: Path) -> None:
    """The chosen rows in the columns of s1K, which others' training scripts read."""
    ours = {
        "cot_type": "domain",
        "source_type": "source",
        "thinking_trajectories": "reasoning_trace",
    }
    columns = {}
    for name in ("solution", "question", "cot_type", "source_type", "metadata", "cot"):
        own = name if name in table.schema.names else ours.get(name, name)
        columns[name] = (pl.col(own) if own in table.schema.names else pl.lit(None)).cast(pl.String)
    trace = pl.col("reasoning_trace") if "reasoning_trace" in table.schema.names else pl.lit(None)
    lists = pl.when(trace.is_not_null()).then(pl.concat_list(trace.cast(pl.String)))
    attempt = pl.col("attempt") if "attempt" in table.schema.names else pl.lit(None)
    wanted = table.lazy(table.schema.names, rows).select(
        **columns, thinking_trajectories=lists, attempt=attempt.cast(pl.String)
    )
    _write(wanted, path)


def dropped(table: PoolTable, frame: pl.DataFrame, path: Path) -> None:
    """Every row that was not chosen: its number and question, the step, the reason, what was
    found."""
    small = [n for n in ("source", "domain", "trace_tokens") if n in table.names]
    pool = table.lazy(["question", *small])
    told = pool.join(frame.lazy(), on="row", how="inner", maintain_order="left")
    _write(told.select(ROW, "step", "reason", "detail", "question", *small), path)


def _write(frame: pl.LazyFrame, path: Path) -> None:
    frame.sink_parquet(path, row_group_size=ROWS_PER_GROUP, maintain_order=True)


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
