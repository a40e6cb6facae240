"""Attention for samples that lie end to end: exact, and never across samples.

transformers can build a block-diagonal mask from restarting position ids, but a mask of T x T
positions is large (1 GiB at 32K) and rules out the fast causal kernels. Here each sample attends by
itself: long ones one after another, short ones side by side in a padded rectangle, where causality
alone keeps the padding (at the right) out of reach. On GPUs with FlashAttention its variable-length
kernel does the same from `cu_seq_lens`.

Shapes: B = 1 batch, H heads, K key-value heads, T tokens of all samples, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

NAME = "s1x_packed"
#: from this mean length on, samples attend one after another
LONG_TOKENS = 512


@dataclass(frozen=True)
class Packing:
    """Where samples begin in a packed row."""

    lengths: tuple[int, ...]
    scatter: torch.Tensor | None
    """[T] place of each token in the rectangle samples x longest; None: one after another."""

    @classmethod
    def of(cls, lengths: list[int], device: torch.device) -> Packing:
        """The packing of samples with these lengths, in this order."""
        longest = max(lengths)
        if len(lengths) == 1 or sum(lengths) >= LONG_TOKENS * len(lengths):
            return cls(tuple(lengths), None)
        places = [torch.arange(n) + index * longest for index, n in enumerate(lengths)]
        return cls(tuple(lengths), torch.cat(places).to(device))


def register() -> None:
    """Makes the attention known to transformers as `s1x_packed`."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    return None


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packing: Packing | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each sample; [1, H, T, D] → [1, T, H, D]."""
    assert packing is not None and attention_mask is None, "packed attention needs a packing"
    groups = query.shape[1] // key.shape[1]
    if packing.scatter is None:
        out = _one_by_one(query, key, value, packing.lengths, dropout, scaling)
        return out, None
    rectangle = [_rectangle(x, packing, packing.scatter) for x in (query, key, value)]
    if groups > 1:
        rectangle[1:] = [x.repeat_interleave(groups, dim=1) for x in rectangle[1:]]
    out = scaled_dot_product_attention(*rectangle, dropout_p=dropout, is_causal=True, scale=scaling)
    flat = out.transpose(1, 2).flatten(0, 1)  # [samples x longest, H, D]
    return flat.index_select(0, packing.scatter).unsqueeze(0), None


def _rectangle(x: torch.Tensor, packing: Packing, scatter: torch.Tensor) -> torch.Tensor:
    """[1, H, T, D] → [samples, H, longest, D], zeros at the right."""
    _, heads, _, width = x.shape
    rows, longest = len(packing.lengths), max(packing.lengths)
    flat = x.new_zeros(rows * longest, heads, width)
    flat = flat.index_copy(0, scatter, x[0].transpose(0, 1))
    return flat.view(rows, longest, heads, width).transpose(1, 2)


def _one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: tuple[int, ...],
    dropout: float,
    scaling: float | None,
) -> torch.Tensor:
    gqa = query.shape[1] != key.shape[1]
    outs = []
    for q, k, v in zip(
        query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True
    ):
        out = scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=gqa
        )
        outs.append(out.transpose(1, 2))
    return torch.cat(outs, dim=1).contiguous()
