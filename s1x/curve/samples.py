"""Parallel scaling from one set of samples: pass@k, avg@k, cons@k, shortest-majority at every k.

A problem has n samples; a value at k < n is the mean over subsets of k of them, in their order:
all subsets where there are at most `MOST_SUBSETS`, else as many seeded draws. At k = n there is one
subset, the samples as they are. Votes go by the extracted answer's normal form; a sample without an
answer has no vote, and ties go to the answer that came first. An ungraded answer is not right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from s1x.benchmark.forms import normal_form
from s1x.curve.cells import Cell
from s1x.curve.curves import share_estimate
from s1x.curve.interval import Estimate, Floats, Result
from s1x.rows import CORRECT
from s1x.traces.confidence import GROUP_TOKENS, MEASURES, Values, confidence_measures

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MOST_SUBSETS = 500


@dataclass(frozen=True)
class SampleCount(Result):
    """Parallel scaling at `k` samples per problem, from the same samples as every other k."""

    k: int
    num_problems: int
    num_samples: int
    mean_total_tokens: float | None
    """Of thinking and answers of all k: sequential scaling's x axis too; None: not recorded."""
    pass_percent: Estimate  # pass@k, unbiased (Chen et al. 2021): at least one of k is correct
    average_percent: Estimate  # avg@k, the mean accuracy of a sample
    majority_percent: Estimate  # cons@k, the answer that most give is correct; ties to the first
    shortest_majority_percent: Estimate
    """Votes weighted by 1 / log(mean thinking tokens) of the group (arXiv 2502.12215).

    Votes are None where answers, or the tokens that weigh them, were not recorded.
    """


def sample_counts(cell: Cell, ks: Sequence[int] | None = None, seed: int = 0) -> list[SampleCount]:
    """The metrics at each k (default: powers of two up to n, and n), n the samples per problem.

    Problems with fewer samples than the most are left out.
    """
    table = by_problem(cell)
    n = table.right.shape[1]
    if not len(table.right) or not cell.num_graded:
        return []
    made = []
    unknown = np.full(len(table.right), np.nan)
    tokens = float(table.tokens.mean())
    for k in ks or powers_to(n):
        subsets = subsets_of(n, k, seed)
        values = (
            pass_at_k(n, table.right.sum(axis=1), k),
            table.right.mean(axis=1),
            _vote(table, subsets, weighted=False) if table.has_answers else unknown,
            _vote(table, subsets, weighted=True) if table.can_replay else unknown,
        )
        # a problem's n samples count for at most n averages, but n / k groups of k
        most = (n / k, float(n), n / k, n / k)
        series = (pl.Series(v, nan_to_null=True) for v in values)
        estimates = [share_estimate(v, m) for v, m in zip(series, most, strict=True)]
        total = k * tokens if np.isfinite(tokens) else None
        made.append(SampleCount(k, len(table.right), n, total, *estimates))
    return made


def powers_to(n: int) -> list[int]:
    """1, 2, 4, ... below n, and n."""
    return sorted({2**i for i in range(n.bit_length()) if 2**i <= n} | {n})


def pass_at_k(num_samples: int, num_correct: Ints | Floats | int, k: int) -> Floats:
    """Unbiased pass@k: 1 - C(n - c, k) / C(n, k), a fraction (Chen et al. 2021, equation 1)."""
    assert 1 <= k <= num_samples
    correct = np.asarray(num_correct, np.int64)
    all_of_k = math.comb(num_samples, k)
    table = [1 - math.comb(num_samples - c, k) / all_of_k for c in range(num_samples + 1)]
    return np.asarray(np.array(table)[correct])


@dataclass(frozen=True)
class Samples:
    """Arrays (problems, samples): right or not, total tokens, thinking tokens, answer's group.

    Tokens are NaN where not recorded. Groups number the distinct answers of a problem in order of
    appearance; -1: no answer. `has_answers` is False where right answers come without their text.
    `confidences` are DeepConf's of each token that the model wrote of thinking and answer, and
    `measures` what they come to (`confidence_measures`); None where any sample has none.
    """

    right: Floats
    tokens: Floats
    thinking: Floats
    groups: Ints
    confidences: Sequence[Sequence[Values]] | None = None
    measures: Mapping[str, Floats] | None = None

    @property
    def has_answers(self) -> bool:
        """Whether votes can be counted."""
        return not bool(((self.groups < 0) & (self.right > 0)).any())

    @property
    def can_replay(self) -> bool:
        """Whether rules that weigh or count tokens can be replayed."""
        return self.has_answers and bool(np.isfinite(self.tokens).all())


