"""Not too many rows of one domain."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.option import option, setting
from s1x.selection.domains import rows_of_domains
from s1x.selection.step import Drops, Rows, Step
from s1x.selection.tokens import trace_tokens


@option("selection_step", "domain_cap")
@dataclass(frozen=True)
class DomainCap(Step):
    """Keeps at most `max_rows` rows of each domain, drawn at random or by trace length."""

    max_rows: int = setting(100, "rows kept of each domain", at_least=1)
    prefer: str = setting("random", "which stay", choices=["random", "longest_trace"])

    def __call__(self, rows: Rows) -> Drops:
        kept: list[int] = []
        rng = rows.random()
        by_length = self.prefer == "longest_trace"
        tokens = dict(zip(rows.numbers, trace_tokens(rows), strict=True)) if by_length else {}
        for _, own in sorted(rows_of_domains(rows).items()):
            if by_length:
                own = sorted(own, key=lambda row: (-tokens[row], row))
            elif len(own) > self.max_rows:
                own = rng.sample(own, self.max_rows)
            kept += own[: self.max_rows]
        return rows.keep_rows(kept, f"domain has {self.max_rows} rows already")
