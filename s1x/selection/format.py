"""Formatting that no model can learn from (paper, section 2.2 "Quality")."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from s1x.errors import SettingError
from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step

#: s1's notebook: drawings in code, pictures that are not there, page or part references, numbered
#: bold headings. RE2 syntax (there is no look-ahead); white space and digits are Unicode's.
S1_PATTERNS = {
    "asymptote drawing": r"\[asy\]",
    "picture that is missing": r"!\[Image\]",
    "reference to a numbered part": r"p[1-9][0-9]{0,2}\.",
    "numbered bold heading": r"\*\*(?:[^\s\]]*\d[^\s\]]*\*\*|[^\s\]]*\*\*.*\d)",
}


@option("selection_step", "format")
@dataclass(frozen=True)
class Format(Step):
    """Drops rows with formatting that no model can learn from; s1's patterns by default.

    As in s1's notebook a question with `keep_text` from a source that contains `keep_source` stays,
    whatever else it matches (AIME's drawings).
    """

    columns: list[str] = setting(factory=lambda: ["question"], doc="texts looked through")
    patterns: dict[str, str] = setting(
        factory=lambda: dict(S1_PATTERNS), doc="{reason: regular expression in RE2's syntax}"
    )
    keep_text: str | None = setting("[asy]", "text that excuses a trusted source")
    keep_source: str | None = setting("AIME", "part of that source's name")

    def __post_init__(self) -> None:
        super().__post_init__()
        for reason, pattern in self.patterns.items():
            try:
                pl.select(pl.lit("").str.contains(pattern))
            except pl.exceptions.ComputeError as error:
                reasons = [line for line in str(error).splitlines() if line.startswith("error: ")]
                told = (reasons or str(error).splitlines())[0]
                raise SettingError(f"patterns.{reason}", "RE2 syntax", pattern, told) from None

    def __call__(self, rows: Rows) -> Drops:
        return rows.drop(
            {
                reason: pl.any_horizontal(
                    pl.col(name).str.contains(pattern) & ~self._excused(name, rows)
                    for name in self.columns
                )
                for reason, pattern in self.patterns.items()
            }
        )

    def _excused(self, name: str, rows: Rows) -> pl.Expr:
        if not (self.keep_text and self.keep_source and rows.has("source")):
            return pl.lit(False)
        shown = pl.col(name).str.contains(self.keep_text, literal=True)
        trusted = pl.col("source").str.contains(self.keep_source, literal=True)
        return (shown & trusted).fill_null(False)
