"""The vLLM engine: on GPUs, or with its CPU build (`vllm_live`)."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from s1x.engine.engine import Engine, LiveEngine
from s1x.errors import UserError
from s1x.gpus import GIB, Gpu
from s1x.model.architecture import Architecture
from s1x.model.load import refuse_other_weights
from s1x.option import option, setting

if TYPE_CHECKING:
    from s1x.model.model import Model

#: libraries, context and buffers of a device that generates
BASE_BYTES = 3.0 * GIB
#: share of the maker's bandwidth and arithmetic that decoding reaches
REACHED = 0.5
#: for a token of a trace that is alone: the longest one then takes minutes, not a quarter hour
TOKEN_SECONDS = 0.01


@option("engine", "vllm")
@dataclass(frozen=True)
class Vllm(Engine):
    """Runs the model with vLLM, on GPUs or with its CPU build.

    Traces are exact on the CPU; on GPUs they may differ in the last bits with the batch, and
    `batch_invariant` makes them independent of it (CUDA only, slower).
    """

    needs: ClassVar = ("vllm",)

    max_num_seqs: int = setting(
        256, "sequences in flight at most, per copy of the model", at_least=1, affects_result=False
    )
    tensor_parallel_size: int | None = setting(
        1,
        "GPUs that share each layer; null: the fewest that divide the heads, hold the weights and "
        "two contexts, and write a lone trace at 100 tokens/s or as fast as the node can",
        at_least=1,
    )
    data_parallel_size: int | None = setting(
        1,
        "copies of the model in one engine; null: as many as node_gpus hold, or one where workers "
        "make the copies",
        at_least=1,
        affects_result=False,
    )
    node_gpus: int = setting(
        1, "of the node, where sizes are null", at_least=1, affects_result=False
    )
    gpu_memory_utilization: float = setting(
        0.9, "share of GPU memory used", above=0, at_most=1, affects_result=False
    )
    cpu_cache_gib: int = setting(
        1, "memory for keys and values, CPU build", at_least=1, affects_result=False
    )
    dtype: str | None = setting(
        None, "of weights; null: the model's own", choices=["bfloat16", "float32"]
    )
    block_tokens: int | None = setting(
        None, "tokens of a block of the prefix cache; null: vLLM's own, 32 on the CPU", at_least=1
    )
    sessions: bool = setting(
        True, "run segments of one trace as streaming sessions, where memory allows"
    )
    stall_seconds: float = setting(
        120.0,
        "without a token, after which sessions are given up, and then the run",
        above=0,
        affects_result=False,
    )
    log_folder: str | None = setting(
        None, "where vLLM's own messages go; null: to the console", affects_result=False
    )
    enforce_eager: bool = setting(False, "no compilation: starts faster, runs slower")
    batch_invariant: bool = setting(False, "same tokens whatever is batched (CUDA only)")
    extra_arguments: dict[str, Any] = setting(
        factory=dict, doc="further arguments of vLLM's AsyncEngineArgs, by their names"
    )

    @property
    def num_shards(self) -> int:
        """GPUs that share each layer."""
        return self.tensor_parallel_size or 1

    @property
    def num_copies(self) -> int:
        """Copies of the model."""
        return self.data_parallel_size or 1

    @property
    def num_gpus(self) -> int:
        return self.num_shards * self.num_copies

    def fitted(self, model: Model, device: Gpu, is_copied: bool = False) -> Vllm:
        tensor = self.tensor_parallel_size
        if tensor is None:
            tensor = 1 if device.name == "cpu" else self._fewest(model, device)
        copies = self.data_parallel_size or (1 if is_copied else max(1, self.node_gpus // tensor))
        return replace(self, tensor_parallel_size=tensor, data_parallel_size=copies)

    def _fewest(self, model: Model, device: Gpu) -> int:
        try:
            shape = Architecture.of(model.architecture, model.name)
        except UserError as error:
            raise UserError(f"{error}, or set engine.tensor_parallel_size") from error
        two_contexts = 2.0 * model.context_tokens * shape.kv_bytes_per_token()
        good = [n for n in range(1, self.node_gpus + 1) if divides_heads(n, shape)]
        share = self.gpu_memory_utilization
        fitting = [n for n in good if room_bytes(shape, device, n, share) >= two_contexts]
        read_seconds = 2.0 * shape.parameters / (REACHED * device.bandwidth_bytes_per_second)
        for size in fitting:
            if read_seconds / size <= TOKEN_SECONDS or size == fitting[-1]:
                return size
        raise UserError(
            f"model {model.name} with two contexts of {model.context_tokens:,} tokens does not fit "
            f"into engine.node_gpus={self.node_gpus} x {device.name}; set model.context_tokens "
            "lower, or engine.node_gpus to what the node has"
        )

    def start(self, model: Model) -> LiveEngine:
        """Loads vLLM and the model (37-75 s on a CPU).

        Raises:
            UserError: vLLM is not installed, or refuses the model or an argument.
        """
        if None in (self.tensor_parallel_size, self.data_parallel_size):
            raise UserError(
                "engine.tensor_parallel_size and engine.data_parallel_size of null are chosen by "
                "run.py; give numbers here"
            )
        refuse_other_weights(model)
        self._set_environment()
        try:
            from s1x.engine.vllm_live import start  # not before the environment is set
        except ImportError as error:
            raise UserError(
                f"engine=vllm needs vLLM, which cannot be imported ({error}); "
                "`make setup-gpu` installs it (`make setup-all`: its CPU build), "
                "or use engine=transformers"
            ) from error
        return start(self, model)

    def _set_environment(self) -> None:
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(self.cpu_cache_gib))
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        if self.batch_invariant:
            os.environ["VLLM_BATCH_INVARIANT"] = "1"


def divides_heads(size: int, shape: Architecture) -> bool:
    """Whether heads can be dealt to N devices; keys and values may be copied instead."""
    small, large = sorted((size, shape.num_key_value_heads))
    return shape.num_attention_heads % size == 0 and large % small == 0


def room_bytes(shape: Architecture, device: Gpu, size: int, memory_share: float) -> float:
    """What N devices leave for keys and values beside 16-bit weights; may be negative."""
    return (memory_share * device.memory_bytes - BASE_BYTES) * size - 2.0 * shape.parameters
