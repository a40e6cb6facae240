"""Decontamination: rows whose question overlaps a benchmark (paper, section 2.1 and appendix).

s1 drops a row that shares one word 8-gram with a benchmark. Run on s1K's own questions that rule
flags 79 of 912 against MATH500, nearly all through "where $m$ and $n$ are relatively prime
positive". So there are two more ways to judge: a phrase that stands in many different questions of
the pool counts as no evidence, and the share of a problem's n-grams that one row holds. Every row
dropped names the n-gram and the problem, so that people can judge for themselves.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s1x.errors import SettingError
from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from s1x.selection.ngrams import Ngrams
    from s1x.selection.words import Words

    Ints = npt.NDArray[np.int64]

NUM_REPORTED = 50
"""Shared n-grams written to the funnel, the most frequent first."""


@option("selection_step", "decontaminate")
@dataclass(frozen=True)
class Decontaminate(Step):
    """Drops rows that share word n-grams with the run's benchmarks, or their whole question."""

    rule: str = setting(
        "any",
        "any: one shared n-gram (s1's rule); share: so much of a problem",
        choices=["any", "share"],
    )
    ngram_words: int = setting(8, "words of an n-gram", at_least=1)
    min_share: float = setting(
        0.5, "share of a problem's n-grams in one row, for rule share", above=0, at_most=1
    )
    ignore_punctuation: bool = setting(False, "words are runs of letters and digits only")
    common_questions: int | None = setting(
        None,
        "an n-gram in more questions of the pool than this is no evidence; null: always is",
        at_least=1,
    )
    columns: list[str] = setting(factory=lambda: ["question"], doc="texts looked through")
    benchmarks: list[str] = setting(factory=list, doc="names; none given: all of the run")

    def __call__(self, rows: Rows) -> Drops:
        from s1x.selection import ngrams

        drops = Drops(len(rows))
        index = ngrams.build(self._wanted(rows), self.ngram_words, self.ignore_punctuation)
        if not index.problems:
            rows.context.note("decontaminate: the run has no benchmarks, nothing was compared")
            return drops
        places, grams, keys = self._scan(rows, index, drops)
        common = self._common(grams, keys)
        judged = ~common[grams] if grams.size else grams.astype(bool)
        if self.rule == "any":
            found = _drop_any(drops, index, places[judged], grams[judged])
        else:
            found = self._drop_share(drops, index, places[judged], grams[judged], common)
        drops.report = _report(index, grams, common, found)
        return drops

    def _wanted(self, rows: Rows) -> dict[str, Any]:
        given = rows.context.benchmarks
        for name in self.benchmarks:
            if name not in given:
                raise SettingError("benchmarks", f"of the run's ({', '.join(given)})", name)
        return {name: given[name] for name in (self.benchmarks or given)}

    def _scan(self, rows: Rows, index: Ngrams, drops: Drops) -> tuple[Ints, Ints, Any]:
        """(row, n-gram, question digest) of every hit; whole questions are dropped on the way."""
        import numpy as np

        whole = np.array(sorted(index.whole), np.uint64)
        hits: list[tuple[Any, Any, Any]] = []
        for places, batch in rows.scan(["question", *(c for c in self.columns if c != "question")]):
            words = self._words(batch.column("question"))
            keys = words.digests()
            same = np.isin(keys, whole)
            drops.mark(places, same, "a benchmark's question")
            for at in np.flatnonzero(same):
                problem = index.problems[index.whole[int(keys[at])]]
                drops.detail(places[at], "/".join(problem))
            for name in self.columns:
                own = words if name == "question" else self._words(batch.column(name))
                found, grams = index.find(own)
                hits.append((places[found], grams, keys[found]))
        found, grams, keys = (np.concatenate(part) for part in zip(*hits, strict=True))
        return found, grams, keys

    def _words(self, texts: pa.Array) -> Words:
        from s1x.selection.words import words_of

        return words_of(texts, self.ignore_punctuation)

    def _common(self, grams: Ints, keys: Any) -> npt.NDArray[np.bool_]:
        """For each n-gram, whether it stands in too many different questions to mean anything."""
        import numpy as np

        size = int(grams.max()) + 1 if grams.size else 0
        if self.common_questions is None or not size:
            return np.zeros(size, bool)
        pairs = np.unique(np.stack([grams.astype(np.uint64), keys], axis=1), axis=0)
        return np.bincount(pairs[:, 0].astype(np.int64), minlength=size) > self.common_questions

    def _drop_share(
        self, drops: Drops, index: Ngrams, places: Ints, grams: Ints, common: npt.NDArray[np.bool_]
    ) -> set[int]:
        """Drops rows; gives the problems that they hold so much of."""
        import numpy as np

        owners = _owners(index)
        sizes = [np.count_nonzero(~_at(common, own)) for own in index.problem_grams]
        all_found: set[int] = set()
        for place, own in _by_row(places, grams):
            shared = Counter(problem for gram in own for problem in owners[gram])
            found = [p for p, count in shared.items() if count >= self.min_share * sizes[p]]
            if not found:
                continue
            all_found.update(found)
            most = min(found, key=lambda problem: (-shared[problem], problem))
            name = "/".join(index.problems[most])
            example = index.text(index.in_order([g for g in own if most in owners[g]])[0])
            drops.mark(np.array([place]), [True], "shares much of a benchmark's question")
            part = f"{shared[most]} of {sizes[most]} n-grams"
            drops.detail(place, f"{name}: {part}, as “{example}”")
        return all_found


