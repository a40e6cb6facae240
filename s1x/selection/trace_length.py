"""Reasoning traces that are too short or too long."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from s1x.errors import SettingError
from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step
from s1x.selection.tokens import count_traces


@option("selection_step", "trace_length")
@dataclass(frozen=True)
class TraceLength(Step):
    """Drops reasoning traces too short or too long, in tokens of the model to be trained."""

    min_tokens: int = setting(0, "shortest trace kept, in tokens", at_least=0)
    max_tokens: int | None = setting(None, "longest trace kept, in tokens", at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_tokens is not None and self.max_tokens < self.min_tokens:
            must = f"min_tokens ({self.min_tokens}) or more"
            raise SettingError("max_tokens", must, self.max_tokens)

    def __call__(self, rows: Rows) -> Drops:
        count_traces(rows)
        tokens = pl.col("trace_tokens")
        reasons = {f"trace under {self.min_tokens} tokens": tokens < self.min_tokens}
        if self.max_tokens is not None:
            reasons[f"trace over {self.max_tokens} tokens"] = tokens > self.max_tokens
        return rows.drop(reasons)
