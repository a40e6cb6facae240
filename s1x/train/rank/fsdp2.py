"""FSDP2 under Lightning: modules are made without memory, sharded, and filled from the files.

Each rank reads only its own rows of each parameter, so no rank ever holds the whole model.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from s1x.model.load import empty_causal_lm, stored_tensors
from s1x.train.rank.adapters import drawn_adapter
from s1x.train.rank.placement import Placement, Precision


class Fsdp2Strategy(ModelParallelStrategy):
    """Lightning's strategy for FSDP2, all ranks in one data-parallel group, on GPUs or CPUs."""

    def __init__(self, devices: list[torch.device]) -> None:
        backend = "gloo" if devices[0].type == "cpu" else "nccl"
        super().__init__(tensor_parallel_size=1, process_group_backend=backend)
        self._devices = devices

    def setup_environment(self) -> None:
        """One data-parallel group of all ranks."""
        assert self.cluster_environment is not None
        self.parallel_devices = self._devices
        self._data_parallel_size = len(self._devices) * self.num_nodes
        super().setup_environment()

    def _determine_device_ids(self) -> list[int]:
        return [self.root_device.index or 0]


def _own_rows(parameter: torch.Tensor, ranks: DeviceMesh) -> tuple[torch.Tensor, slice]:
    """This rank's rows of a sharded parameter, to be written, and which they are."""
    held = parameter.detach()
    assert isinstance(held, DTensor)
    own = held.to_local()
    each = -(-parameter.shape[0] // ranks.size())
    start = min(ranks.get_local_rank() * each, parameter.shape[0])
    return own, slice(start, start + own.shape[0])


class Fsdp2(Placement):
    """Every decoder layer, and the rest, divided by the ranks; gathered in the low type."""

    #: what is gathered for arithmetic is cast by FSDP's own policy
    precisions: ClassVar[dict[str, Precision]] = {"bfloat16": "32-true", "float32": "32-true"}

    def strategy(self) -> Strategy:
        return Fsdp2Strategy(self.devices)

    def load(self) -> PreTrainedModel:
        """The causal LM on torch's `meta` device: shapes without memory."""
        with torch.device("meta"):
            model = empty_causal_lm(self.job.model, self.load_dtype, self.attention)
        model.tie_weights()
        return model

    def shard(
        self, net: torch.nn.Module, causal_lm: PreTrainedModel, mesh: DeviceMesh | None
    ) -> None:
        """Shards every decoder layer and the rest, then reads this rank's rows."""
        assert mesh is not None
        ranks = mesh["data_parallel"]
        policy = MixedPrecisionPolicy(param_dtype=self.low, reduce_dtype=torch.float32)
        layers = causal_lm.base_model.get_submodule("layers")
        for part in (*layers.children(), net):
            fully_shard(part, mesh=ranks, mp_policy=policy)
        on_gpu = self.kind == "cuda"
        net.to_empty(device=torch.device("cuda", torch.cuda.current_device()) if on_gpu else "cpu")
        causal_lm.tie_weights()
        for name, parameter, tensors in stored_tensors(self.job.model, causal_lm):
            own, rows = _own_rows(parameter, ranks)
            if own.shape[0]:
                own.copy_(tensors.get_slice(name)[rows])
        for name, parameter in causal_lm.named_parameters():
            if (drawn := drawn_adapter(name, parameter.shape)) is not None:
                own, rows = _own_rows(parameter, ranks)
                own.copy_(drawn[rows])

    def gathered(self, parameter: torch.nn.Parameter) -> torch.Tensor | None:
        held = parameter.detach()
        assert isinstance(held, DTensor)
        whole = held.full_tensor()
        return whole.cpu() if torch.distributed.get_rank() == 0 else None
