"""Loops: traces in which a model went round in circles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


@option("selection_step", "looping")
@dataclass(frozen=True)
class Looping(Step):
    """Drops traces that repeat themselves word for word.

    How a loop is found: the trace is cut into all its passages of `passage_words` words in a row, and
    `loop share` is the share of passages that stood earlier in the same trace already. A trace that
    reasons, checks and starts again shares short phrases but hardly ever twenty words in a row; one that
    loops repeats nearly all of them. Text without spaces (Chinese) is cut into single characters.
    """

    passage_words: int = setting(20, "words of a passage", at_least=2)
    max_loop_share: float = setting(
        0.3, "share of passages that may have stood before", at_least=0, at_most=1
    )
    min_words: int = setting(100, "shorter traces are not judged", at_least=1)

    def __call__(self, rows: Rows) -> Drops:
        import numpy as np

        drops = Drops(len(rows))
        for places, batch in rows.scan(["reasoning_trace"]):
            for start in range(0, batch.num_rows, 256):
                part = batch.column(0).slice(start, 256)
                shares = loop_shares(part, self.passage_words, self.min_words)
                found = np.flatnonzero(shares > self.max_loop_share)
                drops.mark(places[start : start + 256][found], np.ones(found.size, bool), "loops")
                for at in found.tolist():
                    share = f"{shares[at]:.0%} of its passages stood before"
                    drops.detail(places[start + at], share)
        return drops


def loop_shares(traces: pa.Array, passage_words: int, min_words: int) -> npt.NDArray[np.float64]:
    """Share of each trace's passages that stood earlier in it; 0 for traces too short to judge."""
    import numpy as np
    import pyarrow.compute as pc

    from s1x.selection.ngrams import _factors

    lists = pc.utf8_split_whitespace(_spaced(traces))
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    words = lists.flatten().dictionary_encode().indices.to_numpy().astype(np.uint64) + np.uint64(1)
    ends = np.cumsum(lengths)
    num_passages = np.where(lengths >= min_words, np.maximum(lengths - passage_words + 1, 0), 0)
    shares = np.zeros(len(traces))
    total = int(num_passages.sum())
    if not total:
        return shares
    rows = np.repeat(np.arange(len(traces)), num_passages)
    first = np.repeat(ends - lengths - (np.cumsum(num_passages) - num_passages), num_passages)
    starts = first + np.arange(total)
    hashed = rows.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93)
    for offset, factor in enumerate(_factors(passage_words)):
        hashed += words[starts + offset] * factor
    _, distinct = np.unique(hashed, return_index=True)
    different = np.bincount(rows[distinct], minlength=len(traces))
    judged = num_passages > 0
    shares[judged] = 1 - different[judged] / num_passages[judged]
    return shares


def _spaced(traces: pa.Array) -> Any:
    """The traces with a space round every Chinese, Japanese or Thai letter."""
    import pyarrow.compute as pc

    return pc.replace_substring_regex(traces, r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}])", r" \1 ")
