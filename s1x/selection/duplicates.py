"""Duplicates: questions that are asked twice, word for word or nearly so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


@option("selection_step", "duplicates")
@dataclass(frozen=True)
class Duplicates(Step):
    """Keeps one row a question (lower case, white space folded): s1 deduplicates its pool
    likewise."""

    keep: str = setting(
        "first", "which of the rows stays", choices=["first", "longest_trace", "shortest_trace"]
    )

    def __call__(self, rows: Rows) -> Drops:
        import numpy as np

        drops = Drops(len(rows))
        order = self._order(rows)
        _, first = np.unique(question_digests(rows)[order], return_index=True)
        lost = np.ones(len(rows), bool)
        lost[order[first]] = False
        drops.mark(None, lost, "same question")
        return drops

    def _order(self, rows: Rows) -> Any:
        import numpy as np

        if self.keep == "first":
            return np.arange(len(rows))
        tokens = rows.trace_tokens()
        return np.argsort(tokens if self.keep == "shortest_trace" else -tokens, kind="stable")


def question_digests(rows: Rows) -> npt.NDArray[np.uint64]:
    """A 64-bit number for each row's folded question: rows that ask the same have the same."""
    import numpy as np

    from s1x.selection.words import words_of

    found = np.zeros(len(rows), np.uint64)
    for places, batch in rows.scan(["question"]):
        found[places] = words_of(batch.column(0)).digests()
    return found


NUM_HASHES, HASHES_PER_BAND = 48, 3
MAX_COMPARED = 64
"""Earlier questions of one band that a question is compared with, the latest first."""


@option("selection_step", "near_duplicates")
@dataclass(frozen=True)
class NearDuplicates(Step):
    """Drops a question that shares most of its word n-grams with an earlier one that stays.

    Candidates come from MinHash (48 hashes in bands of 3, which finds pairs of similarity 0.7 with
    probability 0.998); whether they are near is decided on the exact Jaccard similarity.
    """

    min_similarity: float = setting(
        0.8, "Jaccard similarity of word n-grams from which two are one", above=0, at_most=1
    )
    ngram_words: int = setting(3, "words of an n-gram", at_least=1)

    def __call__(self, rows: Rows) -> Drops:
        import numpy as np

        drops = Drops(len(rows))
        kept: dict[int, npt.NDArray[np.uint64]] = {}
        seen: dict[tuple[int, int], list[int]] = {}
        for places, batch in rows.scan(["question"]):
            for place, own, bands in zip(
                places.tolist(), *_sketches(batch, self.ngram_words), strict=True
            ):
                keys = list(enumerate(bands))
                candidates = {c for key in keys for c in seen.get(key, ())[-MAX_COMPARED:]}
                near = next((c for c in sorted(candidates) if self._near(own, kept[c])), None)
                if near is None:
                    kept[place] = own
                    for key in keys:
                        seen.setdefault(key, []).append(place)
                else:
                    drops.mark(np.array([place]), [True], "nearly the same question")
                    drops.detail(place, f"row {rows.numbers[near]}")
        return drops

    def _near(self, a: Any, b: Any) -> bool:
        import numpy as np

        shared = np.intersect1d(a, b, assume_unique=True).size
        return bool(shared >= self.min_similarity * (a.size + b.size - shared))


def _sketches(
    batch: pa.RecordBatch, num_words: int
) -> tuple[list[npt.NDArray[np.uint64]], list[list[int]]]:
    """Each question's distinct n-gram hashes (of the whole where it is shorter), and its bands."""
    import numpy as np

    from s1x.selection.words import mix, words_of

    words = words_of(batch.column(0))
    starts = words.windows(num_words)
    hashed, texts = words.ngram_hashes(starts, num_words), words.text_of(starts)
    short = np.setdiff1d(np.arange(batch.num_rows), texts)
    hashed = np.concatenate([hashed, words.digests()[short]])
    texts = np.concatenate([texts, short])
    order = np.lexsort((hashed, texts))
    hashed, texts = hashed[order], texts[order]
    new = np.ones(hashed.size, bool)
    new[1:] = (hashed[1:] != hashed[:-1]) | (texts[1:] != texts[:-1])
    hashed, texts = hashed[new], texts[new]
    first = np.searchsorted(texts, np.arange(batch.num_rows))
    bands = np.zeros((batch.num_rows, NUM_HASHES // HASHES_PER_BAND), np.uint64)
    salts = mix(np.arange(1, NUM_HASHES + 1, dtype=np.uint64))
    for number, salt in enumerate(salts):
        mixed = mix(hashed + salt)
        lowest = np.minimum.reduceat(mixed, first)
        column = bands[:, number // HASHES_PER_BAND]
        column[:] = mix(column * np.uint64(31) + lowest)
    return np.split(hashed, first[1:]), bands.tolist()
