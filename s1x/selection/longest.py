"""The paper's 1K-longest (section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step, wanted_size
from s1x.selection.tokens import trace_tokens


@option("selection_step", "longest")
@dataclass(frozen=True)
class Longest(Step):
    """Takes the rows with the longest reasoning traces (the paper's 1K-longest)."""

    size: int | None = setting(None, "rows to take; null: selection.size", at_least=1)
    chooses: ClassVar[bool] = True

    def __call__(self, rows: Rows) -> Drops:
        size = wanted_size(self.size, rows)
        frame = pl.DataFrame({"row": rows.numbers, "tokens": trace_tokens(rows)})
        longest = frame.sort("tokens", descending=True, maintain_order=True)
        return rows.keep_rows(
            longest["row"].head(len(rows) if size is None else size), "trace is shorter"
        )
