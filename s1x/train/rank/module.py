"""The Lightning module: supervised fine-tuning of a causal language model.

The loss weights every trained token of a step alike, however the step is cut into ranks and passes:
a pass returns the sum of its tokens' losses over the trained tokens of the whole step, times ranks
x passes, because strategies average over both. (s1's trainer averaged each sequence first, so that
a token of a short trace weighed more.)
"""

from __future__ import annotations

import math
import time

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DeepSpeedStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, get_cosine_schedule_with_warmup

from s1x.errors import UserError
from s1x.train.rank.adapters import add_adapters
from s1x.train.rank.attention import packing_arguments, register
from s1x.train.rank.loss import LossModel, put_loss_in_head
from s1x.train.rank.memory import peak_memory_bytes
from s1x.train.rank.passes import Pass, Passes
from s1x.train.rank.placement import Placement
from s1x.train.rank.recompute import checkpointing
from s1x.train.rank.rotary import restore_rotary


class SftModule(pl.LightningModule):
    """Loads the model when the strategy is ready for it, and takes one pass at a time.

    Args:
        placement: the job, and where everything lies.
        passes: of this rank, over the whole run.
    """

    def __init__(self, placement: Placement, passes: Passes) -> None:
        super().__init__()
        self.placement, self.settings, self.passes = placement, placement.settings, passes
        self.net: LossModel | None = None
        self.step_loss = self.gradient_norm = float("nan")
        self.load_peak_bytes, self.fit_cpu_seconds = 0, 0.0
        self._loss_sum: torch.Tensor | float = 0.0

    @property
    def causal_lm(self) -> PreTrainedModel:
        """The transformers model inside, sharded as the strategy left it."""
        assert self.net is not None
        return self.net.causal_lm

    @property
    def by_deepspeed(self) -> bool:
        """Whether DeepSpeed's engine runs the steps."""
        return isinstance(self.trainer.strategy, DeepSpeedStrategy)

    def configure_model(self) -> None:
        """Loads the weights (sharded, where the strategy shards) and prepares the loss."""
        if self.net is not None:
            return
        register()
        settings = self.settings
        causal_lm = self.placement.load()
        causal_lm.config.use_cache = False
        put_loss_in_head(causal_lm, settings.logits, settings.logits_chunk_tokens)
        if settings.activation_checkpointing:
            causal_lm.gradient_checkpointing_enable(checkpointing(settings.recompute_spares))
        if settings.lora.rank:
            add_adapters(causal_lm, settings.lora)
            if settings.activation_checkpointing:
                causal_lm.enable_input_require_grads()  # type: ignore[no-untyped-call]
        if settings.compiled:
            for layer in causal_lm.base_model.get_submodule("layers").children():
                layer.compile(dynamic=True)
        self.net = LossModel(causal_lm)
        self.net.train()
        self.placement.shard(self.net, causal_lm, self.device_mesh)
        self.load_peak_bytes = peak_memory_bytes()

    def on_train_start(self) -> None:
        """Puts the rotary frequencies back to float32, after the strategy had its way."""
        restore_rotary(self.causal_lm)
        self.fit_cpu_seconds = -time.process_time()

    def on_train_end(self) -> None:
        """Notes the processor's time that the steps took on this rank."""
        self.fit_cpu_seconds += time.process_time()

    def training_step(self, batch: Pass, batch_idx: int) -> torch.Tensor:
        """The scaled loss of one pass.

        The scale is what the gradient will be divided by on its way: ranks, and passes; passes
        twice under DeepSpeed, where Lightning divides the loss by them and so does the engine
        (Lightning 2.6).

        Raises:
            UserError: the loss of the step is not a number, naming step and rows.
        """
        assert self.net is not None
        seed = (self.placement.job.seed, batch["step"], batch["place"], self.global_rank)
        torch.manual_seed(hash(seed))  # of dropout, if there is any
        packing: dict[str, object] = {}
        if not self.settings.padded:
            packing = packing_arguments(batch["lengths"], self.placement.attention, self.device)
        loss_sum: torch.Tensor = self.net(batch, packing)
        self._watch(loss_sum.detach(), batch)
        passes = self.passes.per_step ** (2 if self.by_deepspeed else 1)
        return loss_sum * (self.trainer.world_size * passes / float(batch["step_trained_tokens"]))

    def _watch(self, loss_sum: torch.Tensor, batch: Pass) -> None:
        """Adds up the step's loss; after its last pass all ranks share it, and stop at a NaN."""
        if not bool(torch.isfinite(loss_sum)):
            at = f"step {batch['step'] + 1}, pass {batch['place'] + 1} of rank {self.global_rank}"
            raise UserError(
                f"the loss is {loss_sum.item()} at {at}, rows {batch['rows']} of the chosen "
                "rows; lower train.learning_rate, set train.precision=float32, or look at them"
            )
        total = self._loss_sum + loss_sum
        self._loss_sum = total
        if batch["place"] + 1 == self.passes.per_step:
            self._loss_sum = 0.0
            if self.trainer.world_size > 1:
                torch.distributed.all_reduce(total)
            self.step_loss = total.item() / batch["step_trained_tokens"]

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips by the global norm and remembers it (DeepSpeed clips by itself)."""
        if self.by_deepspeed:
            return
        limit = self.settings.gradient_clip_norm or math.inf
        parameters = [p for p in self.parameters() if p.requires_grad]
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        self.gradient_norm = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with s1's groups and schedule: linear warm-up from 0, then cosine to 0.

        s1 trained with transformers' Trainer, which decays no parameter whose name says `bias` or
        `norm`; nor do we.
        """
        settings = self.settings
        groups: dict[float, list[torch.nn.Parameter]] = {settings.weight_decay: [], 0.0: []}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                plain = "bias" in name or "norm" in name
                groups[0.0 if plain else settings.weight_decay].append(parameter)
        optimizer = self.placement.optimizer(
            [{"params": held, "weight_decay": decay} for decay, held in groups.items() if held]
        )
        num_steps = len(self.passes.steps)
        warmup = math.ceil(num_steps * settings.warmup_fraction)
        schedule = get_cosine_schedule_with_warmup(optimizer, warmup, num_steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
