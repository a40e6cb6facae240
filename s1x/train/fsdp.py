"""PyTorch's fully sharded data parallelism (FSDP2): ZeRO-3 without DeepSpeed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from s1x.option import option
from s1x.train.settings import TrainSettings

if TYPE_CHECKING:
    import torch
    from lightning.pytorch.strategies import Strategy


@option("train", "fsdp")
@dataclass(frozen=True)
class Fsdp(TrainSettings):
    """float32 weights, gradients and AdamW states (16 bytes a parameter), divided by the ranks.

    A layer is gathered in bfloat16 when it works, and gradients are summed in float32.
    """

    sharded: ClassVar[bool] = True

    def lightning_precision(self) -> Any:
        """float32: what is gathered for arithmetic is cast by FSDP's own policy."""
        return "32-true"

    def strategy(self, devices: list[torch.device]) -> Strategy:
        from s1x.train.rank.fsdp2 import Fsdp2Strategy

        return Fsdp2Strategy(devices)

    def load(self, source: Any) -> Any:
        from s1x.train.rank.fsdp2 import empty_model

        return empty_model(source)

    def shard(self, net: torch.nn.Module, source: Any, mesh: Any) -> None:
        from s1x.train.rank.fsdp2 import shard_and_fill

        shard_and_fill(net, source, mesh, self.precision)

    def gathered(self, parameter: torch.nn.Parameter) -> torch.Tensor | None:
        from s1x.train.rank.fsdp2 import gather

        return gather(parameter)
