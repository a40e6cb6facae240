"""Shared word n-grams between benchmarks and a pool, as fast as columns allow.

s1 joins every n-gram of every question into a Python string and looks it up in a dict. Here words
become numbers (their place in the benchmarks' vocabulary), which rules most of a pool out at once: a
window that holds a word no benchmark uses cannot match. What is left is hashed eight numbers at a
time in NumPy and, where a hash is known, compared number by number, so a match is exact.

Folding is s1's: lower case, white space folded, words split at white space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from s1x.benchmark.problem import Problem

    Ints = npt.NDArray[np.int64]
    Hashes = npt.NDArray[np.uint64]

TABLE_BITS = 22
"""Size of the table that is asked before the sorted hashes: 4 MiB, all but empty."""


@dataclass
class Ngrams:
    """The distinct n-grams of benchmarks, ready to be looked for.

    Attributes:
        num_words: n.
        problems: (benchmark, problem id) of each problem.
        grams: word numbers of each distinct n-gram, shape [num_grams, n], sorted by hash.
        problem_grams: distinct n-grams of each problem, as numbers of grams.
        whole: digest of each problem's folded question → number of the problem.
    """

    num_words: int
    words: list[str]
    problems: list[tuple[str, str]]
    grams: npt.NDArray[np.int32]
    hashes: Hashes
    problem_grams: list[Ints]
    whole: dict[int, int]
    _table: Any = field(init=False, repr=False)
    _vocabulary: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        import numpy as np
        import pyarrow as pa

        self._table = np.zeros(1 << TABLE_BITS, bool)
        self._table[_slots(self.hashes)] = True
        self._vocabulary = pa.array(self.words, pa.string())

    def text(self, gram: int) -> str:
        """An n-gram in words."""
        return " ".join(self.words[word] for word in self.grams[gram].tolist())

    def find(self, texts: pa.Array) -> tuple[Ints, Ints]:
        """Where a pool's texts hold n-grams of the benchmarks.

        Returns:
            (text, gram) pairs, sorted and distinct, as two arrays.
        """
        import numpy as np

        ids, rows, last = _numbered(texts, self._vocabulary)
        n = self.num_words
        starts = _windows(ids, last, n)
        hashed = np.zeros(starts.size, np.uint64)
        for offset, factor in enumerate(_factors(n)):
            hashed += ids[starts + offset].astype(np.uint64) * factor
        maybe = np.flatnonzero(self._table[_slots(hashed)])
        starts, hashed = starts[maybe], hashed[maybe]
        place = np.minimum(np.searchsorted(self.hashes, hashed), max(self.hashes.size - 1, 0))
        if not self.hashes.size or not starts.size:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        windows = ids[starts[:, None] + np.arange(n)]
        same = (self.hashes[place] == hashed) & (self.grams[place] == windows).all(axis=1)
        pairs = np.unique(np.stack([rows[starts[same]], place[same]], axis=1), axis=0)
        return pairs[:, 0], pairs[:, 1]


def build(benchmarks: Mapping[str, Sequence[Problem]], num_words: int) -> Ngrams:
    """Collects the n-grams of every problem's question."""
    import numpy as np

    numbers: dict[str, int] = {}
    problems: list[tuple[str, str]] = []
    per_problem: list[npt.NDArray[np.int32]] = []
    whole: dict[int, int] = {}
    for name, asked in benchmarks.items():
        for problem in asked:
            words = fold(problem.question)
            ids = np.array([numbers.setdefault(w, len(numbers)) for w in words], np.int32)
            whole.setdefault(digest(" ".join(words)), len(problems))
            problems.append((name, problem.problem_id))
            count = max(len(words) - num_words + 1, 0)
            windows = np.arange(count)[:, None] + np.arange(num_words)
            per_problem.append(ids[windows].reshape(count, num_words))
    stacked = np.concatenate([np.empty((0, num_words), np.int32), *per_problem])
    grams, inverse = np.unique(stacked, axis=0, return_inverse=True)
    hashes = _hash(grams)
    order = np.argsort(hashes, kind="stable")
    hashes, grams = hashes[order], grams[order]
    assert np.unique(hashes).size == hashes.size, "two benchmark n-grams share a 64-bit hash"
    new_place = np.empty(order.size, np.int64)
    new_place[order] = np.arange(order.size)
    splits = np.cumsum([len(p) for p in per_problem])[:-1] if per_problem else []
    problem_grams = [np.unique(p) for p in np.split(new_place[inverse.reshape(-1)], splits)]
    return Ngrams(num_words, list(numbers), problems, grams, hashes, problem_grams, whole)


def fold(text: str) -> list[str]:
    """Words of a text in lower case, folded as Arrow folds a pool's."""
    import pyarrow as pa

    return [str(w) for w in _split(pa.array([text], pa.string())).values.to_pylist() if w]


def digest(folded: str) -> int:
    """A 64-bit number for a folded text, whatever mark it ends in."""
    import hashlib

    text = folded.rstrip(" .?!:").encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def digests(texts: pa.Array) -> Hashes:
    """A 64-bit number for each text, the same for texts that fold to the same words."""
    import numpy as np
    import pyarrow.compute as pc

    lowered = pc.utf8_lower(texts).to_pylist()
    return np.array([digest(" ".join(text.split())) for text in lowered], np.uint64)


def _split(texts: pa.Array) -> Any:
    import pyarrow.compute as pc

    return pc.utf8_split_whitespace(pc.utf8_lower(texts))


def _numbered(texts: pa.Array, vocabulary: pa.Array) -> tuple[Ints, Ints, Ints]:
    """Word numbers of all texts end to end (-1: not in the vocabulary), each word's text, its end."""
    import numpy as np
    import pyarrow.compute as pc

    lists = _split(texts)
    ids = pc.fill_null(pc.index_in(lists.flatten(), value_set=vocabulary), -1).to_numpy()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    ends = np.cumsum(lengths, dtype=np.int64)
    rows = np.repeat(np.arange(len(texts)), lengths)
    return ids, rows, np.repeat(ends, lengths)


def _windows(ids: Any, last: Ints, n: int) -> Ints:
    """Starts of windows of n words within one text, every word of which is in the vocabulary."""
    import numpy as np

    count = ids.size - n + 1
    if count <= 0:
        return np.empty(0, np.int64)
    unknown = np.zeros(ids.size + 1, np.int32)
    np.cumsum(ids < 0, out=unknown[1:])
    starts = np.flatnonzero(unknown[n:] == unknown[:-n])
    return starts[starts + n <= last[starts]]


def _factors(n: int) -> Hashes:
    import numpy as np

    place = np.arange(1, n + 1, dtype=np.uint64)
    mixed = place * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed ^ (mixed >> np.uint64(27))) | np.uint64(1)


def _hash(grams: Any) -> Hashes:
    import numpy as np

    hashed = np.zeros(len(grams), np.uint64)
    for offset, factor in enumerate(_factors(grams.shape[1])):
        hashed += grams[:, offset].astype(np.uint64) * factor
    return hashed


def _slots(hashes: Hashes) -> Ints:
    import numpy as np

    slots = (hashes * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - TABLE_BITS)
    return slots.astype(np.int64)
