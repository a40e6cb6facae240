"""ZeRO-3 under Lightning: on GPUs, and for rehearsal on CPU ranks over gloo.

Loading is sharded from the start: modules are made under `deepspeed.zero.Init`, which keeps only
this rank's part of each parameter, and each rank then copies its part out of the memory-mapped
safetensors files. No rank ever holds the whole model.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import deepspeed
import torch
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy
from transformers.initialization import no_init_weights

from s1x.model.load import Source, empty_causal_lm, stored_tensors


class Zero3Strategy(DeepSpeedStrategy):
    """Lightning's DeepSpeed strategy, allowed on CPU ranks too."""

    def __init__(self, config: dict[str, Any], devices: list[torch.device]) -> None:
        self._on_cpu = devices[0].type == "cpu"
        backend = "gloo" if self._on_cpu else "nccl"
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
        """Nothing: `load_sharded` shards by itself, with the right type."""
        yield


def load_sharded(source: Source, config: dict[str, Any]) -> Any:
    """The causal LM, of which this rank holds its part of every parameter.

    The type of the weights is the configuration's (`bf16`): given by hand, DeepSpeed takes
    bfloat16 for float32 on machines without float16.

    Raises:
        UserError: the files are not there, or are not those of the configuration.
    """
    remote = "cpu" if "offload_param" in config["zero_optimization"] else None
    with (
        deepspeed.zero.Init(config_dict_or_path=config, remote_device=remote),
        no_init_weights(),
    ):
        model = empty_causal_lm(source)
    model.tie_weights()
    copy_partitions(model, source)
    return model


def copy_partitions(model: Any, source: Source) -> None:
    """Fills this rank's part of each parameter from the files."""
    rank = torch.distributed.get_rank()
    shapes = {n: p.ds_shape for n, p in model.named_parameters(remove_duplicate=False)}
    for name, parameter, tensors in stored_tensors(source, model, shapes):
        part = parameter.ds_tensor
        size = part.numel()
        piece = tensors.get_tensor(name).reshape(-1)[rank * size : (rank + 1) * size]
        part.data.view(-1)[: piece.numel()].copy_(piece)


def gather(parameter: Any) -> torch.Tensor | None:
    """The whole parameter in main memory of rank 0, None elsewhere. All ranks call it."""
    with deepspeed.zero.GatheredParameters([parameter]):
        if torch.distributed.get_rank() != 0:
            return None
        whole: torch.Tensor = parameter.detach().to("cpu", copy=True)
        return whole
