"""How sure the model was of each token: what is kept beside its id.

Four half-precision numbers a token, of the distribution that it was drawn from before temperature
and top_p, natural logarithms. All come from the token and the 20 likeliest ones, so that they mean
the same on every engine:

0. its log-probability;
1. the entropy, all beyond the 20 likeliest taken as one outcome (a lower bound);
2. the mean log-probability of the 20 likeliest: minus this is DeepConf's token confidence (Fu et
   al. 2025, arXiv 2508.15260, section 3.1), which is *high* where the model is sure;
3. the rank of the likeliest end of thinking, 1 or more; 255 beyond the 20 likeliest.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

#: (tokens, 4), see the module
Confidence: TypeAlias = NDArray[np.float16]
#: one number a token
Values: TypeAlias = NDArray[np.floating]
#: called with the rows of new tokens
OnConfidence = Callable[[Confidence], bool]

LOG_PROB, ENTROPY, MEAN_LOG_PROB, END_RANK = range(4)
NUM_LIKELIEST, NO_RANK = 20, 255
NUM_VALUES = 4
ROW_BYTES = NUM_VALUES * np.dtype(np.float16).itemsize


def confidence_rows(
    log_probs: NDArray[np.floating],
    likeliest: NDArray[np.floating],
    likeliest_ids: NDArray[np.integer],
    end_ids: Collection[int],
) -> Confidence:
    """What is kept of N tokens.

    Args:
        log_probs: (N,) of the tokens written.
        likeliest, likeliest_ids: (N, 20) log-probabilities, the likeliest first, and their ids;
            fewer columns where the vocabulary has no more.
        end_ids: first ids of what ends thinking.
    """
    top = likeliest.astype(np.float64)
    mass = np.exp(top)
    rest = np.clip(1 - mass.sum(axis=1), 0, 1)
    rest_term = rest * np.log(rest, out=np.zeros_like(rest), where=rest > 0)
    is_end = np.isin(likeliest_ids, list(end_ids))
    rank = np.where(is_end.any(axis=1), is_end.argmax(axis=1) + 1, NO_RANK)
    finite = np.maximum(top, np.finfo(np.float16).min)  # a token that cannot be drawn
    weighed = np.where(mass > 0, mass * finite, 0.0).sum(axis=1)
    values = [log_probs, -weighed - rest_term, finite.mean(axis=1), rank]
    return np.stack(values, axis=1).astype(np.float16)


def from_bytes(raw: bytes) -> Confidence:
    """The rows that `tobytes` wrote."""
    return np.frombuffer(raw, np.float16).reshape(-1, NUM_VALUES)


# -- of a whole trace ------------------------------------------------------------------------------

#: tokens of a group, whose mean confidence is looked at (DeepConf: 2,048)
GROUP_TOKENS = 2048
MEASURES = ("mean", "tail", "bottom", "lowest", "self_certainty", "tail_certainty")
#: share of the groups that are the bottom
BOTTOM_SHARE = 0.1


def group_means(values: Values, group_tokens: int = GROUP_TOKENS) -> Values:
    """Means over every `group_tokens` values in a row; of fewer values the mean of all.

    Half-precision numbers add up exactly here, so that whoever adds them one by one gets the same.
    """
    exact = values.astype(np.float64)
    size = min(group_tokens, len(exact))
    sums = np.cumsum(np.concatenate([[0.0], exact]))
    means: Values = (sums[size:] - sums[:-size]) / size
    return means


def confidence_measures(
    confidences: Values, entropies: Values, group_tokens: int = GROUP_TOKENS
) -> dict[str, float]:
    """What a trace's votes can be weighed by, from the numbers of its tokens; without any, 0.

    `mean`, `tail` (the last group), `bottom` (mean of the lowest tenth of the groups) and `lowest`
    (group) are DeepConf's (arXiv 2508.15260, section 3.1). `self_certainty` is the divergence from
    equal chances for the 20 likeliest (Kang et al. 2025, arXiv 2502.18581, there over the whole
    vocabulary). `tail_certainty` is exp(-entropy), 0 to 1, the entropy a mean over the last group.
    """
    if not len(confidences):
        return dict.fromkeys(MEASURES, 0.0)
    groups = group_means(confidences, group_tokens)
    lowest = np.sort(groups)[: max(1, int(len(groups) * BOTTOM_SHARE))]
    mean = float(confidences.astype(np.float64).mean())
    return {
        "mean": mean,
        "tail": float(group_means(confidences, group_tokens)[-1]),
        "bottom": float(lowest.mean()),
        "lowest": float(groups.min()),
        "self_certainty": self_certainty(confidences),
        "tail_certainty": math.exp(-group_means(entropies, group_tokens)[-1]),
    }


def self_certainty(confidences: Values) -> float:
    """Mean divergence from equal chances over the 20 likeliest, in nats."""
    return float(confidences.astype(np.float64).mean()) - math.log(NUM_LIKELIEST)


class GroupWatch:
    """Follows the mean confidence of the last group, token by token: an `OnConfidence`.

    Args:
        bar: the mean below which nobody wants more, once there is a whole group.
        group_tokens: of a group.
    """

    def __init__(self, bar: float, group_tokens: int = GROUP_TOKENS) -> None:
        self.bar, self.group_tokens = bar, group_tokens
        self._last: deque[float] = deque()
        self._sum = 0.0

    def __call__(self, rows: Confidence) -> bool:
        for row in rows:
            self._last.append(-float(row[MEAN_LOG_PROB]))
            self._sum += self._last[-1]
            if len(self._last) > self.group_tokens:
                self._sum -= self._last.popleft()
        return len(self._last) < self.group_tokens or self._sum / self.group_tokens >= self.bar


def tokens_above(
    confidences: Values, bars: Values, group_tokens: int = GROUP_TOKENS
) -> NDArray[np.int64]:
    """Tokens that are written until `GroupWatch` has enough, that token included, for each bar."""
    count = len(confidences)
    if count < group_tokens:
        return np.full(len(bars), count)
    sinking = -np.minimum.accumulate(group_means(confidences, group_tokens))
    first = np.searchsorted(sinking, -bars, side="right")  # that is below the bar
    return np.minimum(first + group_tokens, count)
