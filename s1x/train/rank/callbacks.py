"""What Lightning calls after each step: the training log, and checkpoints."""

from __future__ import annotations

import csv
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DeepSpeedStrategy

from s1x.model.architecture import Architecture
from s1x.train.job import LOG_CSV, STATE, STOP, Job, read_log
from s1x.train.rank.memory import peak_memory_bytes
from s1x.train.rank.module import SftModule
from s1x.train.rank.passes import Pass

COLUMNS = (
    *("step", "epoch", "loss", "learning_rate", "gradient_norm", "tokens", "trained_tokens"),
    *("tokens_per_second", "mfu", "padding_share", "peak_memory_gib", "step_seconds"),
    "wall_seconds",
)

#: dense bfloat16 peak of one device, TFLOP/s, by a part of its name; the first that fits
PEAK_TFLOPS = {
    **{"H100 PCIe": 756.0, "H100 NVL": 835.0, "H200": 989.0, "H100": 989.0, "H800": 989.0},
    **{"A100": 312.0, "L40S": 362.0, "4090": 165.0},
}


def peak_tflops(stated: float | None) -> float | None:
    """Peak of this machine's device: as stated, or known by the GPU's name; None if unknown."""
    if stated or not torch.cuda.is_available():
        return stated
    name = torch.cuda.get_device_name()
    return next((value for part, value in PEAK_TFLOPS.items() if part in name), None)


class StepLog(pl.Callback):
    """Appends a row a step on rank 0; a resumed run drops the rows after its checkpoint."""

    def __init__(self, job: Job, first_step: int, architecture: Architecture) -> None:
        self.path, self.architecture = job.folder / LOG_CSV, architecture
        self.peak = peak_tflops(job.settings.peak_tflops)
        self._kept = [row for row in read_log(self.path) if int(row["step"]) <= first_step]
        self._before = float(self._kept[-1]["wall_seconds"]) if self._kept else 0.0
        self._positions = 0
        self._lengths: list[int] = []
        self._start = self._mark = self._learning_rate = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Begins the file."""
        self._start = self._mark = time.perf_counter()
        if trainer.is_global_zero:
            self._write([dict(zip(COLUMNS, COLUMNS, strict=True)), *self._kept], "w")

    def _write(self, rows: Sequence[Mapping[str, object]], mode: str) -> None:
        with self.path.open(mode, newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS).writerows(rows)

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Pass, batch_idx: int
    ) -> None:
        """Before each pass; after the last one the schedule stands at the next step."""
        schedule = trainer.lr_scheduler_configs[0].scheduler
        self._learning_rate = float(schedule.get_last_lr()[0])

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: object,
        batch: Pass,
        batch_idx: int,
    ) -> None:
        """After the last pass of a step: one row."""
        assert isinstance(module, SftModule)
        self._positions += batch["token_ids"].numel()
        self._lengths += batch["lengths"] if batch["rows"] else []
        if batch["place"] + 1 < module.passes.per_step:
            return
        if isinstance(trainer.strategy, DeepSpeedStrategy):
            engine = trainer.strategy.deepspeed_engine
            module.gradient_norm = float(engine.get_global_grad_norm())
        flops = self.architecture.training_flops(self._lengths)
        sums = torch.tensor([self._positions, flops], dtype=torch.float64)
        if trainer.world_size > 1:
            sums = sums.to(trainer.strategy.root_device)
            torch.distributed.all_reduce(sums)
        if trainer.is_global_zero:
            self._write([self._row(module, batch, *sums.tolist())], "a")
        self._positions, self._lengths = 0, []

    def _row(
        self, module: SftModule, batch: Pass, positions: float, flops: float
    ) -> dict[str, object]:
        now = time.perf_counter()
        seconds, self._mark = now - self._mark, now
        tokens, peak = batch["step_tokens"], (self.peak or 0.0) * 1e12 * module.trainer.world_size
        return {
            "step": batch["step"] + 1,
            "epoch": batch["epoch"],
            "loss": repr(module.step_loss),
            "learning_rate": self._learning_rate,
            "gradient_norm": f"{module.gradient_norm:.6g}",
            "tokens": tokens,
            "trained_tokens": batch["step_trained_tokens"],
            "tokens_per_second": f"{tokens / seconds:.1f}",
            "mfu": f"{flops / seconds / peak:.4f}" if peak else "",
            "padding_share": f"{1 - tokens / positions:.4f}",
            "peak_memory_gib": f"{peak_memory_bytes() / 2**30:.3f}",
            "step_seconds": f"{seconds:.4f}",
            "wall_seconds": f"{self._before + now - self._start:.3f}",
        }


class StoppedError(Exception):
    """The run was asked to end, and has written a checkpoint."""


class Checkpoints(pl.Callback):
    """Writes a checkpoint every N steps or minutes (not after the last: the export follows).

    Where the job is asked to stop, it writes one after the present step and ends the run.
    """

    def __init__(self, job: Job, num_steps: int) -> None:
        self.job, self.num_steps = job, num_steps
        self._written = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Loading does not count, and SIGTERM means what it meant before.

        Lightning's own handler calls a collective wherever a rank is, and then ends without a
        checkpoint.
        """
        self._written = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: self.job.ask_to_stop())

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: object,
        batch: Pass,
        batch_idx: int,
    ) -> None:
        """After the last pass of a step that is due, or of any when the job is asked to stop.

        Raises:
            StoppedError: on all ranks, once the checkpoint is there.
        """
        step = batch["step"] + 1
        if trainer.global_step != step or step >= self.num_steps:
            return
        stop = trainer.strategy.broadcast((self.job.folder / STOP).exists())
        kept = self.job.settings.checkpoint_every_steps != 0
        if (stop and kept) or trainer.strategy.broadcast(self._is_due(step)):
            self._write(trainer, step)
        if stop:
            how = "with a checkpoint; the same command goes on from there"
            if not kept:
                how = "without a checkpoint (train.checkpoint_every_steps=0); it starts anew"
            raise StoppedError(f"stopped by SIGTERM after step {step} of {self.num_steps}, {how}")

    def _is_due(self, step: int) -> bool:
        settings = self.job.settings
        if settings.checkpoint_every_steps is None:
            return time.monotonic() - self._written >= 60.0 * settings.checkpoint_minutes
        return bool(settings.checkpoint_every_steps) and step % settings.checkpoint_every_steps == 0

    def _write(self, trainer: pl.Trainer, step: int) -> None:
        place = self.job.checkpoint(step)
        partial = place.with_name(place.name + ".partial")
        if trainer.is_global_zero:
            partial.mkdir(parents=True, exist_ok=True)
        trainer.strategy.barrier()
        trainer.save_checkpoint(partial / STATE)
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            self.job.seal(partial)
            partial.rename(place)
            for old in self.job.steps_saved()[: -self.job.settings.keep_checkpoints]:
                shutil.rmtree(self.job.checkpoint(old), ignore_errors=True)
        self._written = time.monotonic()
