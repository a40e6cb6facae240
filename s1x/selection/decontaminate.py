"""Decontamination: rows whose question overlaps a benchmark (paper, section 2.1 and appendix).

s1 drops a row that shares one word 8-gram with a benchmark. Run on s1K's own questions that rule
flags 79 of 912 against MATH500, nearly all through "where $m$ and $n$ are relatively prime
positive". So there are two more ways to judge: a phrase that stands in many different questions of
the pool counts as no evidence, and the share of a problem's n-grams that one row holds. Every row
dropped names the n-gram and the problem, so that people can judge for themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
        known = Ngrams(self._wanted(rows), self.ngram_words, self.ignore_punctuation)
        if not known.problems:
            rows.context.note("decontaminate: the run has no benchmarks, nothing was compared")
            return Drops()
        whole, hits = self._scan(rows, known)
        num_questions = pl.col("key").n_unique()
        common = hits.select("gram").clear()
        if self.common_questions is not None:
            asked = hits.group_by("gram").agg(num_questions)
            common = asked.filter(pl.col("key") > self.common_questions).select("gram")
        judged = hits.join(common, on="gram", how="anti")
        if self.rule == "any":
            found, overlapping = _any_shared(known, judged)
        else:
            found, overlapping = self._much_shared(known, judged, common)
        found = found.join(whole, on="row", how="anti")
        return Drops(pl.concat([whole, found]), _report(known, hits, common, overlapping))

    def _wanted(self, rows: Rows) -> dict[str, Sequence[Problem]]:
        given = rows.context.benchmarks
        for name in self.benchmarks:
            if name not in given:
                raise SettingError("benchmarks", f"of the run's ({', '.join(given)})", name)
        return {name: given[name] for name in (self.benchmarks or given)}

    def _scan(self, rows: Rows, known: Ngrams) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows that ask a benchmark's whole question; (row, n-gram, question) of every hit."""
        whole: list[tuple[int, str]] = []
        hits = []
        for batch in rows.batches(["question", *(c for c in self.columns if c != "question")]):
            found: list[tuple[int, int, int]] = []
            for row in batch.iter_rows(named=True):
                question = words_of(row["question"], self.ignore_punctuation)
                key = folded(question)
                if key in known.whole:
                    whole.append((row["row"], known.name(known.whole[key])))
                for name in self.columns:
                    words = question
                    if name != "question":
                        words = words_of(row[name] or "", self.ignore_punctuation)
                    found += [(row["row"], gram, hash(key)) for gram in known.find(words)]
            schema = {"row": pl.UInt32, "gram": pl.UInt32, "key": pl.Int64}
            hits.append(pl.DataFrame(found, schema, orient="row").unique())
        asked = pl.DataFrame(whole, {"row": pl.UInt32, "detail": pl.String}, orient="row")
        reason = pl.lit("a benchmark's question")
        return asked.select("row", "detail", reason=reason), pl.concat(hits)

    def _much_shared(
        self, known: Ngrams, judged: pl.DataFrame, common: pl.DataFrame
    ) -> tuple[pl.DataFrame, set[int]]:
        """Rows to drop, and the problems that they hold `min_share` of."""
        owners = known.owners()
        sizes = owners.join(common, on="gram", how="anti").group_by("problem").agg(size=pl.len())
        shared = (
            judged.join(owners, on="gram")
            .group_by("row", "problem")
            .agg(count=pl.col("gram").n_unique(), gram=pl.col("gram").min())
            .join(sizes, on="problem")
            .filter(pl.col("count") >= self.min_share * pl.col("size"))
            .sort("row", "count", "problem", descending=[False, True, False])
        )
        most = shared.unique("row", keep="first", maintain_order=True)
        details = [
            f"{known.name(problem)}: {count} of {size} n-grams, as “{known.texts[gram]}”"
            for problem, count, size, gram in most.select(
                "problem", "count", "size", "gram"
            ).iter_rows()
        ]
        reason = "shares much of a benchmark's question"
        return _dropped(most, reason, details), set(shared["problem"])


class Ngrams:
    """The n-grams of benchmarks, numbered as they first come.

    Attributes:
        problems: (benchmark, problem id) of each problem.
        texts: of each n-gram.
        whole: folded question → number of the first problem that asks it.
    """

    def __init__(
        self,
        benchmarks: Mapping[str, Sequence[Problem]],
        num_words: int,
        ignore_punctuation: bool = False,
    ) -> None:
        self.num_words = num_words
        self.problems: list[tuple[str, str]] = []
        self.whole: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._owners: dict[tuple[int, int], None] = {}
        self._words: set[str] = set()
        for name, problems in benchmarks.items():
            for problem in problems:
                self._add(name, problem, words_of(problem.question, ignore_punctuation))
        self.texts = list(self._numbers)
        self.first_owner: dict[int, int] = {}
        for gram, number in self._owners:
            self.first_owner.setdefault(gram, number)

    def _add(self, benchmark: str, problem: Problem, words: list[str]) -> None:
        number = len(self.problems)
        self.problems.append((benchmark, problem.problem_id))
        self._words.update(words)
        if words:
            self.whole.setdefault(folded(words), number)
        for end in range(self.num_words, len(words) + 1):
            text = " ".join(words[end - self.num_words : end])
            self._owners[self._numbers.setdefault(text, len(self._numbers)), number] = None

    def name(self, problem: int) -> str:
        """A problem as the user knows it."""
        return "/".join(self.problems[problem])

    def owners(self) -> pl.DataFrame:
        """Each n-gram with each problem that holds it."""
        schema = {"gram": pl.UInt32, "problem": pl.UInt32}
        return pl.DataFrame(list(self._owners), schema, orient="row")

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


def _any_shared(known: Ngrams, judged: pl.DataFrame) -> tuple[pl.DataFrame, set[int]]:
    """Rows to drop, and the problems whose n-grams they hold."""
    gram = pl.col("gram")
    shared = judged.group_by("row").agg(gram.min(), others=gram.n_unique() - 1).sort("row")
    details = [
        f"{known.name(known.first_owner[first])}: “{known.texts[first]}”"
        + (f" and {others} more" if others else "")
        for _, first, others in shared.iter_rows()
    ]
    overlapping = known.owners().join(judged, on="gram", how="semi")["problem"]
    return _dropped(shared, "shares an n-gram with a benchmark", details), set(overlapping)


def _dropped(rows: pl.DataFrame, reason: str, details: list[str]) -> pl.DataFrame:
    detail = pl.Series("detail", details, pl.String)
    return rows.select("row", detail, reason=pl.lit(reason))


def _report(
    known: Ngrams, hits: pl.DataFrame, common: pl.DataFrame, overlapping: set[int]
) -> dict[str, Any]:
    """Problems that were found in the pool, and the n-grams shared most, whether they counted or
    not."""
    counts = hits.group_by("gram").agg(rows=pl.col("row").n_unique())
    most = counts.sort("rows", "gram", descending=[True, False]).head(NUM_REPORTED)
    uncounted = set(common["gram"])
    return {
        "problems": dict(Counter(name for name, _ in known.problems)),
        "problems_found": dict(Counter(known.problems[problem][0] for problem in overlapping)),
        "shared_ngrams": [
            {"ngram": known.texts[gram], "rows": rows, "counted": gram not in uncounted}
            for gram, rows in most.iter_rows()
        ],
    }
