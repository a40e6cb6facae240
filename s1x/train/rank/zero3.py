"""ZeRO-3 under Lightning: on GPUs, and for rehearsal on CPU ranks over gloo.

Loading is sharded from the start: modules are made under `deepspeed.zero.Init`, which keeps only
this rank's part of each parameter, and each rank then copies its part out of the memory-mapped
safetensors files. No rank ever holds the whole model.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import ClassVar, Protocol, cast

import torch
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, Strategy
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from s1x.errors import reason_of
from s1x.model.load import empty_causal_lm, stored_tensors
from s1x.train.deepspeed_zero3 import DeepspeedZero3
from s1x.train.rank.placement import Placement, Precision


class Zero3Strategy(DeepSpeedStrategy):
    """Lightning's DeepSpeed strategy, allowed on CPU ranks too."""

    def __init__(self, config: dict[str, object], devices: list[torch.device]) -> None:
        backend = "gloo" if devices[0].type == "cpu" else "nccl"
        super().__init__(config=config, parallel_devices=devices, process_group_backend=backend)
        self._cpu_devices = devices

    def setup_environment(self) -> None:
        """Lightning refuses CPUs here; DeepSpeed itself does not."""
        if isinstance(self.accelerator, CUDAAccelerator):
            super().setup_environment()
            return
        self.parallel_devices = self._cpu_devices
        DDPStrategy.setup_environment(self)

    @contextmanager
    def model_sharded_context(self) -> Generator[None, None, None]:
        """Nothing: `Zero3.load` shards by itself, with the right type."""
        yield


class Zero3(Placement):
    """All divided by the ranks; a layer's weights are gathered when it works."""

    #: one type throughout; DeepSpeed keeps float32 masters of bfloat16 weights
    precisions: ClassVar[dict[str, Precision]] = {"bfloat16": "bf16-true", "float32": "32-true"}

    @property
    def load_dtype(self) -> str:
        """Weights lie in the type that they work in."""
        return self.settings.precision

    def config(self) -> dict[str, object]:
        """DeepSpeed's configuration."""
        settings = self.settings
        assert isinstance(settings, DeepspeedZero3)
        bucket = settings.bucket_parameters
        zero: dict[str, object] = {
            "stage": 3,
            **dict.fromkeys(("contiguous_gradients", "overlap_comm", "reduce_scatter"), True),
            **dict.fromkeys(("reduce_bucket_size", "stage3_prefetch_bucket_size"), bucket),
            "stage3_max_live_parameters": 5 * bucket,
            "stage3_max_reuse_distance": 5 * bucket,
            "stage3_param_persistence_threshold": 100_000,
        }
        if settings.offloaded:
            memory = {"device": "cpu", "pin_memory": True}
            zero |= {"offload_optimizer": memory, "offload_param": memory}
        extra = settings.extra_config
        return {
            **extra,
            "zero_optimization": zero | extra.get("zero_optimization", {}),
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "bf16": {"enabled": self.low == torch.bfloat16},
            "train_micro_batch_size_per_gpu": 1,
            "gradient_clipping": settings.gradient_clip_norm,
        }

    def strategy(self) -> Strategy:
        return Zero3Strategy(self.config(), self.devices)

    def load(self) -> PreTrainedModel:
        """The causal LM, of which this rank holds its part of every parameter.

        The type of the weights is the configuration's (`bf16`): given by hand, DeepSpeed takes
        bfloat16 for float32 on machines without float16.
        """
        import deepspeed  # an optional package

        remote = "cpu" if self.settings.offloaded else None
        init = deepspeed.zero.Init(config_dict_or_path=self.config(), remote_device=remote)
        with init, no_init_weights():
            model = empty_causal_lm(self.job.model, self.load_dtype, self.attention)
        model.tie_weights()
        rank = torch.distributed.get_rank()
        for name, parameter, tensors in stored_tensors(
            self.job.model, model, lambda parameter: cast(Sharded, parameter).ds_shape
        ):
            part = cast(Sharded, parameter).ds_tensor
            size = part.numel()
            piece = tensors.get_tensor(name).reshape(-1)[rank * size : (rank + 1) * size]
            part.data.view(-1)[: piece.numel()].copy_(piece)
            # a second copy within each node (zero_hpz_partition_size) was cut from empty memory
            cast(Sharded, parameter).ds_secondary_tensor = None
        return model

    def optimizer(self, groups: list[dict[str, object]]) -> torch.optim.Optimizer:
        """On the host DeepSpeed's, several times as fast, where its extension can be built."""
        if not self.settings.offloaded:
            return super().optimizer(groups)
        from deepspeed.ops.adam import DeepSpeedCPUAdam

        settings = self.settings
        rates = {"lr": settings.learning_rate, "betas": (settings.beta1, settings.beta2)}
        try:
            found: torch.optim.Optimizer = DeepSpeedCPUAdam(groups, **rates, adamw_mode=True)
        except Exception as error:  # whatever a compiler, or its absence, may raise
            reason = reason_of(error)
            print(f"DeepSpeed's AdamW for the host cannot be built ({reason}); torch's is slower")
            return super().optimizer(groups)
        return found

    def gathered(self, parameter: torch.nn.Parameter) -> torch.Tensor | None:
        import deepspeed

        with deepspeed.zero.GatheredParameters([parameter]):
            if torch.distributed.get_rank() != 0:
                return None
            return parameter.detach().to("cpu", copy=True)


class Sharded(Protocol):
    """What DeepSpeed adds to a parameter: its whole shape, and this rank's parts."""

    ds_shape: torch.Size
    ds_tensor: torch.Tensor
    ds_secondary_tensor: torch.Tensor | None
