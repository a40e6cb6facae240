"""Trace lengths in tokens: from the pool's column, counted by the model's tokenizer where
missing."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from s1x.console import progress
from s1x.errors import UserError
from s1x.model.model import Model
from s1x.selection.step import Rows, TokenCounter

BATCH_ROWS = 256


def trace_tokens(rows: Rows) -> pl.Series:
    """Tokens of each row's trace (0 for a missing one); what is counted is remembered in the table.

    Raises:
        UserError: some must be counted and there is no tokenizer.
    """
    unknown = rows.numbers
    if rows.has("trace_tokens"):
        unknown = unknown.filter(rows.frame(["trace_tokens"])["trace_tokens"].is_null())
    if len(unknown):
        counter = token_counter(rows.context.tokenizer_source)
        counted = []
        with progress("counting trace tokens", len(unknown), "traces") as advance:
            for batch in rows.among(unknown).batches(["reasoning_trace"]):
                for part in batch.with_columns(pl.col("reasoning_trace").fill_null("")).iter_slices(
                    BATCH_ROWS
                ):
                    tokens = pl.Series(counter(part["reasoning_trace"].to_list()), dtype=pl.Int64)
                    counted.append(part.select("row", counted=tokens))
                    advance(part.height)
        rows.table.add_trace_tokens(pl.concat(counted))
        rows.context.note(
            f"trace_tokens: counted with the tokenizer for {len(unknown)} rows that did not say"
        )
    return rows.frame(["trace_tokens"])["trace_tokens"]


def token_counter(source: str | Model | TokenCounter | None) -> TokenCounter:
    """A function from texts to token counts; text of a trace counts as text, not as markup.

    Args:
        source: a model, a model folder or a hub id whose tokenizer counts, or such a function.

    Raises:
        UserError: none is given, or it cannot be loaded.
    """
    if callable(source):
        return source
    if source is None:
        raise UserError(
            "the pool has no trace_tokens and no tokenizer is given to count them; "
            "map it by +pool.columns.trace_tokens=..., or choose a model"
        )
    if isinstance(source, Model):
        if source.gguf_file:
            return _slow_counter(source)
        source = source.source()
    path = Path(source) / "tokenizer.json"
    return _fast_counter(path) if path.is_file() else _slow_counter(source)


def _fast_counter(path: Path) -> TokenCounter:
    from tokenizers import Tokenizer

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True

    def count(texts: list[str]) -> list[int]:
        return [len(e) for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    return count


def _slow_counter(source: str | Model) -> TokenCounter:
    """By transformers: of a hub id, or of what a GGUF file holds."""
    from transformers import AutoTokenizer

    from s1x.model.chat import encode_data
    from s1x.model.load import load_tokenizer

    try:
        if isinstance(source, Model):
            tokenizer = load_tokenizer(source)
        else:
            tokenizer = AutoTokenizer.from_pretrained(source)
    except UserError:
        raise
    except Exception as error:
        name = source.name if isinstance(source, Model) else source
        raise UserError(
            f"the tokenizer of {name} cannot be loaded ({str(error).splitlines()[0]}), and the "
            "pool has no counts; map it by +pool.columns.trace_tokens=... or choose another model"
        ) from None
    return lambda texts: [len(encode_data(tokenizer, text)) for text in texts]
