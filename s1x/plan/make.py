"""The plan of a run: parameters, memory, arithmetic, hours, money, disk, and what is missing.

Hours of training follow from a stated model FLOPs utilization (MFU). The default, 20%, is what s1's
published 26 minutes on 16 H100 imply for its 1,000 samples and 5 epochs (`docs/performance.md`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from s1x.errors import UserError
from s1x.gpus import GIB, Gpu, gpu
from s1x.model.architecture import Architecture
from s1x.model.model import Model
from s1x.plan.generation import START_SECONDS, Deployment, Evaluation
from s1x.plan.machine import Machine
from s1x.plan.memory import Memory, checkpoint_bytes, training_memory
from s1x.train.settings import TrainSettings

S1_MFU = 0.20
#: share of a device's memory that training may need; the rest is lost between blocks
USABLE = 0.95
#: bytes that AdamW moves per parameter on the host, and how many a second a node moves
HOST_STEP_BYTES, HOST_BANDWIDTH = 28.0, 1e11
#: bytes a second that all ranks together write to a file system
DISK_BANDWIDTH = 2e9
#: part of a rank's memory → its name in the table
PARTS = {part: part for part in ("weights", "gradients", "optimizer")} | {
    "gathered": "gathered layers, buffers",
    "activations": "activations",
    "logits": "logits",
    "stepping": "or, stepping: gradients",
    "base": "libraries",
}


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
    """What a run takes, and what stands in its way; everything per run unless it says otherwise.

    Attributes:
        train, work: how, and on what.
        shape, device: the numbers of the model and of the device that the run is meant for.
        on_cpu: whether the ranks are CPU processes.
        mfu: model FLOPs utilization.
        usd_per_gpu_hour: None: not known.
        deployment: devices that generate; None: not known.
        evaluations: each with its predicted seconds.
        problems: sentences with the remedy.
        trains: whether anything is trained; else the table tells of the evaluation alone.
    """

    train: TrainSettings
    work: Work
    shape: Architecture
    device: Gpu
    on_cpu: bool
    mfu: float
    usd_per_gpu_hour: float | None
    deployment: Deployment | None
    evaluations: tuple[tuple[Evaluation, float | None], ...] = ()
    problems: list[str] = field(default_factory=list)
    trains: bool = True

    @property
    def parameters(self) -> int:
        """Of the model."""
        return self.shape.parameters

    @property
    def num_ranks(self) -> int:
        """Processes that train."""
        return (self.train.devices_per_node or 1) * self.train.nodes

    @cached_property
    def memory(self) -> Memory:
        """Of one rank at its longest pass."""
        train, most = self.train, self.train.max_sequence_tokens
        batch = round(train.batch_sequences * self.work.mean_tokens / self.num_ranks)
        longest = min(self.work.longest_tokens or most, most)
        tokens = max(longest, min(train.pass_tokens, batch))
        return training_memory(train, self.shape, self.num_ranks, tokens, self.on_cpu)

    @property
    def samples(self) -> float:
        """That training sees, over all epochs."""
        seen = float(self.work.num_samples * self.train.epochs)
        steps = self.train.max_steps
        return seen if steps is None else min(seen, steps * self.train.batch_sequences)

    @property
    def train_flops(self) -> float:
        """Model FLOPs of training."""
        return self.samples * self.shape.training_flops([round(self.work.mean_tokens)])

    @property
    def train_seconds(self) -> float:
        """Of training, the host's AdamW included where it is offloaded."""
        rate = self.device.peak_tflops * 1e12 * self.num_ranks * self.mfu
        step = HOST_STEP_BYTES * self.parameters / self.train.nodes / HOST_BANDWIDTH
        steps = self.samples / self.train.batch_sequences if self.train.offloaded else 0.0
        return steps * step + self.train_flops / rate

    @property
    def gpu_hours(self) -> float | None:
        """Of training; None on processors."""
        return None if self.device.name == "cpu" else self.num_ranks * self.train_seconds / 3600

    @property
    def usd(self) -> float | None:
        """Of training; None where the price or the hours are not known."""
        hours, price = self.gpu_hours, self.usd_per_gpu_hour
        return None if hours is None or price is None else hours * price

    @property
    def checkpoint_bytes(self) -> float:
        """Of one checkpoint."""
        return checkpoint_bytes(self.train, self.shape)

    @property
    def num_checkpoints(self) -> int:
        """Written while it trains, beside one that a signal asks for."""
        every = self.train.checkpoint_every_steps
        if every is None:
            return int(self.train_seconds / (60.0 * self.train.checkpoint_minutes))
        return int((self.samples / self.train.batch_sequences - 1) // every) if every else 0

    @property
    def disk_bytes(self) -> float:
        """The checkpoints that are there at once, and the exported model.

        One more than are kept, while it is written; at least the one that a signal asks for.
        """
        train, kept = self.train, 0
        if train.checkpoint_every_steps != 0:
            kept = min(train.keep_checkpoints, self.num_checkpoints) + 1
        exported = (2.0 if train.export_dtype == "bfloat16" else 4.0) * self.parameters
        return self.checkpoint_bytes * kept + exported

    def table(self) -> list[str]:
        """Lines for the console."""
        return [
            f"parameters            {self.parameters:,} ({self.parameters / 1e9:.2f}B)",
            *(self._training_lines() if self.trains else ()),
            *self._evaluation_lines(),
            *(f"problem: {text}" for text in self.problems),
        ]

    def _training_lines(self) -> list[str]:
        memory, has = self.memory, self.device.memory_bytes / GIB
        lines = [
            f"ranks                 {self.num_ranks} x {self.device.name}",
            f"memory per rank       {memory.total / GIB:.1f} GiB of {has:.1f}",
            *(f"  {text:<25} {vars(memory)[part] / GIB:8.2f} GiB" for part, text in PARTS.items()),
        ]
        if memory.host:
            lines.append(f"  main memory, offloaded    {memory.host / GIB:8.2f} GiB per rank")
        on_cpu = self.device.name == "cpu"
        speed = "at the speed measured on two cores" if on_cpu else f"at {self.mfu:.0%} MFU"
        return [
            *lines,
            f"training tokens       {self.samples * self.work.mean_tokens:,.0f}",
            f"training FLOPs        {self.train_flops:.3g} (model FLOPs)",
            f"training time         {_hours(self.train_seconds)} {speed}",
            f"training GPU-hours    {_known(self.gpu_hours, '.1f')}",
            f"training cost         {_known(self.usd, ',.0f', 'USD ')}",
            f"disk                  {_size(self.disk_bytes)}"
            f" (a checkpoint has {_size(self.checkpoint_bytes)})",
            f"checkpoints           {self.num_checkpoints}, "
            f"{_hours(self.checkpoint_bytes / DISK_BANDWIDTH)} each at 2 GB/s, not counted above",
        ]

    def _evaluation_lines(self) -> list[str]:
        lines, total, deployed = [], 0.0, self.deployment
        for evaluation, seconds in self.evaluations:
            tokens = _known(evaluation.generated_tokens, ",.0f")
            took = "time unknown" if seconds is None else _hours(seconds)
            if deployed and (
                rate := deployed.tokens_per_second(evaluation, self.shape, self.device)
            ):
                took += f", {rate:,.0f} tokens/s per engine"
            lines.append(f"evaluate {evaluation.name:<12} {tokens} tokens, {took}")
            total += seconds or 0.0
        if total and deployed:
            starts = max(e.num_models for e, _ in self.evaluations)
            sharing = f"{deployed.num_copies} x {deployed.tensor_parallel}"
            lines += [
                f"engines               {deployed.sharing()}",
                f"evaluation time       {_hours(total + starts * START_SECONDS)} on {sharing} "
                f"{self.device.name}, {starts} engine start{'s' if starts > 1 else ''} included",
            ]
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
        gpu_name, mfu, usd_per_gpu_hour, deployment: see `Plan`.
        machine: what is there; None: only what no machine could do is a problem.

    Raises:
        UserError: the model has no architecture numbers, or a GPU's name is not known.
    """
    shape = Architecture.of(model.architecture, model.name)
    on_cpu = gpu_name == "cpu" or train.device == "cpu"
    device = gpu("cpu" if on_cpu else gpu_name)
    if on_cpu and machine is not None:
        device = replace(device, memory_bytes=machine.memory_bytes)
    took = ((e, deployment.seconds(e, shape, device) if deployment else None) for e in evaluations)
    rate = 1.0 if on_cpu else mfu
    plan = Plan(
        *(train, work or Work(), shape, device, on_cpu, rate, usd_per_gpu_hour, deployment),
        tuple(took),
    )
    needed, has = plan.memory.total, USABLE * device.memory_bytes
    if needed > has:
        plan.problems.append(
            f"training does not fit: a rank needs at least {needed / GIB:.0f} GiB and "
            f"{device.name} has {has / GIB:.0f} to give; {_what_to_try(plan, has)}"
        )
    if machine is not None:
        plan.problems.extend(_machine_problems(plan, machine))
        plan.problems.extend(missing(machine, train.needs))
    return plan


def _machine_problems(plan: Plan, machine: Machine) -> list[str]:
    train, found = plan.train, []
    per_node = plan.num_ranks // train.nodes
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
            "train.checkpoint_every_steps=0 (none, not even before a signal ends the run)"
        )
    return found


def _what_to_try(plan: Plan, has: float) -> str:
    train, memory = plan.train, plan.memory
    states = memory.weights + memory.gradients + memory.optimizer
    fixed, room = memory.total - states, has - (memory.total - memory.activations)
    tokens = int(train.max_sequence_tokens * max(room, 0.0) / memory.activations) // 1024 * 1024
    ranks = -(-states * plan.num_ranks // (has - fixed)) if fixed < has else 0.0
    tries = {
        f"train.micro_batch_tokens={train.max_sequence_tokens}": (
            train.pass_tokens > train.max_sequence_tokens
        ),
        "train.activation_checkpointing=true": not train.activation_checkpointing,
        "train.logits=chunked": train.logits == "full",
        "train=deepspeed_zero3 on several GPUs": not train.sharded,
        f"at least {ranks:.0f} GPUs": train.sharded and ranks > plan.num_ranks,
        "train=deepspeed_zero3_offload": train.sharded and not train.offloaded,
        f"train.max_sequence_tokens={tokens}": (
            tokens >= 1024 and train.pass_tokens == train.max_sequence_tokens
        ),
        "train.lora.rank=16": True,
    }
    return "try " + ", or ".join(text for text, helps in tries.items() if helps)


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
