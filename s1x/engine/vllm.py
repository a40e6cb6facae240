"""The vLLM engine: on GPUs, or with its CPU build (`vllm_live`)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from s1x.engine.engine import Engine, LiveEngine
from s1x.errors import UserError
from s1x.model.load import refuse_other_weights
from s1x.option import option, setting

if TYPE_CHECKING:
    from s1x.model.model import Model


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
    tensor_parallel_size: int = setting(1, "GPUs that share each layer", at_least=1)
    data_parallel_size: int = setting(1, "copies of the model", at_least=1)
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
    def num_gpus(self) -> int:
        return self.tensor_parallel_size * self.data_parallel_size

    def start(self, model: Model) -> LiveEngine:
        """Loads vLLM and the model (37-75 s on a CPU).

        Raises:
            UserError: vLLM is not installed, or refuses the model or an argument.
        """
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
