"""Where weights, gradients and optimizer states lie: on one device; subclasses shard them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.strategies import SingleDeviceStrategy, Strategy
from torch.distributed.device_mesh import DeviceMesh
from transformers import PreTrainedModel
from transformers.utils import import_utils

from s1x.classes import load_class
from s1x.model.load import load_causal_lm
from s1x.train.job import Job
from s1x.train.rank import attention

#: Lightning's names of the precisions
Precision = Literal["bf16-mixed", "bf16-true", "32-true"]


class CheckpointsInMemory(TorchCheckpointIO):
    """Reads into main memory by the device's name: 8-bit states cannot be mapped by a function."""

    def load_checkpoint(
        self, path: str | Path, map_location: object = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """What was saved, as Lightning wants it."""
        return super().load_checkpoint(path, "cpu", weights_only)  # type: ignore[arg-type]


class Placement:
    """All on one device.

    Attributes:
        job: whose settings name this class as their `placement`.
        devices: of this node's ranks.
        low: type of the arithmetic.
    """

    precisions: ClassVar[dict[str, Precision]] = {"bfloat16": "bf16-mixed", "float32": "32-true"}

    def __init__(self, job: Job) -> None:
        self.job, self.settings = job, job.settings
        self.kind = "cuda" if job.settings.num_gpus() else "cpu"
        self.devices = [torch.device(self.kind, index) for index in range(job.ranks_per_node)]
        self.low = torch.bfloat16 if job.settings.precision == "bfloat16" else torch.float32

    @classmethod
    def of(cls, job: Job) -> Placement:
        """The placement that the settings name."""
        found = load_class(job.settings.placement, "train.placement")
        assert issubclass(found, Placement)
        return found(job)

    @property
    def load_dtype(self) -> str:
        """Type of the weights as loaded: master weights are float32, so float32."""
        return "float32"

    @property
    def attention(self) -> str:
        """The implementation of attention, as transformers knows it."""
        wanted = self.settings.attention
        if self.settings.padded and wanted in ("auto", "packed"):
            return attention.SDPA
        if wanted == "auto" and self.kind == "cuda" and self.low == torch.bfloat16:
            flash = import_utils.is_flash_attn_2_available()
            return attention.FLASH if flash else attention.PACKED
        return attention.PACKED if wanted in ("auto", "packed") else wanted

    def strategy(self) -> Strategy:
        """Lightning's strategy for this rank's node."""
        return SingleDeviceStrategy(device=self.devices[0], checkpoint_io=CheckpointsInMemory())

    def load(self) -> PreTrainedModel:
        """The causal LM with its weights, placed as the strategy needs them."""
        return load_causal_lm(self.job.model, self.load_dtype, self.attention)

    def shard(
        self, net: torch.nn.Module, causal_lm: PreTrainedModel, mesh: DeviceMesh | None
    ) -> None:
        """Splits what the strategy wraps over ranks, where that is not the strategy's own work."""

    def optimizer(self, groups: list[dict[str, object]]) -> torch.optim.Optimizer:
        """AdamW over these groups of parameters, each with its decay."""
        settings = self.settings
        rate, betas = settings.learning_rate, (settings.beta1, settings.beta2)
        if settings.optimizer_states == "8bit":
            from torchao.optim import AdamW8bit  # an optional package

            found: torch.optim.Optimizer = AdamW8bit(groups, lr=rate, betas=betas)
            return found
        # fused: no copies of the states while it steps
        return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=True)

    def gathered(self, parameter: torch.nn.Parameter) -> torch.Tensor | None:
        """The whole parameter on rank 0, in main memory; None on the other ranks. Collective."""
        return parameter.detach().cpu()
