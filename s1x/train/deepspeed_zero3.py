"""DeepSpeed ZeRO-3: weights, gradients and optimizer states sharded over all ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from s1x.option import option, setting
from s1x.train.settings import TrainSettings


@option("train", "deepspeed_zero3")
@dataclass(frozen=True)
class DeepspeedZero3(TrainSettings):
    """What s1-32B is trained with at the GPU scales.

    bfloat16 weights and gradients (4 bytes a parameter), float32 master weights and AdamW states
    (12 bytes), all divided by the ranks; a layer's weights are gathered when it works.
    """

    placement: ClassVar[str] = "s1x.train.rank.zero3.Zero3"
    sharded: ClassVar[bool] = True
    strategy_needs: ClassVar[tuple[str, ...]] = ("deepspeed",)

    bucket_parameters: int = setting(
        200_000_000, "gathered or reduced at once; less: less memory, more messages", at_least=1000
    )