def by_problem(cell: Cell, group_tokens: int = GROUP_TOKENS) -> Samples:
    """The samples of the problems that have as many as any."""
    n = cell.samples_per_problem
    rows = cell.rows.filter(pl.len().over("key") == n)
    seen: dict[str, dict[str, int]] = {}
    groups = []
    for problem, text in rows.select("key", "extracted_answer").iter_rows():
        known = seen.setdefault(problem, {})
        groups.append(-1 if text is None else known.setdefault(normal_form(text), len(known)))
    right = (rows["verdict"] == CORRECT).fill_null(False).cast(pl.Float64)
    columns = (rows["thinking_tokens"] + rows["answer_tokens"], rows["thinking_tokens"])
    total, thinking = (c.cast(pl.Float64).to_numpy().reshape(-1, n) for c in columns)
    shaped = np.array(groups, np.int64).reshape(-1, n)
    confidences, measures = _confidences(rows, n, group_tokens)
    verdicts = right.to_numpy().reshape(-1, n)
    return Samples(verdicts, total, thinking, shaped, confidences, measures)


def _confidences(
    rows: pl.DataFrame, n: int, group_tokens: int
) -> tuple[list[list[Values]] | None, dict[str, Floats] | None]:
    """Of each sample the confidences, and each measure (problems, samples); None where unknown."""
    names = ("token_confidences", "token_entropies")
    if any(name not in rows.columns or rows[name].null_count() for name in names):
        return None, None
    thinking, answer = pl.col("thinking_tokens"), pl.col("answer_tokens")
    own = rows.select(  # of thinking and answer, and not forced
        pl.concat_list(pl.col(name).list.head(thinking), pl.col(name).list.tail(answer))
        .list.drop_nulls()
        .cast(pl.List(pl.Float64))
        for name in names
    )
    confidences, entropies = ([one.to_numpy() for one in own[name]] for name in names)
    measures = [
        confidence_measures(some, others, group_tokens)
        for some, others in zip(confidences, entropies, strict=True)
    ]
    shaped = {name: np.array([one[name] for one in measures]).reshape(-1, n) for name in MEASURES}
    return [confidences[i : i + n] for i in range(0, len(confidences), n)], shaped


def subsets_of(n: int, k: int, seed: int) -> Ints:
    """(subsets, k) indexes of samples, each row ascending."""
    assert 1 <= k <= n, f"k must be between 1 and the {n} samples, got {k}"
    if math.comb(n, k) <= MOST_SUBSETS:
        return np.array(list(combinations(range(n), k)), np.int64)
    generator = np.random.default_rng([seed, n, k])
    order = generator.random((MOST_SUBSETS, n)).argsort(axis=1)[:, :k]
    return np.asarray(np.sort(order, axis=1))


def _vote(table: Samples, subsets: Ints, weighted: bool) -> Floats:
    """Share of subsets, by problem, whose winning answer is correct."""
    return np.array([vote(table, p, subsets, weighted).mean() for p in range(len(table.right))])


def vote(
    table: Samples,
    p: int,
    subsets: Ints,
    weighted: bool = False,
    counted: Bools | None = None,
    weights: Floats | None = None,
) -> Floats:
    """Whether the answer that most of a subset give is correct, 0 or 1; ties to the first column.

    Args:
        table, p: the samples, and the problem.
        subsets: (subsets, k) indexes of samples, in the order in which they break ties.
        weighted: by 1 / log(mean thinking tokens) of those who give an answer.
        counted: (subsets, k), whose votes count; None: all.
        weights: (subsets, k), what each vote counts; None: 1.
    """
    groups = table.groups[p][subsets]
    one_hot = groups[:, :, None] == np.arange(groups.max(initial=0) + 1)
    if counted is not None:
        one_hot &= counted[:, :, None]
    given = np.ones(groups.shape) if weights is None else weights
    votes = (one_hot * given[:, :, None]).sum(axis=1)
    if weighted:
        total = (one_hot * table.thinking[p][subsets][:, :, None]).sum(axis=1)
        mean = np.divide(total, votes, out=np.zeros_like(total, np.float64), where=votes > 0)
        votes = votes / np.log(np.maximum(mean, math.e))
    # the earliest voter of each group breaks ties; groups without a vote never win
    first = np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), subsets.shape[1])
    best = np.isclose(votes, votes.max(axis=1, keepdims=True)) & (votes > 0)
    voter = np.where(best, first, subsets.shape[1]).min(axis=1)
    answered = voter < subsets.shape[1]
    row = subsets[np.arange(len(subsets)), np.minimum(voter, subsets.shape[1] - 1)]
    return np.asarray(table.right[p][row] * answered)
