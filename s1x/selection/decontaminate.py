"""Decontamination: rows whose question overlaps a benchmark (paper, section 2.1 and appendix).

s1 drops a row that shares one word 8-gram with a benchmark. Run on s1K's own questions that rule
flags 79 of 912 against MATH500, nearly all through "where $m$ and $n$ are relatively prime
positive". So there are two more ways to judge: a phrase that stands in many different questions of
the pool counts as no evidence, and the share of a problem's n-grams that one row holds. Every row
dropped names the n-gram and the problem, so that people can judge for themselves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from s1x.benchmark.problem import Problem
from s1x.errors import SettingError
from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step
from s1x.selection.texts import folded, words_of

NUM_REPORTED = 50
"""Shared n-grams written to the funnel, the most frequent first."""


@option("selection_step", "decontaminate")
@dataclass(frozen=True)
class Decontaminate(Step):
    """Drops rows that share word n-grams with the run's benchmarks, or their whole question."""

    rule: str = setting(
        "any",
        "any: one shared n-gram (s1's rule); share: `min_share` of a problem",
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
        given = rows.context.benchmarks
        for name in self.benchmarks:
            if name not in given:
                raise SettingError("benchmarks", f"of the run's ({', '.join(given)})", name)
        wanted = {name: given[name] for name in (self.benchmarks or given)}
        known = Ngrams(wanted, self.ngram_words, self.ignore_punctuation)
        if not known.problems:
            rows.context.note("decontaminate: the run has no benchmarks, nothing was compared")
            return Drops()
        whole, hits, common = self._scan(rows, known)
        judged = {row: grams - common for row, grams in hits.items() if not grams <= common}
        if self.rule == "any":
            reason, found, overlapping = "shares an n-gram with a benchmark", {}, set[int]()
            for row, grams in judged.items():
                found[row] = known.told(min(grams), len(grams) - 1)
                overlapping.update(problem for gram in grams for problem in known.owners[gram])
        else:
            reason = "shares much of a benchmark's question"
            found, overlapping = self._much_shared(known, judged, common)
        found = {row: told for row, told in found.items() if row not in whole}
        drops = rows.drop_rows(whole, "a benchmark's question")
        drops.frame = pl.concat([drops.frame, rows.drop_rows(found, reason).frame])
        num_rows = Counter(gram for grams in hits.values() for gram in grams)
        most = sorted(num_rows, key=lambda gram: (-num_rows[gram], gram))[:NUM_REPORTED]
        drops.report = {
            "problems": dict(Counter(name for name, _ in known.problems)),
            "problems_found": dict(Counter(known.problems[p][0] for p in sorted(overlapping))),
            "shared_ngrams": [
                {"ngram": known.texts[g], "rows": num_rows[g], "counted": g not in common}
                for g in most
            ],
        }
        return drops

    def _scan(
        self, rows: Rows, known: Ngrams
    ) -> tuple[dict[int, str], dict[int, set[int]], set[int]]:
        """Row → problem whose whole question it asks; row → n-grams; n-grams that count for
        nothing."""
        whole: dict[int, str] = {}
        hits: dict[int, set[int]] = {}
        questions: dict[int, set[int]] = defaultdict(set)
        for batch in rows.batches(list(dict.fromkeys(["question", *self.columns]))):
            for row in batch.iter_rows(named=True):
                words = {
                    name: words_of(row[name] or "", self.ignore_punctuation)
                    for name in batch.columns[1:]
                }
                question = folded(words["question"])
                if question in known.whole:
                    whole[row["row"]] = known.name(known.whole[question])
                grams = {gram for name in self.columns for gram in known.find(words[name])}
                if grams:
                    hits[row["row"]] = grams
                    for gram in grams:
                        questions[gram].add(hash(question))
        most = self.common_questions
        common = {g for g, keys in questions.items() if most is not None and len(keys) > most}
        return whole, hits, common

    def _much_shared(
        self, known: Ngrams, judged: Mapping[int, set[int]], common: set[int]
    ) -> tuple[dict[int, str], set[int]]:
        """Rows to drop, and the problems that they hold `min_share` of."""
        grams_left = (g for g in range(len(known.texts)) if g not in common)
        sizes = Counter(problem for gram in grams_left for problem in known.owners[gram])
        found, overlapping = {}, set[int]()
        for row, grams in judged.items():
            counts = Counter(problem for gram in grams for problem in known.owners[gram])
            much = {p: n for p, n in counts.items() if n >= self.min_share * sizes[p]}
            if much:
                overlapping |= much.keys()
                most = min(much, key=lambda problem: (-much[problem], problem))
                text = known.texts[min(gram for gram in grams if most in known.owners[gram])]
                numbers = f"{much[most]} of {sizes[most]}"
                found[row] = f"{known.name(most)}: {numbers} n-grams, as “{text}”"
        return found, overlapping


class Ngrams:
    """The n-grams of benchmarks, numbered as they first come.

    Attributes:
        problems: (benchmark, problem id) of each problem.
        texts: of each n-gram.
        owners: of each n-gram, the numbers of the problems that hold it.
        whole: folded question → number of the first problem that asks it.
    """

    def __init__(
        self,
        benchmarks: Mapping[str, Sequence[Problem]],
        num_words: int,
        ignore_punctuation: bool = False,
    ) -> None:
        self.num_words = num_words
        asked = [(name, problem) for name, problems in benchmarks.items() for problem in problems]
        self.problems = [(name, problem.problem_id) for name, problem in asked]
        self.whole: dict[str, int] = {}
        self._words: set[str] = set()
        owners: dict[str, dict[int, None]] = {}
        for number, (_, problem) in enumerate(asked):
            words = words_of(problem.question, ignore_punctuation)
            self._words.update(words)
            if words:
                self.whole.setdefault(folded(words), number)
            for end in range(num_words, len(words) + 1):
                owners.setdefault(" ".join(words[end - num_words : end]), {})[number] = None
        self.texts, self.owners = list(owners), [list(own) for own in owners.values()]
        self._numbers = {text: number for number, text in enumerate(self.texts)}

    def name(self, problem: int) -> str:
        """A problem as the user knows it."""
        return "/".join(self.problems[problem])

    def told(self, gram: int, num_others: int) -> str:
        """An n-gram with the first problem that holds it."""
        more = f" and {num_others} more" if num_others else ""
        return f"{self.name(self.owners[gram][0])}: “{self.texts[gram]}”{more}"

    def find(self, words: list[str]) -> list[int]:
        """The n-grams in a text, each time that they stand there.

        Only where `num_words` words in a row are all known is an n-gram put together.
        """
        found: list[int] = []
        run = 0
        for end, word in enumerate(words, 1):
            run = run + 1 if word in self._words else 0
            if run >= self.num_words:
                number = self._numbers.get(" ".join(words[end - self.num_words : end]))
                if number is not None:
                    found.append(number)
        return found
