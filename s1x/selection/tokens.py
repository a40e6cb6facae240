"""Trace lengths in tokens: from the pool's column, counted by the model's tokenizer where
missing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x.console import progress
from s1x.errors import UserError

if TYPE_CHECKING:
    from s1x.model.model import Model
    from s1x.selection.step import Rows, TokenCounter
    from s1x.selection.table import Numbers


def trace_tokens(rows: Rows) -> Numbers:
    """Tokens of each row's trace (0 for a missing one); what is counted is remembered in the table.

    Raises:
        UserError: some must be counted and there is no tokenizer.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    table = rows.table
    if not rows.has("trace_tokens"):
        table.derive("trace_tokens", pa.nulls(table.num_rows, pa.int64()))
    known = table.column("trace_tokens")
    unknown = rows.numbers[rows.column("trace_tokens").is_null().to_numpy(zero_copy_only=False)]
    if unknown.size:
        counter = token_counter(rows.context.tokenizer_source)
        whole = pc.fill_null(known, -1).to_numpy().copy()
        with progress("counting trace tokens", int(unknown.size), "traces") as advance:
            for numbers, batch in table.scan(["reasoning_trace"], unknown, 256):
                texts = ["" if t is None else t for t in batch.column(0).to_pylist()]
                whole[numbers] = counter(texts)
                advance(len(texts))
        table.derive("trace_tokens", pa.array(whole, mask=whole < 0))
        rows.context.note(
            f"trace_tokens: counted with the tokenizer for {unknown.size} rows that did not say"
        )
    counts: Numbers = pc.fill_null(rows.column("trace_tokens"), 0).to_numpy().astype(np.int64)
    return counts


def token_counter(source: str | Model | TokenCounter | None) -> TokenCounter:
    """A function from texts to token counts.

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
    from s1x.model.model import Model

    if isinstance(source, Model):
        if source.gguf_file:
            return _counter(source)
        source = source.source()
    tokenizer: Any
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    path = Path(source) / "tokenizer.json"
    if path.is_file():
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()

        def count(texts: list[str]) -> list[int]:
            return [len(e) for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

        return count
    return _counter(source)


def _counter(source: str | Model) -> TokenCounter:
    """By transformers: of a hub id, or of what a GGUF file holds."""
    from s1x.model.load import load_tokenizer

    tokenizer: Any
    try:
        if isinstance(source, str):
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(source)
        else:
            tokenizer = load_tokenizer(source)
    except UserError:
        raise
    except Exception as error:
        name, reason = getattr(source, "name", source), str(error).splitlines()[0]
        raise UserError(
            f"the tokenizer of {name} cannot be loaded ({reason}), and the pool has no counts; "
            "map it by +pool.columns.trace_tokens=... or choose another model"
        ) from None

    def count(texts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]

    return count
