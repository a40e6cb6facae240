"""Loops: traces in which a model went round in circles."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step
from s1x.traces.loops import MAX_LOOP_SHARE, MIN_WORDS, PASSAGE_WORDS, loop_shares


@option("selection_step", "looping")
@dataclass(frozen=True)
class Looping(Step):
    """Drops traces that repeat themselves word for word (`s1x.traces.loops`).

    How a loop is found: the trace is cut into all its passages of `passage_words` words in a row,
    and `loop share` is the share of passages that stood earlier in the same trace already.
    """

    passage_words: int = setting(PASSAGE_WORDS, "words of a passage", at_least=2)
    max_loop_share: float = setting(
        MAX_LOOP_SHARE, "share of passages that may have stood before", at_least=0, at_most=1
    )
    min_words: int = setting(MIN_WORDS, "shorter traces are not judged", at_least=1)

    def __call__(self, rows: Rows) -> Drops:
        found = {}
        for batch in rows.batches(["reasoning_trace"]):
            shares = loop_shares(batch["reasoning_trace"], self.passage_words, self.min_words)
            for row, share in zip(batch["row"], shares, strict=True):
                if share > self.max_loop_share:
                    found[row] = f"{share:.0%} of its passages stood before"
        return rows.drop_rows(found, "loops")
