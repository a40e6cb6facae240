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

from collections.abc import Callable, Collection
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

#: (tokens, 4), see the module
Confidence: TypeAlias = NDArray[np.float16]
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
