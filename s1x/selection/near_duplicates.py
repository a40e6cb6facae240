"""Questions that are nearly the same as an earlier one."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step
from s1x.selection.texts import words_of


@option("selection_step", "near_duplicates")
@dataclass(frozen=True)
class NearDuplicates(Step):
    """Drops a question that shares most of its word n-grams with an earlier one that stays.

    Exact: of two sets as similar as that, each has a member of the other among its
    (1 - similarity) share of n-grams that come first in any fixed order. Only these are looked up,
    the n-grams that were met last of all first, for they are the rarest.
    """

    min_similarity: float = setting(
        0.8, "Jaccard similarity of word n-grams from which two are one", above=0, at_most=1
    )
    ngram_words: int = setting(3, "words of an n-gram", at_least=1)

    def __call__(self, rows: Rows) -> Drops:
        numbers: dict[tuple[str, ...], int] = {}
        kept: dict[int, frozenset[int]] = {}
        by_gram: dict[int, list[int]] = {}
        near: dict[int, str] = {}
        for batch in rows.batches(["question"]):
            for row, question in batch.iter_rows():
                grams = self._grams(question, numbers)
                rarest = sorted(grams, reverse=True)[: self._num_looked_up(len(grams))]
                candidates = sorted({c for gram in rarest for c in by_gram.get(gram, ())})
                twin = next((c for c in candidates if self._near(grams, kept[c])), None)
                if twin is not None:
                    near[row] = f"row {twin}"
                    continue
                kept[row] = grams
                for gram in rarest:
                    by_gram.setdefault(gram, []).append(row)
        return rows.drop_rows(near, "nearly the same question")

    def _grams(self, text: str, numbers: dict[tuple[str, ...], int]) -> frozenset[int]:
        """Numbers of the question's n-grams; the whole is one where it is shorter."""
        words, size = words_of(text), self.ngram_words
        starts = range(max(len(words) - size + 1, 1))
        grams = (tuple(words[start : start + size]) for start in starts)
        return frozenset(numbers.setdefault(gram, len(numbers)) for gram in grams)

    def _num_looked_up(self, size: int) -> int:
        return size - int(self.min_similarity * size * (1 - 1e-9)) + 1

    def _near(self, a: frozenset[int], b: frozenset[int]) -> bool:
        shared = len(a & b)
        return shared >= self.min_similarity * (len(a) + len(b) - shared)
