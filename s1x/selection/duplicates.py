"""Questions that are asked twice."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step
from s1x.selection.texts import question_keys
from s1x.selection.tokens import trace_tokens


@option("selection_step", "duplicates")
@dataclass(frozen=True)
class Duplicates(Step):
    """Keeps one row per question (lower case, white space folded): s1 deduplicates its pool
    likewise."""

    keep: str = setting(
        "first", "which of the rows stays", choices=["first", "longest_trace", "shortest_trace"]
    )

    def __call__(self, rows: Rows) -> Drops:
        frame = question_keys(rows)
        if self.keep != "first":
            longest = self.keep == "longest_trace"
            frame = frame.with_columns(tokens=trace_tokens(rows)).sort(
                "tokens", descending=longest, maintain_order=True
            )
        return rows.drop({"same question": ~pl.col("key").is_first_distinct()}, frame)
