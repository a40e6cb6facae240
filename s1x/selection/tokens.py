"""Trace lengths in tokens: from the pool's column, counted by the model's tokenizer where
missing."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
from tokenizers import Tokenizer

from s1x.console import progress
from s1x.errors import UserError
from s1x.model.chat import encode_data
from s1x.model.load import load_tokenizer
from s1x.model.model import Model
from s1x.selection.step import Rows, TokenCounter

BATCH_ROWS = 256


def count_traces(rows: Rows) -> None:
    """From here on each of the rows has `trace_tokens` (0 for a missing trace).

    Raises:
        UserError: some must be counted and there is no tokenizer.
    """
    unknown = rows.numbers
    if rows.has("trace_tokens"):
        unknown = rows.frame(["trace_tokens"]).filter(pl.col("trace_tokens").is_null())["row"]
    if unknown.is_empty():
        return
    counter = token_counter(rows.context.tokenizer_source)
    counted = []
    with progress("counting trace tokens", len(unknown), "traces") as advance:
        for batch in rows.among(unknown).batches(["reasoning_trace"]):
            for part in batch.iter_slices(BATCH_ROWS):
                tokens = counter(part["reasoning_trace"].fill_null("").to_list())
                counted.append(part.select("row", counted=pl.Series(tokens, dtype=pl.Int64)))
                advance(part.height)
    rows.table.add_trace_tokens(pl.concat(counted))
    rows.context.note(
        f"trace_tokens: counted with the tokenizer for {len(unknown)} rows that did not say"
    )


def token_counter(source: Model | TokenCounter | None) -> TokenCounter:
    """A function from texts to token counts; text of a trace counts as text, not as markup.

    Args:
        source: a model whose tokenizer counts, or such a function.

    Raises:
        UserError: none is given, or it cannot be loaded.
    """
    if source is None:
        raise UserError(
            "the pool has no trace_tokens and no tokenizer is given to count them; "
            "map it by +pool.columns.trace_tokens=..., or choose a model"
        )
    if not isinstance(source, Model):
        return source
    path = Path(source.source()) / "tokenizer.json"
    if path.is_file() and not source.gguf_file:
        return _fast_counter(path)
    tokenizer = load_tokenizer(source)
    return lambda texts: [len(encode_data(tokenizer, text)) for text in texts]


def _fast_counter(path: Path) -> TokenCounter:
    """On all cores, and without transformers."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    encode = tokenizer.encode_batch_fast
    return lambda texts: [len(found) for found in encode(texts, add_special_tokens=False)]
