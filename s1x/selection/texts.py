"""Texts as words, folded as s1 folds them: lower case, split at white space."""

from __future__ import annotations

import re

import polars as pl

from s1x.selection.step import Rows

MARKS = ".?!:"
"""Marks at the end of a question that make it no other question."""


def words_of(text: str, ignore_punctuation: bool = False) -> list[str]:
    """The words of a text, or its runs of letters and digits, whatever stands between them."""
    return re.findall(r"\w+", text.lower()) if ignore_punctuation else text.lower().split()


def folded(words: list[str]) -> str:
    """One text for all questions of the same words, whatever mark they end in."""
    if not words:
        return ""
    last = words[-1]
    return " ".join([*words[:-1], last[0] + last[1:].rstrip(MARKS)])


def question_keys(rows: Rows) -> pl.DataFrame:
    """`row` and `key`, a number that rows share which ask the same question."""
    keys = [
        batch.select("row", key=pl.Series([hash(folded(words_of(q))) for q in batch["question"]]))
        for batch in rows.batches(["question"])
    ]
    return pl.concat(keys)
