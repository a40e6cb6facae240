"""Drawing a token from logits, without state: the same seed and position give the same token.

The uniform number behind a draw is a hash of the stream's seed and the token's position, so a
sample does not change when it is cut into requests or batched with others.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase


def sampleable_ids(tokenizer: PreTrainedTokenizerBase, num_ids: int) -> torch.Tensor:
    """(num_ids,) booleans: False for rows of the output layer that no token stands behind.

    Output layers are padded for speed; such an id, fed back, crashes some engines and has no text.
    """
    allowed = torch.zeros(num_ids, dtype=torch.bool)
    allowed[[token for token in tokenizer.get_vocab().values() if token < num_ids]] = True
    return allowed


def uniform(seeds: NDArray[np.uint64], positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Numbers in [0, 1), one for each pair of a seed and a position (splitmix64)."""
    with np.errstate(over="ignore"):
        state = seeds.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15) * (
            positions.astype(np.uint64) + np.uint64(1)
        )
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    numbers: NDArray[np.float64] = (state >> np.uint64(11)).astype(np.float64) / float(1 << 53)
    return numbers


def draw(
    logits: torch.Tensor, temperatures: torch.Tensor, top_ps: torch.Tensor, uniforms: torch.Tensor
) -> torch.Tensor:
    """One id a row by inverting the cumulated probabilities, the likeliest token first.

    Args:
        logits: (rows, vocabulary).
        temperatures: (rows,), above 0.
        top_ps: (rows,), in (0, 1]: tokens after the first whose mass before them reaches it go.
        uniforms: (rows,), in [0, 1).
    """
    scaled = logits.double() / temperatures[:, None].double()
    probabilities, order = torch.softmax(scaled, dim=-1).sort(dim=-1, descending=True, stable=True)
    before = probabilities.cumsum(-1) - probabilities
    probabilities = probabilities.masked_fill(before >= top_ps[:, None], 0.0)
    mass = probabilities.cumsum(-1)
    wanted = uniforms[:, None].double() * mass[:, -1:]
    chosen = torch.searchsorted(mass, wanted, right=True).clamp(max=logits.shape[-1] - 1)
    return order.gather(-1, chosen)[:, 0]
