"""The Lightning module: supervised fine-tuning of a causal language model.

The loss weights every trained token of a step alike, however the step is cut into ranks and passes:
a pass returns the sum of its tokens' losses over the trained tokens of the whole step, times ranks
x passes, because strategies average over both. (s1's trainer averaged each sequence first, so that
a token of a short trace weighed more.)
"""

from __future__ import annotations

import math
import time
from typing import Any

import lightning.pytorch as pl
import torch

from s1x.errors import UserError
from s1x.model.load import Source
from s1x.train.rank.attention import packing_arguments, register
from s1x.train.rank.loss import LossModel, put_loss_in_head
from s1x.train.rank.memory import peak_memory_bytes
from s1x.train.rank.passes import Pass
from s1x.train.rank.placement import Placement
from s1x.train.rank.rotary import restore_rotary
from s1x.train.settings import TrainSettings


class SftModule(pl.LightningModule):
    """Loads the model when the strategy is ready for it, and takes one pass at a time.

    Args:
        placement: the recipe, and where everything lies.
        source: where the weights are.
        num_steps: optimizer steps of the whole run, for the schedule.
        passes_per_step: passes a rank makes for one step.
        seed: of dropout, if there is any.
    """

    def __init__(
        self,
        placement: Placement,
        source: Source,
        num_steps: int,
        passes_per_step: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.placement, self.settings = placement, placement.settings
        self.source, self.seed = source, seed
        self.num_steps, self.passes_per_step = num_steps, passes_per_step
        self.net: LossModel | None = None
        self.step_loss = float("nan")
        self.gradient_norm = float("nan")
        self.load_peak_bytes = 0
        self.fit_cpu_seconds = 0.0
        self._loss_sum: torch.Tensor | None = None

    @property
    def causal_lm(self) -> Any:
        """The transformers model inside, sharded as the strategy left it."""
        assert self.net is not None
        return self.net.causal_lm

    @property
    def plain_lm(self) -> Any:
        """The same without what adapters put around it."""
        return self.causal_lm.get_base_model() if self.settings.lora.rank else self.causal_lm

    @property
    def deepspeed(self) -> Any:
        """DeepSpeed's engine, where the strategy has one."""
        return getattr(self.trainer.strategy, "deepspeed_engine", None)

    def configure_model(self) -> None:
        """Loads the weights (sharded, where the strategy shards) and prepares the loss."""
        if self.net is not None:
            return
        register()
        settings = self.settings
        causal_lm = self.placement.load(self.source)
        causal_lm.config.use_cache = False
        put_loss_in_head(causal_lm, settings.logits, settings.logits_chunk_tokens)
        if settings.activation_checkpointing:
            causal_lm.gradient_checkpointing_enable({"use_reentrant": False})
        if settings.lora.rank:
            causal_lm = add_adapters(causal_lm, settings)
        self.net = LossModel(causal_lm)
        self.net.train()
        mesh = getattr(self, "_device_mesh", None)
        self.placement.shard(self.net, self.plain_lm, self.source, mesh)
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

        Raises:
            UserError: the loss of the step is not a number, naming step and rows.
        """
        assert self.net is not None
        torch.manual_seed(hash((self.seed, batch["step"], batch["place"], self.global_rank)))
        padded = batch["attention_mask"] is not None
        loss_sum: torch.Tensor = self.net(
            batch["token_ids"],
            batch["position_ids"],
            batch["targets"],
            batch["attention_mask"],
            {}
            if padded
            else packing_arguments(batch["lengths"], self.source.attention, self.device),
        )
        self._watch(loss_sum.detach(), batch)
        scale = self._averaged_over() / float(batch["step_trained_tokens"])
        return loss_sum * scale

    def _averaged_over(self) -> int:
        """What the gradient will be divided by on its way: ranks, and passes.

        Under DeepSpeed passes count twice: Lightning divides the loss by them, and so does the
        engine (Lightning 2.6).
        """
        divided = self.trainer.world_size * self.passes_per_step
        return divided * self.passes_per_step if self.deepspeed is not None else divided

    def _watch(self, loss_sum: torch.Tensor, batch: Pass) -> None:
        """Adds up the step's loss; after its last pass all ranks share it, and stop at a NaN."""
        if not bool(torch.isfinite(loss_sum)):
            at = f"step {batch['step'] + 1}, pass {batch['place'] + 1} of rank {self.global_rank}"
            raise UserError(
                f"the loss is {loss_sum.item()} at {at}, rows {batch['rows']} of the chosen "
                "rows; lower train.learning_rate, set train.precision=float32, or look at them"
            )
        self._loss_sum = loss_sum if self._loss_sum is None else self._loss_sum + loss_sum
        if batch["place"] + 1 < self.passes_per_step:
            return
        total, self._loss_sum = self._loss_sum, None
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(total)
        self.step_loss = total.item() / batch["step_trained_tokens"]

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips by the global norm and remembers it (DeepSpeed clips by itself)."""
        if self.deepspeed is not None:
            return
        limit = self.settings.gradient_clip_norm or math.inf
        parameters = [p for p in self.parameters() if p.requires_grad]
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        full = getattr(norm, "full_tensor", None)
        self.gradient_norm = float(full() if full else norm)

    def configure_optimizers(self) -> Any:
        """AdamW with s1's groups and schedule."""
        settings = self.settings
        optimizer = torch.optim.AdamW(
            parameter_groups(self, settings.weight_decay),
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            fused=True,  # no copies of the states while it steps
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: learning_rate_factor(step, self.num_steps, settings.warmup_fraction),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def learning_rate_factor(step: int, num_steps: int, warmup_fraction: float) -> float:
    """Of the peak, at a 0-based step: linear warm-up from 0, then cosine to 0 (as s1)."""
    warmup = math.ceil(num_steps * warmup_fraction)
    if step < warmup:
        return step / warmup
    part = (step - warmup) / max(1, num_steps - warmup)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * part)))


def parameter_groups(module: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices and embeddings, none on norms and biases.

    s1 trained with transformers' Trainer, which leaves out parameters whose name says `bias` or
    `norm`; so do we.
    """
    decayed: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            (plain if "bias" in name or "norm" in name else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def add_adapters(causal_lm: Any, settings: TrainSettings) -> Any:
    """The model with LoRA adapters, its own weights frozen.

    Raises:
        UserError: peft is missing, or no layer has one of the names.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise UserError("train.lora needs peft; pip install peft") from error
    lora = settings.lora
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(0)
    try:
        wrapped = get_peft_model(causal_lm, config)
    except ValueError as error:
        raise UserError(f"train.lora.target_modules: {str(error).splitlines()[0]}") from error
    if settings.activation_checkpointing:
        wrapped.enable_input_require_grads()
    return wrapped
