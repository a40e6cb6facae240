"""Attention for samples that lie end to end: exact, and never across samples.

transformers can build a block-diagonal mask from restarting position ids, but a mask of T x T
positions is large (1 GiB at 32K), rules out the fast causal kernels and computes what it throws
away. Here each sample attends by itself, one after another, with the causal kernel; on two cores
that is four times as fast as one padded rectangle. On GPUs torch's `varlen_attn` (FlashAttention 2,
part of torch) takes all samples in one call, without repeating keys and values and without a plan
for each new length, as cuDNN's kernels make; where the package flash-attn is installed,
transformers calls its variable-length kernel instead.

Shapes: B = 1 batch, H heads, K key-value heads, T tokens of all samples, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention

NAME = "s1x_packed"
#: names of the attentions, as `train.attention` and transformers know them
PACKED, SDPA, FLASH = NAME, "sdpa", "flash_attention_2"


def register() -> None:
    """Makes the attention known to transformers as `s1x_packed`."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*_: object, **__: object) -> None:
    return None


def packing_arguments(
    lengths: Sequence[int], attention: str, device: torch.device
) -> dict[str, object]:
    """Keyword arguments that tell the attention in use where samples begin.

    `lengths` are the tokens of each sample, in the order they lie. `sdpa` sees the restarting
    position ids and needs nothing.
    """
    if attention == SDPA:
        return {}
    ends = torch.tensor([0, *lengths]).cumsum(0).to(device, torch.int32)
    if attention == PACKED:
        return {"sample_lengths": tuple(lengths), "sample_ends": ends}
    found = {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends}
    return {**found, **dict.fromkeys(("max_length_q", "max_length_k"), max(lengths))}


def takes_varlen(query: torch.Tensor) -> bool:
    """Whether torch's variable-length kernel takes it: sm80 and newer, 16 bits, heads to 256."""
    return (
        query.is_cuda
        and query.dtype in (torch.bfloat16, torch.float16)
        and query.shape[-1] % 8 == 0
        and query.shape[-1] <= 256
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


@torch.compiler.disable  # samples' lengths are new in each pass: a compiled layer is cut here
def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sample_lengths: tuple[int, ...] | None = None,
    sample_ends: torch.Tensor | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each sample; [1, H, T, D], [1, K, T, D] twice → [1, T, H, D]."""
    assert sample_lengths is not None, "packed attention needs the samples' lengths"
    assert attention_mask is None, "packed attention takes no mask"
    if sample_ends is not None and not dropout and takes_varlen(query):
        q, k, v = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))
        ends, longest, causal = sample_ends, max(sample_lengths), (-1, 0)
        at_once = varlen_attn(
            *(q, k, v),
            cu_seq_q=ends,
            cu_seq_k=ends,
            max_q=longest,
            max_k=longest,
            scale=scaling,
            window_size=causal,
            enable_gqa=True,
        )
        assert isinstance(at_once, torch.Tensor)
        return at_once[None], None
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    parts = (torch.split(x, list(sample_lengths), dim=2) for x in (query, key, value))
    outs = [
        scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling)
        for q, k, v in zip(*parts, strict=True)
    ]
    return torch.cat(outs, dim=2).transpose(1, 2).contiguous(), None
