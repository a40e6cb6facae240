"""Rows that lack a text or a feature (paper, section 2.2 "Quality")."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

import polars as pl

from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step


@option("selection_step", "missing")
@dataclass(frozen=True)
class Missing(Step):
    """Drops rows that lack a text or a feature (s1: answers that the API never gave)."""

    columns: list[str] = setting(
        factory=lambda: ["reasoning_trace", "attempt"],
        doc="texts that must be there, and not blank",
    )
    features: list[str] = setting(
        factory=lambda: ["is_correct_*", "attempt_is_correct", "domain"],
        doc="must not be null in the pools that have them; * stands for anything",
    )

    def __call__(self, rows: Rows) -> Drops:
        reasons = {f"no {name}": _is_blank(name) for name in self.columns}
        features = [n for p in self.features for n in fnmatch.filter(rows.table.names, p)]
        nulls = rows.frame(list(dict.fromkeys(features))).null_count()
        for name in features:
            if nulls[name].item() == len(rows):
                rows.context.note(f"missing: {name} is null in every row, so it is not asked for")
            else:
                reasons.setdefault(f"no {name}", pl.col(name).is_null())
        return rows.drop(reasons)


def _is_blank(name: str) -> pl.Expr:
    return ~pl.col(name).str.contains(r"\S").fill_null(False)
