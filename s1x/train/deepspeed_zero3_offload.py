"""DeepSpeed ZeRO-3 with optimizer states and weights in main memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from s1x.option import option
from s1x.train.deepspeed_zero3 import DeepspeedZero3


@option("train", "deepspeed_zero3_offload")
@dataclass(frozen=True)
class DeepspeedZero3Offload(DeepspeedZero3):
    """For fewer GPUs: the GPU holds a few layers and the activations, main memory the rest.

    AdamW runs on the host: DeepSpeed's own where its extension can be built (a C++ compiler), else
    torch's.
    """

    offloaded: ClassVar[bool] = True
