"""The paper's 1K-longest (section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step, wanted_size
from s1x.selection.tokens import count_traces


@option("selection_step", "longest")
@dataclass(frozen=True)
class Longest(Step):
    """Takes the rows with the longest reasoning traces (the paper's 1K-longest)."""

    size: int | None = setting(None, "rows to take; null: selection.size", at_least=1)
    chooses: ClassVar[bool] = True

    def __call__(self, rows: Rows) -> Drops:
        size = wanted_size(self.size, rows)
        count_traces(rows)
        longest = rows.frame(["trace_tokens"]).sort("trace_tokens", "row", descending=[True, False])
        return rows.keep_rows(longest["row"].head(size), "trace is shorter")
