"""Questions that are asked twice."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step
from s1x.selection.texts import question_keys
from s1x.selection.tokens import count_traces


@option("selection_step", "duplicates")
@dataclass(frozen=True)
class Duplicates(Step):
    """Keeps one row per question (lower case, white space folded), as s1 does."""

    keep: str = setting(
        "first", "which of the rows stays", choices=["first", "longest_trace", "shortest_trace"]
    )

    def __call__(self, rows: Rows) -> Drops:
        frame = question_keys(rows)
        if self.keep != "first":
            count_traces(rows)
            frame = frame.join(rows.frame(["trace_tokens"]), on="row").sort(
                "trace_tokens", "row", descending=[self.keep == "longest_trace", False]
            )
        return rows.drop({"same question": ~pl.col("key").is_first_distinct()}, frame)
