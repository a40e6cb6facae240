"""Whether the engine's model fits its devices, and how long generation takes.

A step writes one token of every sequence in flight: it reads the weights once and the keys and
values of all of them, and multiplies each token with the weights. What takes longer counts, at half
of the maker's bandwidth and arithmetic; docs/training.md has the formula with an example.
"""

from __future__ import annotations

from dataclasses import dataclass

from s1x.engine.engine import Engine
from s1x.engine.transformers import Transformers
from s1x.engine.vllm import BASE_BYTES, REACHED, Vllm, divides_heads, room_bytes
from s1x.gpus import GIB, Gpu
from s1x.model.architecture import Architecture

#: what a forced Wait adds to a trace (s1's Figure 4: six of them add about half)
WAIT_SHARE = 0.1
#: an engine starts once per model
START_SECONDS = 120.0


@dataclass(frozen=True)
class Evaluation:
    """One benchmark under one curve: the longest point is generated, shorter ones are its parts.

    Attributes:
        name: of the benchmark.
        num_problems: None where it is not known before it is loaded.
        samples_per_problem: of each problem.
        thinking_tokens: expected of a trace at the longest point.
        num_points: of the curve; each has its own short answers.
        num_models: base and fine-tuned: 2.
        answer_tokens: expected.
        direct: whether the base model is also asked for the answer at once.
        longest_tokens: the limit of a trace; None: as expected.
    """

    name: str
    num_problems: int | None
    samples_per_problem: int = 1
    thinking_tokens: float = 8000.0
    num_points: int = 1
    num_models: int = 1
    answer_tokens: float = 500.0
    direct: bool = False
    longest_tokens: float | None = None

    @property
    def generated_tokens(self) -> float | None:
        """Tokens that the engine writes."""
        if self.num_problems is None:
            return None
        samples = self.num_problems * self.samples_per_problem
        thought = self.num_models * (self.thinking_tokens + self.num_points * self.answer_tokens)
        return samples * (thought + self.direct * self.answer_tokens)


@dataclass(frozen=True)
class Deployment:
    """Devices that generate: copies of the model, each shared by `tensor_parallel` GPUs.

    Attributes:
        in_flight: sequences at most, per copy.
        memory_share: of a device's memory that the engine takes.
        cache_bytes: for keys and values, per copy; None: what the weights leave.
    """

    tensor_parallel: int = 1
    replicas: int = 1
    in_flight: int = 256
    memory_share: float = 0.9
    cache_bytes: float | None = None

    @classmethod
    def of(cls, engine: Engine) -> Deployment | None:
        """How an engine is deployed; None: on devices of others, on processors, without a model."""
        if isinstance(engine, Vllm):
            return cls(
                engine.num_shards,
                engine.num_copies,
                engine.max_num_seqs,
                engine.gpu_memory_utilization,
            )
        if isinstance(engine, Transformers) and engine.device != "cpu":
            return cls(1, 1, engine.batch_size, 0.9, engine.cache_gib * GIB)
        return None

    @property
    def num_gpus(self) -> int:
        """All devices."""
        return self.tensor_parallel * self.replicas

    def room(self, shape: Architecture, device: Gpu) -> float:
        """Bytes for keys and values of one copy; negative where the weights do not fit."""
        left = room_bytes(shape, device, self.tensor_parallel, self.memory_share)
        return left if self.cache_bytes is None else min(left, self.cache_bytes)

    def step_seconds(
        self, shape: Architecture, device: Gpu, in_flight: float, held: float
    ) -> float:
        """Seconds to write one token of each sequence in flight; `held`: tokens that each holds."""
        weights = 2.0 * shape.parameters
        read = weights + in_flight * held * shape.kv_bytes_per_token()
        bandwidth = device.bandwidth_bytes_per_second * REACHED
        arithmetic = device.peak_tflops * 1e12 * REACHED
        slower = max(read / bandwidth, in_flight * weights / arithmetic)
        return slower / self.tensor_parallel

    def seconds(self, evaluation: Evaluation, shape: Architecture, device: Gpu) -> float | None:
        """Seconds to generate an evaluation, the last trace's tail included; None: not known."""
        tokens = evaluation.generated_tokens
        if tokens is None or device.name == "cpu":
            return None
        held = evaluation.thinking_tokens / 2 + evaluation.answer_tokens
        traces = (evaluation.num_problems or 0) * evaluation.samples_per_problem / self.replicas
        fits = self.room(shape, device) / (held * shape.kv_bytes_per_token())
        in_flight = max(1.0, min(self.in_flight, fits, traces))
        step = self.step_seconds(shape, device, in_flight, held)
        longest = evaluation.longest_tokens or evaluation.thinking_tokens
        tail = longest * self.step_seconds(shape, device, 1.0, longest / 2)
        return tokens / (in_flight * self.replicas) * step + evaluation.num_models * tail

    def problems(self, shape: Architecture, device: Gpu, context_tokens: int) -> list[str]:
        """What vLLM or the memory would refuse after training, with the remedy."""
        heads, size = shape.num_attention_heads, self.tensor_parallel
        context = float(context_tokens * shape.kv_bytes_per_token())
        good = [n for n in (1, 2, 4, 8) if n <= heads and divides_heads(n, shape)]
        fitting = [n for n in good if self._with(n).room(shape, device) >= context]
        if not divides_heads(size, shape):
            return [
                f"engine.tensor_parallel_size={size} does not divide the model's {heads} attention "
                f"heads ({shape.num_key_value_heads} for keys and values); set it to "
                f"{_or(fitting or good)}"
            ]
        wanted = context if self.cache_bytes is None else 0.0
        if device.name == "cpu" or self.room(shape, device) >= wanted:
            return []
        needs = (2.0 * shape.parameters + context) / size / GIB
        has = (self.memory_share * device.memory_bytes - BASE_BYTES) / GIB
        remedy = f"set engine.tensor_parallel_size to {_or(fitting)}, or " if fitting else ""
        return [
            f"the model does not fit the engine: weights and one context of {context_tokens:,} "
            f"tokens take {needs:.0f} GiB of each GPU and {device.name} has {has:.0f} to give; "
            f"{remedy}set model.context_tokens lower"
        ]

    def _with(self, tensor_parallel: int) -> Deployment:
        return Deployment(tensor_parallel, self.replicas, self.in_flight, self.memory_share)


def _or(numbers: list[int]) -> str:
    return " or ".join(map(str, numbers))
