"""Reasoning traces that a token limit cut."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step


@option("selection_step", "truncated")
@dataclass(frozen=True)
class Truncated(Step):
    """Drops traces that a token limit cut: by `finish_reason`, and by how the trace ends if
    wished."""

    finish_reasons: list[str] = setting(
        factory=lambda: ["truncated", "length", "max_tokens", "MAX_TOKENS"],
        doc="values of finish_reason that mean a cut",
    )
    by_ending: bool = setting(False, "also drop traces whose last line ends within a sentence")
    endings: str = setting(r".!?:。！？)]}$*`\"'|>-", "last characters of a whole trace")

    def __call__(self, rows: Rows) -> Drops:
        reasons = {}
        if rows.has("finish_reason"):
            reasons["trace cut by a limit"] = pl.col("finish_reason").is_in(self.finish_reasons)
        elif not self.by_ending:
            rows.context.note(
                "truncated: the pool has no finish_reason, nothing was dropped for it"
            )
        if self.by_ending:
            end = pl.col("reasoning_trace").str.strip_chars_end().str.tail(1)
            is_whole = end.is_in(list(self.endings)).fill_null(False)
            reasons["trace ends within a sentence"] = ~is_whole
        return rows.drop(reasons)
