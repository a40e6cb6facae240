"""What activation checkpointing keeps of a layer, so that the backward pass need not repeat it."""

from __future__ import annotations

from functools import partial

import torch
from torch.nn.attention import varlen  # noqa: F401 - registers its operator
from torch.utils.checkpoint import create_selective_checkpoint_contexts

#: torch's attentions, by whatever kernel
ATTENTION = (
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.torch_attn._varlen_attn.default,
)
PRODUCTS = (
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
)
SPARED = {"nothing": (), "attention": ATTENTION, "products": (*ATTENTION, *PRODUCTS)}


def checkpointing(spares: str) -> dict[str, object]:
    """Arguments of torch's `checkpoint` for `train.recompute_spares`."""
    if not SPARED[spares]:
        return {"use_reentrant": False}
    contexts = partial(create_selective_checkpoint_contexts, list(SPARED[spares]))
    return {"use_reentrant": False, "context_fn": contexts}
