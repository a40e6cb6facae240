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

    from s1x.selection.words import words_of

    words = words_of(_spaced(traces))
    starts = words.windows(passage_words)
    texts = words.text_of(starts)
    judged = np.diff(words.first) >= min_words
    starts, texts = starts[judged[texts]], texts[judged[texts]]
    hashed = words.ngram_hashes(starts, passage_words) + texts.astype(np.uint64)
    _, distinct = np.unique(hashed, return_index=True)
    num_passages = np.bincount(texts, minlength=len(traces))
    different = np.bincount(texts[distinct], minlength=len(traces))
    shares: npt.NDArray[np.float64] = 1 - different / np.maximum(num_passages, 1)
    shares[num_passages == 0] = 0
    return shares


def _spaced(traces: pa.Array) -> Any:
    """The traces with a space round every Chinese, Japanese or Thai letter."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    pattern = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}])"
    wide = np.flatnonzero(~pc.string_is_ascii(traces.fill_null("")).to_numpy(zero_copy_only=False))
    if not wide.size:
        return traces
    own = pc.replace_substring_regex(traces.take(pa.array(wide)), pattern, r" \1 ")
    order = np.arange(len(traces))
    order[wide] = len(traces) + np.arange(wide.size)
    return pa.concat_arrays([traces, own]).take(pa.array(order))
