"""Which ids of a model's output layer are tokens at all."""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerBase


def sampleable_ids(tokenizer: PreTrainedTokenizerBase, num_ids: int) -> torch.Tensor:
    """(num_ids,) booleans: False for rows of the output layer that no token stands behind.

    Output layers are padded for speed; such an id, fed back, crashes some engines and has no text.
    """

    allowed = torch.zeros(num_ids, dtype=torch.bool)
    known = [token for token in tokenizer.get_vocab().values() if token < num_ids]
    allowed[known] = True
    return allowed
