"""Duplicates: questions that are asked twice, word for word or nearly so."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@option("selection_step", "duplicates")
@dataclass(frozen=True)
class Duplicates(Step):
    """Keeps one row a question (lower case, white space folded): s1 deduplicates its pool likewise."""

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

    from s1x.selection.ngrams import digests

    found = np.zeros(len(rows), np.uint64)
    for places, batch in rows.scan(["question"]):
        found[places] = digests(batch.column(0))
    return found


NUM_HASHES, ROWS_PER_BAND = 48, 3


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
        shingles: list[Any] = [None] * len(rows)
        seen: dict[tuple[int, bytes], list[int]] = {}
        for places, batch in rows.scan(["question"]):
            for place, text in zip(places.tolist(), batch.column(0).to_pylist(), strict=True):
                own = _shingles(text, self.ngram_words)
                bands = _bands(own)
                candidates = {c for band in bands for c in seen.get(band, ())}
                near = next((c for c in sorted(candidates) if self._near(own, shingles[c])), None)
                if near is None:
                    shingles[place] = own
                    for band in bands:
                        seen.setdefault(band, []).append(place)
                    continue
                drops.mark(np.array([place]), [True], "nearly the same question")
                drops.detail(place, f"row {rows.numbers[near]}")
        return drops

    def _near(self, a: Any, b: Any) -> bool:
        import numpy as np

        shared = np.intersect1d(a, b, assume_unique=True).size
        return bool(shared >= self.min_similarity * (a.size + b.size - shared))


def _shingles(text: str, num_words: int) -> npt.NDArray[np.uint64]:
    """The distinct hashes of a text's word n-grams (of the whole text where it is shorter)."""
    import numpy as np

    words = text.lower().split()
    grams = [" ".join(words[i : i + num_words]) for i in range(max(len(words) - num_words + 1, 1))]
    hashed = [hashlib.blake2b(g.encode(), digest_size=8).digest() for g in grams]
    return np.unique(np.frombuffer(b"".join(hashed), "<u8"))


def _bands(shingles: npt.NDArray[np.uint64]) -> list[tuple[int, bytes]]:
    import numpy as np

    generator = np.arange(1, NUM_HASHES + 1, dtype=np.uint64)
    odd = (generator * np.uint64(0x9E3779B97F4A7C15)) | np.uint64(1)
    mixed = shingles[None, :] * odd[:, None]
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    lowest = mixed.min(axis=1)
    starts = range(0, NUM_HASHES, ROWS_PER_BAND)
    return [(start, lowest[start : start + ROWS_PER_BAND].tobytes()) for start in starts]
