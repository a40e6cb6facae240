"""Loops: traces in which a model went round in circles."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step
from s1x.selection.texts import words_of

#: letters of scripts that put no spaces between words
UNSPACED = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}])"


@option("selection_step", "looping")
@dataclass(frozen=True)
class Looping(Step):
    """Drops traces that repeat themselves word for word.

    How a loop is found: the trace is cut into all its passages of `passage_words` words in a row,
    and `loop share` is the share of passages that stood earlier in the same trace already. A trace
    that reasons, checks and starts again shares short phrases but hardly ever twenty words in a
    row; one that loops repeats nearly all of them. Text without spaces (Chinese) is cut into single
    characters.
    """

    passage_words: int = setting(20, "words of a passage", at_least=2)
    max_loop_share: float = setting(
        0.3, "share of passages that may have stood before", at_least=0, at_most=1
    )
    min_words: int = setting(100, "shorter traces are not judged", at_least=1)

    def __call__(self, rows: Rows) -> Drops:
        found = {}
        spaced = pl.col("reasoning_trace").fill_null("").str.replace_all(UNSPACED, " $1 ")
        for batch in rows.batches(["reasoning_trace"]):
            for row, trace in batch.select("row", spaced).iter_rows():
                share = self._share(words_of(trace))
                if share > self.max_loop_share:
                    found[row] = f"{share:.0%} of its passages stood before"
        return rows.drop_rows(found, "loops")

    def _share(self, words: list[str]) -> float:
        number = len(words) - self.passage_words + 1
        if len(words) < self.min_words or number < 1:
            return 0.0
        passages = zip(*(words[start:] for start in range(self.passage_words)), strict=False)
        return 1 - len(set(map(hash, passages))) / number
