"""PyTorch's fully sharded data parallelism (FSDP2): ZeRO-3 without DeepSpeed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from s1x.option import option
from s1x.train.settings import TrainSettings


@option("train", "fsdp")
@dataclass(frozen=True)
class Fsdp(TrainSettings):
    """float32 weights, gradients and AdamW states (16 bytes a parameter), divided by the ranks.

    A layer is gathered in bfloat16 when it works, and gradients are summed in float32.
    """

    placement: ClassVar[str] = "s1x.train.rank.fsdp2.Fsdp2"
    sharded: ClassVar[bool] = True
