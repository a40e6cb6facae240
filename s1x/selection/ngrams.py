"""Shared word n-grams between benchmarks and a pool, as fast as columns allow.

s1 joins every n-gram of every question into a Python string and looks it up in a dict. Here words
are hashes (`s1x.selection.words`); a stretch that holds a word no benchmark uses cannot match,
which rules most of a pool out at once, and what is left is hashed whole and looked up. Folding is
s1's: lower case, white space folded, words split at white space. Two n-grams count as the same when
their 64-bit hashes are: with 100,000 n-grams against a pool of ten million words, one false match
in fifty million runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from s1x.selection.words import Words, words_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from s1x.benchmark.problem import Problem
    from s1x.selection.words import Hashes, Ints

WORD_BITS, GRAM_BITS = 20, 22
"""Sizes of the tables that are asked first: 1 and 4 MiB, nearly empty."""


@dataclass
class Ngrams:
    """The distinct n-grams of benchmarks, ready to be looked for.

    Attributes:
        num_words: n.
        problems: (benchmark, problem id) of each problem.
        hashes: of each distinct n-gram, sorted; an n-gram's number is its place here.
        problem_grams: distinct n-grams of each problem, as numbers.
        whole: digest of each problem's whole question → number of the problem.
    """

    num_words: int
    problems: list[tuple[str, str]]
    hashes: Hashes
    problem_grams: list[Ints]
    whole: dict[int, int]
    words: Hashes
    _questions: list[list[str]] = field(repr=False)
    _examples: npt.NDArray[np.int64] = field(repr=False)
    _gram_table: Any = field(init=False, repr=False)
    _word_table: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._gram_table = _table(self.hashes, GRAM_BITS)
        self._word_table = _table(self.words, WORD_BITS)

    def text(self, gram: int) -> str:
        """An n-gram in words."""
        problem, start = self._examples[gram]
        return " ".join(self._questions[problem][start : start + self.num_words])

    def in_order(self, grams: Sequence[int]) -> list[int]:
        """N-grams as they come in the benchmarks."""
        return sorted(grams, key=lambda gram: tuple(self._examples[gram]))

    def find(self, words: Words) -> tuple[Ints, Ints]:
        """Where texts hold n-grams of the benchmarks.

        Returns:
            (text, n-gram) pairs, sorted and distinct, as two arrays.
        """
        import numpy as np

        known = self._word_table[_slots(words.hashes, WORD_BITS)]
        starts = words.windows(self.num_words, known)
        hashed = words.ngram_hashes(starts, self.num_words)
        maybe = np.flatnonzero(self._gram_table[_slots(hashed, GRAM_BITS)])
        starts, hashed = starts[maybe], hashed[maybe]
        place = np.searchsorted(self.hashes, hashed)
        place[place == self.hashes.size] = 0
        same = self.hashes[place] == hashed if self.hashes.size else np.zeros(0, bool)
        size = max(self.hashes.size, 1)
        pairs = np.unique(words.text_of(starts[same]) * size + place[same])
        return pairs // size, pairs % size


def build(
    benchmarks: Mapping[str, Sequence[Problem]], num_words: int, ignore_punctuation: bool = False
) -> Ngrams:
    """Collects the n-grams of every problem's question."""
    import re

    import numpy as np
    import pyarrow as pa

    named = [(name, problem) for name, problems in benchmarks.items() for problem in problems]
    questions = [problem.question for _, problem in named]
    words = words_of(pa.array(questions, pa.string()), ignore_punctuation)
    pattern = r"\w+" if ignore_punctuation else r"\S+"
    starts = words.windows(num_words)
    hashes, first, inverse = np.unique(
        words.ngram_hashes(starts, num_words), return_index=True, return_inverse=True
    )
    problem = words.text_of(starts)
    splits = np.searchsorted(problem, np.arange(1, len(named)))
    whole: dict[int, int] = {}
    for number, digest in enumerate(words.digests().tolist()):
        if words.first[number + 1] > words.first[number]:
            whole.setdefault(digest, number)
    return Ngrams(
        num_words=num_words,
        problems=[(name, p.problem_id) for name, p in named],
        hashes=hashes,
        problem_grams=[np.unique(part) for part in np.split(inverse.reshape(-1), splits)],
        whole=whole,
        words=np.unique(words.hashes),
        _questions=[re.findall(pattern, question.lower()) for question in questions],
        _examples=np.stack([problem[first], (starts - words.first[problem])[first]], axis=1),
    )


def _table(hashes: Hashes, bits: int) -> npt.NDArray[np.bool_]:
    import numpy as np

    table = np.zeros(1 << bits, bool)
    table[_slots(hashes, bits)] = True
    return table


def _slots(hashes: Hashes, bits: int) -> Ints:
    import numpy as np

    return (hashes >> np.uint64(64 - bits)).astype(np.int64)
