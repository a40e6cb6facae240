"""Where weights, gradients and optimizer states lie: on one device; subclasses shard them."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from lightning.pytorch.strategies import SingleDeviceStrategy, Strategy
from transformers import PreTrainedModel
from transformers.utils import import_utils

from s1x.classes import load_class
from s1x.model.load import Source, load_causal_lm
from s1x.model.model import Model
from s1x.train.rank import attention
from s1x.train.settings import TrainSettings


class Placement:
    """All on one device.

    Attributes:
        settings: the option that names this class as its `placement`.
        devices: of this node's ranks.
        low: type of the arithmetic.
    """

    #: Lightning's names of the precisions
    precisions: ClassVar[dict[str, str]] = {"bfloat16": "bf16-mixed", "float32": "32-true"}

    def __init__(self, settings: TrainSettings, ranks_per_node: int) -> None:
        self.settings = settings
        self.kind = "cuda" if settings.uses_gpus() else "cpu"
        self.devices = [torch.device(self.kind, index) for index in range(ranks_per_node)]
        self.low = torch.bfloat16 if settings.precision == "bfloat16" else torch.float32

    @classmethod
    def of(cls, settings: TrainSettings, ranks_per_node: int) -> Placement:
        """The placement that the settings name."""
        found = load_class(settings.placement, "train.placement")
        assert issubclass(found, Placement)
        return found(settings, ranks_per_node)

    @property
    def load_dtype(self) -> str:
        """Type of the weights as loaded: master weights are float32, so float32."""
        return "float32"

    @property
    def precision(self) -> Any:
        """Lightning's name of the precision."""
        return self.precisions[self.settings.precision]

    def source(self, model: Model) -> Source:
        """The model's weights, in the type and with the attention that training wants."""
        return Source.of(model, self.load_dtype, self._attention())

    def _attention(self) -> str:
        wanted = self.settings.attention
        if self.settings.batching == "padded" and wanted in ("auto", "packed"):
            return attention.SDPA
        if wanted == "auto" and self.kind == "cuda" and self.low == torch.bfloat16:
            flash = import_utils.is_flash_attn_2_available()
            return attention.FLASH if flash else attention.PACKED
        return attention.PACKED if wanted in ("auto", "packed") else wanted

    def strategy(self) -> Strategy:
        """Lightning's strategy for this rank's node."""
        return SingleDeviceStrategy(device=self.devices[0])

    def load(self, source: Source) -> PreTrainedModel:
        """The causal LM with its weights, placed as the strategy needs them."""
        return load_causal_lm(source)

    def shard(
        self, net: torch.nn.Module, plain_lm: PreTrainedModel, source: Source, mesh: Any
    ) -> None:
        """Splits the module over ranks, where that is not the strategy's own work.

        Args:
            net: what the strategy wraps.
            plain_lm: the causal LM in it, without adapters.
            source: where the weights are.
            mesh: of the ranks, where the strategy has one.
        """

    def gathered(self, parameter: torch.nn.Parameter) -> torch.Tensor | None:
        """The whole parameter on rank 0, in main memory; None on the other ranks. Collective."""
        return parameter.detach().cpu()
