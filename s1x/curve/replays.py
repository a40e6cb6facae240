"""Rules that stop sampling early, replayed over samples that are there: what they would have saved.

Every rule reads the same samples as majority voting at the same k, so their differences are paired.
A rule sees samples in their order, or all k side by side; subsets of k are those of
`s1x.curve.samples`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from s1x.curve.cells import Cell
from s1x.curve.curves import share_estimate
from s1x.curve.interval import Estimate, Floats, Result, contrast_interval
from s1x.curve.samples import Bools, Ints, Samples, by_problem, powers_to, subsets_of, vote
from s1x.traces.confidence import GROUP_TOKENS, tokens_above

#: (samples, problem, subsets) → of each subset: is the answer right, total tokens written
Rule = Callable[[Samples, int, Ints], tuple[Floats, Floats]]


@dataclass(frozen=True)
class Replay(Result):
    """A rule at k samples per problem, beside the majority of all k."""

    rule: str
    k: int
    num_problems: int
    accuracy_percent: Estimate
    gain_points: Estimate  # minus the majority of all k, paired
    mean_total_tokens: float  # thinking and answers per question that the rule lets be written
    saved_percent: float  # of the tokens of all k


def adaptive_consistency(
    table: Samples, p: int, subsets: Ints, confidence: float = 0.95
) -> tuple[Floats, Floats]:
    """Draws one sample after another until the leading answer is unlikely to be overtaken.

    It stops when 1 - I_1/2(v1 + 1, v2 + 1) >= `confidence`, v1 and v2 the votes of the two leading
    answers (the Beta stopping rule of Aggarwal et al. 2023, arXiv 2305.11860); then the majority of
    what was drawn. Tokens: thinking and answers of the samples that were drawn.
    """
    groups = table.groups[p][subsets]
    one_hot = groups[:, :, None] == np.arange(max(2, groups.max(initial=0) + 1))
    leading = np.sort(one_hot.cumsum(axis=1), axis=2)[:, :, :-3:-1]
    k = subsets.shape[1]
    sure = np.array([[lead_certainty(a, b) for b in range(k + 1)] for a in range(k + 1)])
    done = sure[leading[:, :, 0], leading[:, :, 1]] >= confidence
    drawn = np.where(done.any(axis=1), done.argmax(axis=1) + 1, k)
    counted = np.arange(k) < drawn[:, None]
    tokens = (table.tokens[p][subsets] * counted).sum(axis=1)
    return vote(table, p, subsets, counted=counted), tokens


def lead_certainty(first: int, second: int) -> float:
    """1 - I_1/2(first + 1, second + 1): how surely the first of two answers has the larger share.

    I is the regularised incomplete beta function, for whole numbers a sum of binomials.
    """
    n = first + second + 1
    return 1 - math.ldexp(sum(math.comb(n, j) for j in range(first + 1, n + 1)), -n)


def short_m_at_k(table: Samples, p: int, subsets: Ints, m: int = 3) -> tuple[Floats, Floats]:
    """Lets k samples think side by side and stops all when the first m have thought to their end.

    The majority of these m, ties to the shortest thinking (short-m@k, arXiv 2505.17813). Tokens: of
    each of the k its thinking up to the length of the m-th, and the answers of the m.
    """
    order = table.thinking[p][subsets].argsort(axis=1, kind="stable")
    ranked = np.take_along_axis(subsets, order, axis=1)
    finished = ranked[:, :m]
    thinking, total = table.thinking[p], table.tokens[p]
    longest = thinking[finished[:, -1]]
    thought = np.minimum(thinking[ranked], longest[:, None]).sum(axis=1)
    answers = (total - thinking)[finished].sum(axis=1)
    return vote(table, p, finished), thought + answers


def confidence_vote(
    table: Samples, p: int, subsets: Ints, measure: str, keep_percent: float = 100.0
) -> tuple[Floats, Floats]:
    """The vote of all k, each weighed by its confidence, of those with an answer the surest alone.

    Tokens: of all k (DeepConf offline, arXiv 2508.15260, section 3.2).
    """
    assert table.measures is not None
    weights = table.measures[measure][p][subsets]
    counted = None
    if keep_percent < 100:
        answered = table.groups[p][subsets] >= 0
        counted = weights >= _bar(weights, answered, keep_percent)[:, None]
    right = vote(table, p, subsets, counted=counted, weights=weights)
    return right, table.tokens[p][subsets].sum(axis=1)


def _bar(weights: Floats, answered: Bools, keep_percent: float) -> Floats:
    """Of each row the percentile above which `keep_percent` of those with an answer lie."""
    ordered = np.sort(np.where(answered, weights, np.inf), axis=1)  # the others come last
    last = np.maximum(answered.sum(axis=1) - 1, 0)
    place = last * (1 - keep_percent / 100)
    low = np.floor(place).astype(int)
    rows = np.arange(len(ordered))
    below, above = ordered[rows, low], ordered[rows, np.minimum(low + 1, last)]
    rest = np.where(place > low, place - low, 0.0)
    return np.asarray(np.where(rest > 0, below + rest * (above - below), below))


def deepconf(
    table: Samples, p: int, subsets: Ints, keep_percent: float, group_tokens: int
) -> tuple[Floats, Floats]:
    """DeepConf online: the first samples set a bar, later ones stop where a group falls below it.

    The first 16, or a quarter of k where that is less, are written to their end; see
    `s1x.search.deepconf`, which does so live. Tokens: thinking and answers that are written.
    """
    assert table.confidences is not None
    assert table.measures is not None
    first = max(1, min(16, subsets.shape[1] // 4))
    lowest = table.measures["lowest"][p][subsets]
    bar = np.percentile(lowest[:, :first], 100 - keep_percent, axis=1, keepdims=True)
    right = vote(table, p, subsets, counted=lowest >= bar, weights=lowest)
    tokens = table.tokens[p][subsets]
    for sample, confidences in enumerate(table.confidences[p]):
        rows, columns = np.nonzero(subsets[:, first:] == sample)
        cuts = tokens_above(confidences, bar[rows, 0], group_tokens)
        tokens[rows, columns + first] += cuts - len(confidences)
    return right, tokens.sum(axis=1)


def _rules(table: Samples, group_tokens: int) -> dict[str, Rule]:
    """The rules that can be replayed over these samples."""
    if table.measures is None:
        return RULES
    weighed: dict[str, Rule] = {
        f"vote by {words}": partial(confidence_vote, measure=measure)
        for measure, words in MEASURES.items()
    }
    kept: dict[str, Rule] = {
        f"vote of the best {keep}% by tail": partial(
            confidence_vote, measure="tail", keep_percent=keep
        )
        for keep in (10, 90)
    }
    online: dict[str, Rule] = {
        f"DeepConf, best {keep}%": partial(deepconf, keep_percent=keep, group_tokens=group_tokens)
        for keep in (10, 90)
    }
    return {**RULES, **online, **weighed, **kept}


#: measure of `confidence_measures` → its words
MEASURES = {
    "mean": "mean confidence",
    "tail": "tail confidence",
    "bottom": "bottom 10% confidence",
    "lowest": "lowest group confidence",
    "self_certainty": "self-certainty",
    "tail_certainty": "tail entropy",
}
#: words for a rule → the rule
RULES: dict[str, Rule] = {
    "adaptive consistency": adaptive_consistency,
    "short-1@k": partial(short_m_at_k, m=1),
    "short-3@k": partial(short_m_at_k, m=3),
}


def replays(
    cell: Cell,
    ks: Sequence[int] | None = None,
    seed: int = 0,
    group_tokens: int = GROUP_TOKENS,
) -> list[Replay]:
    """Each rule at each k (default: powers of two from 2 up to the samples per problem, and that).

    Problems with fewer samples than the most are left out. None where answers or tokens were not
    recorded; rules that weigh confidence only where that was.
    """
    table = by_problem(cell, group_tokens)
    count, n = table.right.shape
    if not count or not cell.num_graded or not table.can_replay:
        return []
    rules = _rules(table, group_tokens)
    return list(_replays(table, rules, ks or [k for k in powers_to(n) if k > 1], n, seed))


def _replays(
    table: Samples, rules: Mapping[str, Rule], ks: Sequence[int], n: int, seed: int
) -> Iterator[Replay]:
    problems = range(len(table.right))
    for k in ks:
        subsets = subsets_of(n, k, seed)
        majority = np.array([vote(table, p, subsets).mean() for p in problems])
        whole = np.mean([table.tokens[p][subsets].sum(axis=1).mean() for p in problems])
        for name, rule in rules.items():
            found = [rule(table, p, subsets) for p in problems]
            right, tokens = np.array([[part.mean() for part in each] for each in found]).T
            both = np.stack([right, majority], axis=1)
            gain = contrast_interval(both, (1, -1), n / k)
            yield Replay(
                rule=name,
                k=k,
                num_problems=len(problems),
                accuracy_percent=share_estimate(pl.Series(right), n / k),
                gain_points=Estimate.percent((right - majority).mean(), gain),
                mean_total_tokens=float(tokens.mean()),
                saved_percent=float(100 * (1 - tokens.mean() / whole)) if whole else 0.0,
            )
