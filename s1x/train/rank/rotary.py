"""Rotary frequencies stay float32 whatever the weights are.

DeepSpeed's and Lightning's bfloat16 convert a module's buffers with its weights. Rounded to
8 bits, the inverse frequencies of rotary embeddings are off by up to 0.4%: at position 20,000 that
is dozens of radians, and the model is no longer the one that `from_pretrained` gives. On short
samples the loss hardly shows it. So they are computed anew when training starts.
"""

from __future__ import annotations

import torch


def restore_rotary(causal_lm: torch.nn.Module) -> None:
    """Recomputes the inverse frequencies of every rotary embedding in float32."""
    for module in causal_lm.modules():
        buffers, config = dict(module.named_buffers(recurse=False)), vars(module).get("config")
        if "inv_freq" in buffers and config is not None:
            for name, value in type(module)(config=config).named_buffers(recurse=False):
                assert value.dtype == torch.float32, name
                module._buffers[name] = value.to(buffers["inv_freq"].device)


def rotary_is_float32(causal_lm: torch.nn.Module) -> bool:
    """Whether every rotary embedding has float32 frequencies."""
    named = causal_lm.named_buffers()
    return all(value.dtype == torch.float32 for name, value in named if name.endswith("inv_freq"))
