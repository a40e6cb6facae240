"""The training log: one row a step in `log.csv`, and what the numbers are measured by."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from s1x.model.architecture import Architecture
from s1x.train.job import read_log
from s1x.train.rank.memory import peak_memory_bytes
from s1x.train.rank.module import SftModule, learning_rate_factor
from s1x.train.rank.passes import Pass

COLUMNS = (
    *("step", "epoch", "loss", "learning_rate", "gradient_norm", "tokens", "trained_tokens"),
    *("tokens_per_second", "mfu", "padding_share", "peak_memory_gib", "step_seconds"),
    "wall_seconds",
)

#: dense bfloat16 peak of one device, TFLOP/s, by a part of its name; the first that fits
PEAK_TFLOPS = {
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H200": 989.0,
    "H100": 989.0,
    "H800": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "4090": 165.0,
}


def peak_tflops(stated: float | None) -> float | None:
    """Peak of this machine's device: as stated, or known by the GPU's name; None if unknown."""
    if stated or not torch.cuda.is_available():
        return stated
    name = torch.cuda.get_device_name()
    return next((value for part, value in PEAK_TFLOPS.items() if part in name), None)


class StepLog(pl.Callback):
    """Appends a row a step on rank 0; a resumed run drops the rows after its checkpoint."""

    def __init__(
        self, path: Path, first_step: int, architecture: Architecture, peak: float | None
    ) -> None:
        self.path, self.architecture, self.peak = path, architecture, peak
        self._kept = [row for row in read_log(path) if int(row["step"]) <= first_step]
        self._before = float(self._kept[-1]["wall_seconds"]) if self._kept else 0.0
        self._positions = 0
        self._lengths: list[int] = []
        self._file: Any = None
        self._start = self._mark = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Opens the file."""
        self._start = self._mark = time.perf_counter()
        if trainer.is_global_zero:
            self._file = self.path.open("w", newline="", buffering=1, encoding="utf-8")
            self._writer = csv.DictWriter(self._file, COLUMNS)
            self._writer.writeheader()
            self._writer.writerows(self._kept)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, _: Any, batch: Pass, *__: Any
    ) -> None:
        """After the last pass of a step: one row."""
        assert isinstance(module, SftModule)
        self._positions += batch["positions"]
        self._lengths += batch["lengths"] if batch["rows"] else []
        if batch["place"] + 1 < module.passes_per_step:
            return
        if module.deepspeed is not None:
            module.gradient_norm = float(module.deepspeed.get_global_grad_norm())
        flops = self.architecture.training_flops(self._lengths)
        sums = torch.tensor([self._positions, flops], dtype=torch.float64)
        if trainer.world_size > 1:
            sums = sums.to(trainer.strategy.root_device)
            torch.distributed.all_reduce(sums)
        if trainer.is_global_zero:
            peak = self.peak and self.peak * 1e12 * trainer.world_size
            positions, flops = sums.tolist()
            self._writer.writerow(self._row(module, batch, positions, flops, peak))
        self._positions, self._lengths = 0, []

    def _row(
        self, module: SftModule, batch: Pass, positions: float, flops: float, peak: float | None
    ) -> dict[str, Any]:
        now = time.perf_counter()
        seconds, self._mark = now - self._mark, now
        settings, tokens = module.settings, batch["step_tokens"]
        factor = learning_rate_factor(batch["step"], module.num_steps, settings.warmup_fraction)
        return {
            "step": batch["step"] + 1,
            "epoch": batch["epoch"],
            "loss": repr(module.step_loss),
            "learning_rate": settings.learning_rate * factor,
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

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
