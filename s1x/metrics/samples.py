"""Parallel scaling from one set of samples: pass@k, avg@k, cons@k, shortest-majority at every k.

A problem has n samples; a value at k < n is the mean over subsets of k of them, in their order:
all subsets where there are at most `MOST_SUBSETS`, else as many seeded draws. At k = n there is one
subset, the samples as they are. Votes go by the extracted answer's normal form; a sample without an
answer has no vote, and ties go to the answer that came first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from s1x.metrics.bootstrap import NUM_RESAMPLES, SEED, interval, resampled_means
from s1x.metrics.results import Estimate, SampleCount
from s1x.metrics.table import Cell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

MOST_SUBSETS = 500


def sample_counts(
    cell: Cell,
    ks: Sequence[int] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = SEED,
) -> list[SampleCount]:
    """The metrics at each k (default: powers of two up to n, and n), n the samples of a problem.

    Problems with fewer samples than the most are left out, as are those with an ungraded one.
    """
    import numpy as np

    table = _by_problem(cell)
    n = table.verdicts.shape[1]
    if not len(table.verdicts):
        return []
    made = []
    for k in ks or sorted({2**i for i in range(n.bit_length()) if 2**i <= n} | {n}):
        subsets = _subsets(n, k, seed)
        columns = [
            pass_at_k(n, table.verdicts.sum(axis=1), k),
            table.verdicts.mean(axis=1),
            _vote(table, subsets, weighted=False),
            _vote(table, subsets, weighted=True),
        ]
        values = 100 * np.stack(columns, axis=1)
        resamples = resampled_means(values, num_resamples, seed)
        estimates = [
            Estimate(float(values[:, i].mean()), *interval(resamples[:, i])) for i in range(4)
        ]
        tokens = k * float(table.tokens.mean())
        made.append(SampleCount(k, len(values), n, tokens, *estimates))
    return made


def pass_at_k(num_samples: int, num_correct: Ints | Floats | int, k: int) -> Floats:
    """Unbiased pass@k: 1 - C(n - c, k) / C(n, k), a fraction (Chen et al. 2021, equation 1)."""
    import numpy as np

    assert 1 <= k <= num_samples
    correct = np.asarray(num_correct, np.int64)
    all_of_k = math.comb(num_samples, k)
    table = [1 - math.comb(num_samples - c, k) / all_of_k for c in range(num_samples + 1)]
    return np.asarray(np.array(table)[correct])


class _Samples:
    """Arrays (problems, samples): correct or not, total tokens, thinking tokens, answer's group.

    Groups number the distinct answers of a problem in order of appearance; -1: no answer.
    """

    def __init__(self, verdicts: Floats, tokens: Ints, thinking: Ints, groups: Ints) -> None:
        self.verdicts, self.tokens, self.thinking, self.groups = verdicts, tokens, thinking, groups


def _by_problem(cell: Cell) -> _Samples:
    import numpy as np

    from s1x.benchmark.extraction import normal_form

    n = cell.samples_per_problem
    full = np.bincount(cell.problem, minlength=len(cell.problem_ids)) == n
    graded = np.bincount(cell.problem, weights=~np.isfinite(cell.is_correct)) == 0
    rows = np.flatnonzero((full & graded)[cell.problem])
    texts = [None if a is None else normal_form(a) for a in cell.extracted_answer]
    groups = np.full(len(cell.problem), -1, np.int64)
    seen: dict[tuple[int, str], int] = {}
    count: dict[int, int] = {}
    for row in rows.tolist():
        problem, text = int(cell.problem[row]), texts[row]
        if text is not None:
            if (problem, text) not in seen:
                seen[problem, text] = count.get(problem, 0)
                count[problem] = seen[problem, text] + 1
            groups[row] = seen[problem, text]
    total = cell.thinking_tokens + cell.answer_tokens
    return _Samples(
        cell.is_correct[rows].reshape(-1, n),
        total[rows].reshape(-1, n),
        cell.thinking_tokens[rows].reshape(-1, n),
        groups[rows].reshape(-1, n),
    )


def _subsets(n: int, k: int, seed: int) -> Ints:
    """(subsets, k) indexes of samples, each row ascending."""
    import numpy as np

    assert 1 <= k <= n, f"k must be between 1 and the {n} samples, got {k}"
    if math.comb(n, k) <= MOST_SUBSETS:
        return np.array(list(combinations(range(n), k)), np.int64)
    generator = np.random.default_rng([seed, n, k])
    order = generator.random((MOST_SUBSETS, n)).argsort(axis=1)[:, :k]
    return np.asarray(np.sort(order, axis=1))


def _vote(table: _Samples, subsets: Ints, weighted: bool) -> Floats:
    """Share of subsets, by problem, whose winning answer is correct."""
    import numpy as np

    share = np.zeros(len(table.verdicts))
    for p in range(len(share)):
        groups = table.groups[p][subsets]
        one_hot = groups[:, :, None] == np.arange(groups.max(initial=0) + 1)
        votes = one_hot.sum(axis=1).astype(np.float64)
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
        share[p] = (table.verdicts[p][row] * answered).mean()
    return share
