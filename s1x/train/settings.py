"""What every way of training shares: the recipe of supervised fine-tuning, with s1's values.

The options (`single_device`, `deepspeed_zero3`, `deepspeed_zero3_offload`, `fsdp`) differ only in
how weights, gradients and optimizer states lie on the devices; they derive from `TrainSettings`.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from typing import ClassVar

from s1x.budget.formats import STEP_TOKENS
from s1x.errors import SettingError, UserError
from s1x.option import Option, setting


@dataclass(frozen=True)
class Lora(Option):
    """Low-rank adapters instead of all weights, for small machines; merged at the export."""

    rank: int = setting(0, "of the adapters; 0: train all weights", at_least=0)
    alpha: float = setting(32.0, "scale of the adapters, times 1 / rank", above=0)
    dropout: float = setting(0.0, "on the adapters' input", at_least=0, at_most=0.9)
    target_modules: list[str] = setting(
        factory=lambda: [f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")],
        doc="names of the linear layers that get adapters",
    )


@dataclass(frozen=True)
class TrainSettings(Option):
    """The recipe (paper, appendix D): AdamW, linear warm-up, cosine to 0, 5 epochs, batch 16."""

    format: str = setting(
        "plain",
        "of the samples: as they are, or told a limit in tokens or steps",
        choices=["plain", "token_conditional", "step_conditional"],
    )
    step_tokens: int = setting(
        STEP_TOKENS, "longest step of format=step_conditional, its header included", at_least=16
    )
    epochs: int = setting(5, "passes over the chosen rows", at_least=1)
    max_steps: int | None = setting(None, "stop after N optimizer steps", at_least=1)
    batch_sequences: int = setting(16, "samples per optimizer step, all ranks together", at_least=1)
    learning_rate: float = setting(1e-5, "peak", above=0)
    warmup_fraction: float = setting(0.05, "of all steps, linear", at_least=0, at_most=1)
    beta1: float = setting(0.9, "of AdamW", at_least=0, at_most=1)
    beta2: float = setting(0.95, "of AdamW", at_least=0, at_most=1)
    weight_decay: float = setting(
        1e-4, "of AdamW; not on norms and biases, as s1's trainer did", at_least=0
    )
    gradient_clip_norm: float = setting(
        1.0, "largest norm of the gradient; 0: no limit", at_least=0
    )
    max_sequence_tokens: int = setting(32_768, "longest sample, prompt included", at_least=8)
    overflow: str = setting(
        "error", "what happens to longer samples", choices=["error", "drop", "truncate"]
    )
    batching: str = setting(
        "packed",
        "packed: samples lie end to end, no padding; padded: rectangles of about equal tokens",
        choices=["packed", "padded"],
    )
    micro_batch_tokens: int | None = setting(
        None, "most tokens in one pass of a rank; None: max_sequence_tokens", at_least=8
    )
    length_window_batches: int = setting(
        0,
        "batches within which samples of like length are put together; 0: order at random",
        at_least=0,
    )
    precision: str = setting(
        "bfloat16", "of the arithmetic; master weights are float32", choices=["bfloat16", "float32"]
    )
    attention: str = setting(
        "auto",
        "auto: FlashAttention where it is installed, else packed (exact, torch only)",
        choices=["auto", "flash_attention_2", "packed", "sdpa"],
    )
    logits: str = setting(
        "auto",
        "how the loss gets its logits: all at once, in chunks, by torch's fused op; "
        "auto: in chunks where all would take more than 256 MiB",
        choices=["auto", "full", "chunked", "torch"],
    )
    logits_chunk_tokens: int | None = setting(
        None, "trained tokens in a chunk of logits; None: 128 MiB of them", at_least=1
    )
    optimizer_states: str = setting(
        "float32",
        "of AdamW: 8 bytes a parameter, or 2 (torchao's blockwise 8-bit states)",
        choices=["float32", "8bit"],
    )
    compiled: bool = setting(
        False, "decoder layers compiled by torch: faster steps on GPUs, slower first ones"
    )
    activation_checkpointing: bool = setting(True, "recompute activations in the backward pass")
    recompute_spares: str = setting(
        "nothing",
        "whose results activation checkpointing keeps: attention's, or all matrix products' too",
        choices=["nothing", "attention", "products"],
        affects_result=False,
    )
    checkpoint_every_steps: int | None = setting(
        50, "None: by the clock (checkpoint_minutes); 0: none", at_least=0, affects_result=False
    )
    checkpoint_minutes: float = setting(
        30.0,
        "between checkpoints, where checkpoint_every_steps is None: shorter runs write none",
        above=0,
        affects_result=False,
    )
    keep_checkpoints: int = setting(1, "the last N are kept", at_least=1, affects_result=False)
    device: str = setting("auto", "auto: GPUs where there are any", choices=["auto", "cpu", "cuda"])
    devices_per_node: int | None = setting(
        None,
        "ranks per node; None: its GPUs, without GPUs Slurm's tasks per node, or 1",
        at_least=1,
        affects_result=False,
    )
    num_nodes: int | None = setting(
        None,
        "machines; None: as many as `hosts` or Slurm's allocation has, else 1",
        at_least=1,
        affects_result=False,
    )
    hosts: list[str] = setting(
        factory=list,
        doc="host names of the nodes, this one first, reached by ssh; [] under Slurm",
        affects_result=False,
    )
    master_port: int | None = setting(
        None, "of the rendezvous; None: a free one", at_least=1024, affects_result=False
    )
    peak_tflops: float | None = setting(
        None,
        "of one device, for the model FLOPs utilization; None: known GPUs' own",
        above=0,
        affects_result=False,
    )
    export_dtype: str = setting(
        "bfloat16", "of the exported weights", choices=["bfloat16", "float32"]
    )
    lora: Lora = setting(factory=Lora, doc="low-rank adapters")

    #: the class that puts weights, gradients and optimizer states on the devices
    placement: ClassVar[str] = "s1x.train.rank.placement.Placement"
    #: shards weights over the ranks: bytes a parameter and their place are worked out by `plan`
    sharded: ClassVar[bool] = False
    #: optimizer states and master weights live in main memory
    offloaded: ClassVar[bool] = False
    #: modules that the strategy must find installed
    strategy_needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        limit = self.micro_batch_tokens
        if limit is not None and limit < self.max_sequence_tokens:
            raise SettingError(
                "micro_batch_tokens",
                f"max_sequence_tokens ({self.max_sequence_tokens}) or more",
                limit,
                "a sample is never cut to fit a pass",
            )
        if self.compiled and self.recompute_spares == "products":
            raise SettingError(
                "recompute_spares",
                "nothing or attention beside compiled=true",
                "products",
                "products within a compiled layer are not seen one by one",
            )
        if self.hosts and len(self.hosts) != self.nodes:
            raise SettingError("hosts", f"{self.nodes} names, one a node", list(self.hosts))

    @property
    def nodes(self) -> int:
        """Machines: as set, else as many as are named or allocated; sharding makes use of them."""
        if self.num_nodes or self.hosts:
            return self.num_nodes or len(self.hosts)
        return int(os.environ.get("SLURM_NNODES", 1)) if self.sharded else 1

    @property
    def padded(self) -> bool:
        """Whether samples lie in rectangles, not end to end."""
        return self.batching == "padded"

    @property
    def pass_tokens(self) -> int:
        """Most tokens in one forward and backward pass of a rank."""
        return self.micro_batch_tokens or self.max_sequence_tokens

    @property
    def needs(self) -> tuple[str, ...]:
        """Modules that must be installed."""
        wanted = {"peft": self.lora.rank > 0, "torchao": self.optimizer_states == "8bit"}
        return (*self.strategy_needs, *(name for name, is_wanted in wanted.items() if is_wanted))

    def check(self) -> None:
        """What must be there before processes start.

        Raises:
            UserError: a library is missing.
        """
        for module in self.needs:
            if importlib.util.find_spec(module) is None:
                wants, instead = {
                    "peft": (f"train.lora.rank={self.lora.rank}", "set train.lora.rank=0"),
                    "torchao": ("optimizer_states=8bit", "set train.optimizer_states=float32"),
                }.get(module, (f"train={type(self).__name__}", "use train=single_device"))
                raise UserError(
                    f"{wants} needs {module}, which is not installed; pip install {module}, "
                    f"or {instead}"
                )

    def num_gpus(self) -> int:
        """GPUs of this machine that training can use; 0: it runs on the CPU.

        Raises:
            UserError: train.device=cuda and there is none.
        """
        import torch

        found = torch.cuda.device_count() if self.device != "cpu" else 0
        if self.device == "cuda" and not found:
            raise UserError("train.device=cuda, but torch sees no GPU; use train.device=cpu")
        return found

    def ranks_per_node(self) -> int:
        """Processes on each node: as set, else one a GPU, else as Slurm says, else one."""
        if self.devices_per_node or not self.sharded:
            return self.devices_per_node or 1
        return self.num_gpus() or int(os.environ.get("SLURM_NTASKS_PER_NODE", 1))
