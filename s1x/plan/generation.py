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
    """Devices that generate: engines, each with copies of the model on `tensor_parallel` GPUs.

    Attributes:
        replicas: copies in one engine.
        in_flight: sequences at most, per copy.
        memory_share: of a device's memory that the engine takes.
        cache_bytes: for keys and values, per copy; None: what the weights leave.
        num_engines: that Ray places; None: there is one, in the run's own process.
    """

    tensor_parallel: int = 1
    replicas: int = 1
    in_flight: int = 256
    memory_share: float = 0.9
    cache_bytes: float | None = None
    num_engines: int | None = None

    @classmethod
    def of(cls, engine: Engine, num_engines: int | None = None) -> Deployment | None:
        """How an engine is deployed; None: on devices of others, on processors, without a model."""
        if isinstance(engine, Vllm):
            return cls(
                engine.num_shards,
                engine.num_copies,
                engine.max_num_seqs,
                engine.gpu_memory_utilization,
                num_engines=num_engines,
            )
        if isinstance(engine, Transformers) and engine.device != "cpu":
            room = engine.cache_gib * GIB
            return cls(1, 1, engine.batch_size, 0.9, room, num_engines)
        return None

    @property
    def num_gpus(self) -> int:
        """Devices of one engine."""
        return self.tensor_parallel * self.replicas

    @property
    def num_copies(self) -> int:
        """Copies of the model in all engines."""
        return self.replicas * (self.num_engines or 1)

    def sharing(self) -> str:
        """Who makes the copies, and why."""
        copies = f"{self.replicas} copies of {self.tensor_parallel} GPUs"
        if self.num_engines is None:
            if self.replicas == 1:
                return f"1 of {self.tensor_parallel} GPUs, in this process"
            return (
                f"1 with {copies} in one node, made by engine.data_parallel_size={self.replicas}; "
                "workers=ray makes copies on every node"
            )
        if self.replicas == 1:
            return (
                f"{self.num_engines} of {self.tensor_parallel} GPUs, made by workers=ray: all take "
                "from one queue; engine.data_parallel_size is 1 and makes none"
            )
        return (
            f"{self.num_engines} made by workers=ray, each with {copies} made by "
            f"engine.data_parallel_size={self.replicas} as it was given; "
            "null leaves all copies to Ray, whose queue keeps them equally busy"
        )

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

    def _batch(self, evaluation: Evaluation, shape: Architecture, device: Gpu) -> tuple[float, ...]:
        """Sequences in flight on one copy, and the seconds of a step."""
        held = evaluation.thinking_tokens / 2 + evaluation.answer_tokens
        traces = (evaluation.num_problems or 0) * evaluation.samples_per_problem / self.num_copies
        fits = self.room(shape, device) / (held * shape.kv_bytes_per_token())
        in_flight = max(1.0, min(self.in_flight, fits, traces))
        return in_flight, self.step_seconds(shape, device, in_flight, held)

    def tokens_per_second(
        self, evaluation: Evaluation, shape: Architecture, device: Gpu
    ) -> float | None:
        """That one engine writes while there is enough to do; None: not known."""
        if evaluation.num_problems is None or device.name == "cpu":
            return None
        in_flight, step = self._batch(evaluation, shape, device)
        return self.replicas * in_flight / step

    def seconds(self, evaluation: Evaluation, shape: Architecture, device: Gpu) -> float | None:
        """Seconds to generate an evaluation, the last trace's tail included; None: not known."""
        tokens = evaluation.generated_tokens
        if tokens is None or device.name == "cpu":
            return None
        in_flight, step = self._batch(evaluation, shape, device)
        longest = evaluation.longest_tokens or evaluation.thinking_tokens
        tail = longest * self.step_seconds(shape, device, 1.0, longest / 2)
        return tokens / (in_flight * self.num_copies) * step + evaluation.num_models * tail

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
