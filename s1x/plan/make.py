"""The plan of a run: parameters, memory, arithmetic, hours, money, disk, and what is missing.

Hours of training follow from a stated model FLOPs utilization (MFU). The default, 20%, is what s1's
published 26 minutes on 16 H100 imply for its 1,000 samples and 5 epochs (`docs/performance.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from s1x.errors import UserError
from s1x.model.architecture import Architecture
from s1x.model.model import Model
from s1x.plan.generation import START_SECONDS, Deployment, Evaluation
from s1x.plan.machine import GIB, Gpu, Machine, gpu
from s1x.plan.memory import Memory, checkpoint_bytes, training_memory
from s1x.train.settings import TrainSettings

S1_MFU = 0.20
#: share of a device's memory that training may need; the rest is lost between blocks
USABLE = 0.95
#: bytes that AdamW moves per parameter on the host, and how many a second a node moves
HOST_STEP_BYTES, HOST_BANDWIDTH = 28.0, 1e11


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
    usd_per_gpu_hour: float | None
    checkpoint_bytes: float
    disk_bytes: float
    evaluations: tuple[tuple[Evaluation, float | None], ...] = ()
    """Each with its predicted seconds."""
    deployment: Deployment | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def gpu_hours(self) -> float | None:
        """Of training; None on processors."""
        return None if self.device.name == "cpu" else self.num_ranks * self.train_seconds / 3600

    @property
    def usd(self) -> float | None:
        """Of training; None where the price or the hours are not known."""
        known = self.gpu_hours is not None and self.usd_per_gpu_hour is not None
        return (self.gpu_hours or 0.0) * (self.usd_per_gpu_hour or 0.0) if known else None

    def table(self) -> list[str]:
        """Lines for the console."""
        memory, has = self.memory, self.device.memory_bytes / GIB
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
        lines = [
            f"parameters            {self.parameters:,} ({self.parameters / 1e9:.2f}B)",
            f"ranks                 {self.num_ranks} x {self.device.name}",
            f"memory per rank       {memory.total / GIB:.1f} GiB of {has:.1f}",
            *(f"  {name:<25} {size / GIB:8.2f} GiB" for name, size in parts),
        ]
        if memory.host:
            lines.append(f"  main memory, offloaded    {memory.host / GIB:8.2f} GiB per rank")
        on_cpu = self.device.name == "cpu"
        speed = "at the speed measured on two cores" if on_cpu else f"at {self.mfu:.0%} MFU"
        lines += [
            f"training tokens       {self.train_tokens:,.0f}",
            f"training FLOPs        {self.train_flops:.3g} (model FLOPs)",
            f"training time         {_hours(self.train_seconds)} {speed}",
            f"training GPU-hours    {_known(self.gpu_hours, '.1f')}",
            f"training cost         {_known(self.usd, ',.0f', 'USD ')}",
            f"disk                  {_size(self.disk_bytes)}"
            f" (a checkpoint has {_size(self.checkpoint_bytes)})",
        ]
        lines += [*self._evaluation_lines(), *(f"problem: {text}" for text in self.problems)]
        return lines

    def _evaluation_lines(self) -> list[str]:
        lines, total = [], 0.0
        for evaluation, seconds in self.evaluations:
            tokens = _known(evaluation.generated_tokens, ",.0f")
            took = "time unknown" if seconds is None else _hours(seconds)
            lines.append(f"evaluate {evaluation.name:<12} {tokens} tokens, {took}")
            total += seconds or 0.0
        if total and self.deployment:
            starts = max(e.num_models for e, _ in self.evaluations)
            sharing = f"{self.deployment.replicas} x {self.deployment.tensor_parallel}"
            lines.append(
                f"evaluation time       {_hours(total + starts * START_SECONDS)} on {sharing} "
                f"{self.device.name}, {starts} engine start{'s' if starts > 1 else ''} included"
            )
        return lines

    def refuse(self) -> None:
        """Raises what cannot work.

        Raises:
            UserError: all problems, each with its remedy.
        """
        if self.problems:
            raise UserError("\nAlso: ".join(self.problems))


def make_plan(
    train: TrainSettings,
    model: Model,
    work: Work | None = None,
    evaluations: Sequence[Evaluation] = (),
    *,
    gpu_name: str = "H100",
    mfu: float = S1_MFU,
    usd_per_gpu_hour: float | None = None,
    deployment: Deployment | None = None,
    machine: Machine | None = None,
) -> Plan:
    """The plan of a composed configuration. Pure: no files, no network, no heavy library.

    Args:
        train: recipe and strategy; `devices_per_node` and `num_nodes` say how many ranks.
        model: its `architecture` gives the numbers.
        work, evaluations: what is trained on and what is generated.
        gpu_name, mfu: device that the run is meant for, and its model FLOPs utilization.
        usd_per_gpu_hour, deployment: price, and devices that generate; None: not known.
        machine: what is there; None: only what no machine could do is a problem.

    Raises:
        UserError: the model has no architecture numbers, or a GPU's name is not known.
    """
    work = work or Work()
    shape = Architecture.of(model.architecture, model.name)
    on_cpu = gpu_name == "cpu" or train.device == "cpu"
    device = gpu("cpu" if on_cpu else gpu_name)
    if on_cpu and machine is not None:
        device = replace(device, memory_bytes=machine.memory_bytes)
    num_ranks = (train.devices_per_node or 1) * train.nodes
    pass_tokens = _pass_tokens(train, work, num_ranks)
    samples, flops, seconds = _training(train, shape, work)
    rate = 1.0 if on_cpu else mfu
    seconds += flops / (device.peak_tflops * 1e12 * num_ranks * rate)
    saved = checkpoint_bytes(train, shape)
    took = ((e, deployment.seconds(e, shape, device) if deployment else None) for e in evaluations)
    plan = Plan(
        parameters=shape.parameters,
        num_ranks=num_ranks,
        device=device,
        memory=training_memory(train, shape, num_ranks, pass_tokens, on_cpu),
        train_tokens=samples * work.mean_tokens,
        train_flops=flops,
        mfu=rate,
        train_seconds=seconds,
        usd_per_gpu_hour=usd_per_gpu_hour,
        checkpoint_bytes=saved,
        disk_bytes=_disk_bytes(train, shape, saved),
        evaluations=tuple(took),
        deployment=deployment,
    )
    plan.problems.extend(_fit(plan, train))
    if machine is not None:
        plan.problems.extend(_machine_problems(plan, train, machine))
        plan.problems.extend(
            missing(machine, [*train.needs, *(["peft"] if train.lora.rank else [])])
        )
    return plan


def _pass_tokens(train: TrainSettings, work: Work, num_ranks: int) -> int:
    longest = min(work.longest_tokens or train.max_sequence_tokens, train.max_sequence_tokens)
    batch = round(train.batch_sequences * work.mean_tokens / num_ranks)
    return max(longest, min(train.pass_tokens, batch))


def _disk_bytes(train: TrainSettings, shape: Architecture, checkpoint: float) -> float:
    """The checkpoints that are there at once, and the exported model."""
    kept = train.keep_checkpoints + 1 if train.checkpoint_every_steps else 0
    exported = (2.0 if train.export_dtype == "bfloat16" else 4.0) * shape.parameters
    return checkpoint * kept + exported


def _training(train: TrainSettings, shape: Architecture, work: Work) -> tuple[float, float, float]:
    """Samples that training sees, their FLOPs, and seconds of the host's AdamW if it offloads."""
    samples = float(work.num_samples * train.epochs)
    if train.max_steps is not None:
        samples = min(samples, train.max_steps * train.batch_sequences)
    flops = samples * shape.training_flops([round(work.mean_tokens)])
    step = HOST_STEP_BYTES * shape.parameters / train.nodes / HOST_BANDWIDTH
    return samples, flops, samples / train.batch_sequences * step if train.offloaded else 0.0


