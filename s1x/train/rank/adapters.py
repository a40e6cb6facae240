"""LoRA adapters: put into the model by peft, and drawn alike however the weights are sharded."""

from __future__ import annotations

import zlib

import torch
from transformers import PreTrainedModel

from s1x.errors import UserError
from s1x.train.settings import Lora


def add_adapters(causal_lm: PreTrainedModel, lora: Lora) -> None:
    """Puts LoRA adapters into the model, its own weights frozen.

    Raises:
        UserError: no layer has one of the names.
    """
    from peft import LoraConfig, inject_adapter_in_model  # an optional package

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
    )
    try:
        inject_adapter_in_model(config, causal_lm)
    except ValueError as error:
        raise UserError(f"train.lora.target_modules: {str(error).splitlines()[0]}") from error
    for name, parameter in causal_lm.named_parameters():
        if not parameter.is_meta and (drawn := drawn_adapter(name, parameter.shape)) is not None:
            parameter.data.copy_(drawn)


def drawn_adapter(name: str, shape: torch.Size) -> torch.Tensor | None:
    """The first values of an adapter, which depend on its name alone; None for other parameters.

    As peft draws them: the first factor uniform, the second zero.
    """
    if ".lora_B." in name:
        return torch.zeros(shape)
    if ".lora_A." not in name:
        return None
    drawn = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.nn.init.kaiming_uniform_(torch.empty(shape), a=5**0.5, generator=drawn)
