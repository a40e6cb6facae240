"""Not too many rows of one domain."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step
from s1x.selection.tokens import count_traces


@option("selection_step", "domain_cap")
@dataclass(frozen=True)
class DomainCap(Step):
    """Keeps at most `max_rows` rows of each domain, drawn at random or by trace length."""

    max_rows: int = setting(100, "rows kept of each domain", at_least=1)
    prefer: str = setting("random", "which stay", choices=["random", "longest_trace"])

    def __call__(self, rows: Rows) -> Drops:
        kept: list[int] = []
        rng, by_length = rows.random(), self.prefer == "longest_trace"
        for own in rows_of_domains(rows, by_length).values():
            draw = len(own) > self.max_rows and not by_length
            kept += rng.sample(own, self.max_rows) if draw else own[-self.max_rows :]
        return rows.keep_rows(kept, f"domain has {self.max_rows} rows already")


def rows_of_domains(rows: Rows, by_length: bool) -> dict[str, list[int]]:
    """Row numbers by domain, in the pool's order or the longest trace last; "": domain unknown."""
    if by_length:
        count_traces(rows)
    frame = rows.frame(["domain", "trace_tokens"] if by_length else ["domain"])
    if by_length:
        frame = frame.sort("trace_tokens", "row", descending=[False, True])
    domain = pl.col("domain").fill_null("")
    groups = frame.group_by(domain, maintain_order=True).agg("row").sort("domain")
    return dict(groups.iter_rows())