def _fit(plan: Plan, train: TrainSettings) -> list[str]:
    needed, has = plan.memory.total, USABLE * plan.device.memory_bytes
    if needed <= has:
        return []
    return [
        f"training does not fit: a rank needs at least {needed / GIB:.0f} GiB and "
        f"{plan.device.name} has {has / GIB:.0f} to give; {_what_to_try(plan, train)}"
    ]


def _machine_problems(plan: Plan, train: TrainSettings, machine: Machine) -> list[str]:
    per_node, found = plan.num_ranks // train.nodes, []
    if plan.device.name != "cpu":
        what = f"training on each of {train.nodes} nodes" if train.nodes > 1 else "training"
        found += machine.lacks_gpus(per_node, what, plan.device)
    allocated = int(machine.environment.get("SLURM_NNODES", train.nodes))
    if machine.in_slurm and not train.hosts and allocated < train.nodes:
        found.append(
            f"train.num_nodes={train.nodes}, but Slurm's allocation has {allocated}; "
            f"ask for --nodes={train.nodes}, or, if the model is trained already, set "
            "stages=[evaluate,report]"
        )
    host = plan.memory.host * per_node
    if host > machine.memory_bytes and len(machine.gpu_memory_bytes) >= per_node:
        found.append(
            f"offloading needs {_size(host)} of main memory on this node, which has "
            f"{_size(machine.memory_bytes)}; use more nodes"
        )
    if plan.disk_bytes > machine.disk_free_bytes:
        found.append(
            f"checkpoints and the model need {_size(plan.disk_bytes)} of disk, "
            f"{_size(machine.disk_free_bytes)} are free; set output=... to a larger disk, or "
            "train.checkpoint_every_steps=0"
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


def missing(machine: Machine, modules: Sequence[str]) -> list[str]:
    """A sentence with the remedy for each Python module that is not there."""
    return [
        f"{name} is not installed; pip install {name} (GPU machines: make setup-gpu)"
        for name in modules
        if not machine.has_module(name)
    ]


def _size(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB" if size < GIB else f"{size / GIB:,.1f} GiB"


def _hours(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _known(value: float | None, style: str, unit: str = "") -> str:
    return "unknown" if value is None else unit + format(value, style)
