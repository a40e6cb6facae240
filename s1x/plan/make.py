"""The plan of a run: parameters, memory, arithmetic, hours, money, disk, and what is missing.

Hours follow from a stated model FLOPs utilization (MFU). The default, 20%, is what s1's published
26 minutes on 16 H100 imply for its 1,000 samples and 5 epochs; `docs/performance.md` has the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from s1x.errors import UserError
from s1x.model.architecture import Architecture
from s1x.plan.gpus import GIB, Gpu, gpu
from s1x.plan.machine import Machine
from s1x.plan.memory import Memory, checkpoint_bytes, training_memory

if TYPE_CHECKING:
    from s1x.model.model import Model
    from s1x.train.settings import TrainSettings

S1_MFU = 0.20
#: share of a device's memory that training may need; the rest is lost between blocks
USABLE = 0.95
#: share of the memory bandwidth that decoding reaches
DECODE_BANDWIDTH_SHARE = 0.5
DECODE_BATCH = 64


@dataclass(frozen=True)
class Work:
    """What is trained on: number of samples and their tokens, known or expected.

    Attributes:
        num_samples: rows of the selection.
        mean_tokens: of a sample, prompt included.
        longest_tokens: of the longest sample; None: train.max_sequence_tokens.
    """

    num_samples: int = 1000
    mean_tokens: float = 5600.0
    longest_tokens: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """One benchmark under one curve: the longest point is generated, shorter ones are its parts.

    Attributes:
        name: of the benchmark.
        num_problems: None where it is not known before it is loaded.
        samples_per_problem: of each problem.
        thinking_tokens: expected at the longest point.
        num_points: of the curve; each has its own short answers.
        num_models: base and fine-tuned: 2.
        answer_tokens: expected.
    """

    name: str
    num_problems: int | None
    samples_per_problem: int = 1
    thinking_tokens: float = 8000.0
    num_points: int = 1
    num_models: int = 1
    answer_tokens: float = 500.0

    @property
    def generated_tokens(self) -> float | None:
        """Tokens that the engine writes."""
        if self.num_problems is None:
            return None
        traces = self.num_problems * self.samples_per_problem * self.num_models
        return traces * (self.thinking_tokens + self.num_points * self.answer_tokens)


@dataclass(frozen=True)
class Plan:
    """Numbers and problems; everything per run unless it says otherwise."""

    parameters: int
    num_ranks: int
    device: Gpu
    memory: Memory
    train_tokens: float
    train_flops: float
    mfu: float
    train_seconds: float
    gpu_hours: float | None
    usd: float | None
    checkpoint_bytes: float
    disk_bytes: float
    evaluations: tuple[tuple[Evaluation, float | None], ...] = ()
    """Each with its predicted seconds."""
    problems: list[str] = field(default_factory=list)

    def table(self) -> list[str]:
        """Lines for the console."""
        memory, gib = self.memory, GIB
        parts = [
            ("weights", memory.weights),
            ("gradients", memory.gradients),
            ("optimizer", memory.optimizer),
            ("gathered layers, buffers", memory.gathered),
            ("activations", memory.activations),
            ("logits", memory.logits),
            ("or, stepping: gradients", memory.stepping),
            ("libraries", memory.base),
        ]
        lines = [f"parameters            {self.parameters:,} ({self.parameters / 1e9:.2f}B)"]
        lines += [f"ranks                 {self.num_ranks} x {self.device.name}"]
        has = self.device.memory_bytes / gib
        lines += [f"memory a rank         {memory.total / gib:.1f} GiB of {has:.1f}"]
        lines += [f"  {name:<25} {size / gib:8.2f} GiB" for name, size in parts]
        if memory.host:
            lines.append(f"  main memory, offloaded    {memory.host / gib:8.2f} GiB a rank")
        lines += [
            f"training tokens       {self.train_tokens:,.0f}",
            f"training FLOPs        {self.train_flops:.3g} (model FLOPs)",
            f"training time         {_hours(self.train_seconds)} {self._speed()}",
            f"training GPU-hours    {_known(self.gpu_hours, '.1f')}",
            f"training cost         {_known(self.usd, ',.0f', 'USD ')}",
            f"disk                  {self.disk_bytes / gib:.1f} GiB"
            f" (a checkpoint has {self.checkpoint_bytes / gib:.1f})",
        ]
        for evaluation, seconds in self.evaluations:
            tokens = _known(evaluation.generated_tokens, ",.0f")
            took = "unknown" if seconds is None else _hours(seconds)
            lines.append(f"evaluate {evaluation.name:<12} {tokens} tokens, {took}")
        return lines + [f"problem: {problem}" for problem in self.problems]

    def _speed(self) -> str:
        if self.device.name == "cpu":
            return "at the speed measured on two cores"
        return f"at {self.mfu:.0%} MFU"

    def refuse(self) -> None:
        """Raises what cannot work.

        Raises:
            UserError: the first problem, with its remedy.
        """
        if self.problems:
            raise UserError(self.problems[0])


def make_plan(
    train: TrainSettings,
    model: Model,
    work: Work | None = None,
    evaluations: Sequence[Evaluation] = (),
    *,
    gpu_name: str = "H100",
    mfu: float = S1_MFU,
    usd_per_gpu_hour: float | None = None,
    engine_gpus: int = 1,
    needed_modules: Sequence[str] = (),
    needed_keys: Sequence[str] = (),
    machine: Machine | None = None,
) -> Plan:
    """The plan of a composed configuration. Pure: no files, no network, no heavy library.

    Args:
        train: recipe and strategy; `devices_per_node` and `num_nodes` say how many ranks.
        model: its `architecture` gives the numbers.
        work: what is trained on.
        evaluations: what is generated.
        gpu_name: device that the run is meant for ("cpu" for the laptop).
        mfu: model FLOPs utilization that hours are predicted at.
        usd_per_gpu_hour: None: the cost stays unknown.
        engine_gpus: GPUs that generate.
        needed_modules, needed_keys: modules and environment variables that other stages need.
        machine: what is there; None: only what no machine could do is a problem.

    Raises:
        UserError: the model has no architecture numbers, or a GPU's name is not known.
    """
    work = work or Work()
    shape = Architecture.of(model.architecture, model.name)
    on_cpu = gpu_name == "cpu" or train.device == "cpu"
    device = gpu("cpu" if on_cpu else gpu_name)
    if on_cpu and machine is not None:
        device = Gpu(
            "cpu", machine.memory_bytes, device.peak_tflops, device.bandwidth_bytes_per_second
        )
    num_ranks = (train.devices_per_node or 1) * train.nodes
    longest = min(work.longest_tokens or train.max_sequence_tokens, train.max_sequence_tokens)
    pass_tokens = max(longest, min(train.pass_tokens, _batch_tokens(train, work, num_ranks)))
    memory = training_memory(train, shape, num_ranks, pass_tokens, on_cpu)
    tokens = work.num_samples * work.mean_tokens * train.epochs
    if train.max_steps is not None:
        tokens = min(tokens, train.max_steps * train.batch_sequences * work.mean_tokens)
    flops = tokens / work.mean_tokens * shape.training_flops([round(work.mean_tokens)])
    rate = 1.0 if on_cpu else mfu
    seconds = flops / (device.peak_tflops * 1e12 * num_ranks * rate)
    hours = None if on_cpu else num_ranks * seconds / 3600
    saved = checkpoint_bytes(train, shape)
    kept = train.keep_checkpoints + 1 if train.checkpoint_every_steps else 0
    exported = (2.0 if train.export_dtype == "bfloat16" else 4.0) * shape.parameters
    plan = Plan(
        parameters=shape.parameters,
        num_ranks=num_ranks,
        device=device,
        memory=memory,
        train_tokens=tokens,
        train_flops=flops,
        mfu=rate,
        train_seconds=seconds,
        gpu_hours=hours,
        usd=None if hours is None or usd_per_gpu_hour is None else hours * usd_per_gpu_hour,
        checkpoint_bytes=saved,
        disk_bytes=saved * kept + exported,
        evaluations=tuple((e, _decode_seconds(e, shape, device, engine_gpus)) for e in evaluations),
    )
    plan.problems.extend(_problems(plan, train, model, machine, on_cpu))
    if machine is not None:
        plan.problems.extend(missing(machine, (*train.needs, *needed_modules), needed_keys))
    return plan


def _batch_tokens(train: TrainSettings, work: Work, num_ranks: int) -> int:
    return round(train.batch_sequences * work.mean_tokens / num_ranks)


def _decode_seconds(
    evaluation: Evaluation, shape: Architecture, device: Gpu, gpus: int
) -> float | None:
    """Seconds to generate, memory-bound: weights once a batch of tokens, the cache of each."""
    tokens = evaluation.generated_tokens
    if tokens is None or device.name == "cpu":
        return None
    cache = DECODE_BATCH * shape.kv_bytes_per_token() * evaluation.thinking_tokens / 2
    step_bytes = 2.0 * shape.parameters + cache
    bandwidth = device.bandwidth_bytes_per_second * gpus * DECODE_BANDWIDTH_SHARE
    return tokens / DECODE_BATCH * step_bytes / bandwidth


def _problems(
    plan: Plan, train: TrainSettings, model: Model, machine: Machine | None, on_cpu: bool
) -> list[str]:
    found = []
    needed, has = plan.memory.total, USABLE * plan.device.memory_bytes
    if needed > has:
        found.append(
            f"training does not fit: a rank needs at least {needed / GIB:.0f} GiB and "
            f"{plan.device.name} has {has / GIB:.0f} to give; {_what_to_try(plan, train)}"
        )
    if machine is None:
        return found
    per_node = plan.num_ranks // train.nodes
    there = len(machine.gpu_memory_bytes)
    nodes = f" on each of {train.nodes} nodes" if train.nodes > 1 else ""
    if not on_cpu and there < per_node and not machine.in_slurm:
        found.append(
            f"training needs {per_node} GPU{'s' if per_node > 1 else ''}{nodes} and this machine "
            f"has {there}; run it where they are (docs/training.md), or use scale=laptop"
        )
    allocated = int(machine.environment.get("SLURM_NNODES", train.nodes))
    if machine.in_slurm and not train.hosts and allocated < train.nodes:
        found.append(
            f"train.num_nodes={train.nodes}, but Slurm's allocation has {allocated}; "
            f"ask for --nodes={train.nodes}, or, if the model is trained already, set "
            "stages=[evaluate,report]"
        )
    if plan.memory.host * per_node > machine.memory_bytes and there >= per_node:
        found.append(
            f"offloading needs {plan.memory.host * per_node / GIB:.0f} GiB of main memory on this "
            f"node, which has {machine.memory_bytes / GIB:.0f}; use more nodes"
        )
    if plan.disk_bytes > machine.disk_free_bytes:
        found.append(
            f"checkpoints and the model need {plan.disk_bytes / GIB:.0f} GiB of disk, "
            f"{machine.disk_free_bytes / GIB:.0f} are free; set output=... to a larger disk, or "
            "train.checkpoint_every_steps=0"
        )
    local = model.path.startswith((".", "/", "~", "package:"))
    if machine.hub_reachable is False and not local:
        found.append(
            f"model.path {model.path} is on the hub, which cannot be reached from here; "
            "set model.path to a local folder, or unset HF_HUB_OFFLINE"
        )
    return found


def _what_to_try(plan: Plan, train: TrainSettings) -> str:
    memory, has = plan.memory, USABLE * plan.device.memory_bytes
    fixed = memory.total - memory.weights - memory.gradients - memory.optimizer
    tries = []
    if train.pass_tokens > train.max_sequence_tokens:
        tries.append(f"train.micro_batch_tokens={train.max_sequence_tokens}")
    if not train.activation_checkpointing:
        tries.append("train.activation_checkpointing=true")
    if train.logits == "full":
        tries.append("train.logits=chunked")
    if not train.sharded:
        tries.append("train=deepspeed_zero3 on several GPUs")
    elif fixed < has:
        states = (memory.weights + memory.gradients + memory.optimizer) * plan.num_ranks
        ranks = -(-states // (has - fixed))
        if ranks > plan.num_ranks:
            tries.append(f"at least {ranks:.0f} GPUs")
    if train.sharded and not train.offloaded:
        tries.append("train=deepspeed_zero3_offload")
    room = has - (memory.total - memory.activations)
    if room > 0 and train.pass_tokens == train.max_sequence_tokens:
        tokens = int(train.max_sequence_tokens * room / memory.activations) // 1024 * 1024
        if tokens >= 1024:
            tries.append(f"train.max_sequence_tokens={tokens}")
    tries.append("train.lora.rank=16")
    return "try " + ", or ".join(tries)


def missing(machine: Machine, modules: Sequence[str], keys: Sequence[str]) -> list[str]:
    """A sentence with the remedy for each Python module and environment variable not there."""
    found = [
        f"{name} is not installed; pip install {name} (GPU machines: make setup-gpu)"
        for name in dict.fromkeys(modules)
        if not machine.has_module(name)
    ]
    return found + [
        f"the environment variable {key} is not set; export {key}=..."
        for key in dict.fromkeys(keys)
        if not machine.environment.get(key)
    ]


def _hours(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _known(value: float | None, style: str, unit: str = "") -> str:
    return "unknown" if value is None else unit + format(value, style)
