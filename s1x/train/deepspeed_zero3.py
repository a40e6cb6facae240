"""DeepSpeed ZeRO-3: weights, gradients and optimizer states sharded over all ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from s1x.option import option, setting
from s1x.train.settings import TrainSettings

if TYPE_CHECKING:
    import torch
    from lightning.pytorch.strategies import Strategy


@option("train", "deepspeed_zero3")
@dataclass(frozen=True)
class DeepspeedZero3(TrainSettings):
    """What s1-32B is trained with at the GPU scales.

    bfloat16 weights and gradients (4 bytes a parameter), float32 master weights and AdamW states
    (12 bytes), all divided by the ranks; a layer's weights are gathered when it works.
    """

    sharded: ClassVar[bool] = True
    strategy_needs: ClassVar[tuple[str, ...]] = ("deepspeed",)

    bucket_parameters: int = setting(
        200_000_000, "gathered or reduced at once; less: less memory, more messages", at_least=1000
    )

    def load_dtype(self) -> str:
        """Weights lie in the type that they work in; DeepSpeed keeps float32 masters."""
        return self.precision

    def lightning_precision(self) -> Any:
        """bfloat16 throughout, or float32 throughout."""
        return "bf16-true" if self.precision == "bfloat16" else "32-true"

    def config(self) -> dict[str, Any]:
        """DeepSpeed's configuration."""
        bucket = self.bucket_parameters
        zero: dict[str, Any] = {
            "stage": 3,
            "contiguous_gradients": True,
            "overlap_comm": True,
            "reduce_scatter": True,
            "reduce_bucket_size": bucket,
            "stage3_prefetch_bucket_size": bucket,
            "stage3_max_live_parameters": 5 * bucket,
            "stage3_max_reuse_distance": 5 * bucket,
            "stage3_param_persistence_threshold": 100_000,
        }
        if self.offloaded:
            zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
            zero["offload_param"] = {"device": "cpu", "pin_memory": True}
        return {
            "zero_optimization": zero,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "bf16": {"enabled": self.precision == "bfloat16"},
            "train_micro_batch_size_per_gpu": 1,
            "gradient_clipping": self.gradient_clip_norm,
        }

    def strategy(self, devices: list[torch.device]) -> Strategy:
        from s1x.train.rank.zero3 import Zero3Strategy

        return Zero3Strategy(self.config(), devices)

    def load(self, source: Any) -> Any:
        from s1x.train.rank.zero3 import load_sharded

        return load_sharded(source, self.config())

    def gathered(self, parameter: torch.nn.Parameter) -> torch.Tensor | None:
        from s1x.train.rank.zero3 import gather

        return gather(parameter)