def _drop_any(drops: Drops, index: Ngrams, places: Ints, grams: Ints) -> set[int]:
    """Drops every row with an n-gram; gives the problems that these are from."""
    import numpy as np

    owners = _owners(index)
    all_found: set[int] = set()
    for place, found in _by_row(places, grams):
        own = index.in_order(found)
        all_found.update(problem for gram in own for problem in owners[gram])
        name = "/".join(index.problems[owners[own[0]][0]])
        drops.mark(np.array([place]), [True], "shares an n-gram with a benchmark")
        more = f" and {len(own) - 1} more" if len(own) > 1 else ""
        drops.detail(place, f"{name}: “{index.text(own[0])}”{more}")
    return all_found


def _owners(index: Ngrams) -> list[list[int]]:
    """The problems that each n-gram is from."""
    owners: list[list[int]] = [[] for _ in range(len(index.hashes))]
    for problem, grams in enumerate(index.problem_grams):
        for gram in grams.tolist():
            owners[gram].append(problem)
    return owners


def _by_row(places: Ints, grams: Ints) -> Iterator[tuple[int, list[int]]]:
    import numpy as np

    order = np.lexsort((grams, places))
    places, grams = places[order], grams[order]
    for start, end in _runs(places):
        yield int(places[start]), sorted(set(grams[start:end].tolist()))


def _runs(values: Ints) -> Iterator[tuple[int, int]]:
    import numpy as np

    edges = np.flatnonzero(np.diff(values)) + 1
    bounds = [0, *edges.tolist(), len(values)] if len(values) else []
    yield from itertools.pairwise(bounds)


def _at(mask: Any, places: Ints) -> Any:
    import numpy as np

    inside = places < mask.size
    found = np.zeros(places.size, bool)
    found[inside] = mask[places[inside]]
    return found


def _report(index: Ngrams, grams: Ints, common: Any, found: set[int]) -> dict[str, Any]:
    """Problems that were found in the pool, and the n-grams shared most, whether they counted or
    not."""
    counts = Counter(grams.tolist()).most_common(NUM_REPORTED)
    shared = [
        {"ngram": index.text(gram), "rows": rows, "counted": not bool(common[gram])}
        for gram, rows in counts
    ]
    return {
        "problems": dict(Counter(name for name, _ in index.problems)),
        "problems_found": dict(Counter(index.problems[problem][0] for problem in found)),
        "shared_ngrams": shared,
    }
