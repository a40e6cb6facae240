"""Lightning's callback that writes checkpoints (`s1x.train.resume` knows them as folders)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from s1x.train.rank.passes import Pass
from s1x.train.resume import STATE, place_of, seal, steps_saved


class Checkpoints(pl.Callback):
    """Writes a checkpoint every so many steps (not after the last: the export follows)."""

    def __init__(self, folder: Path, every_steps: int, keep: int, num_steps: int) -> None:
        self.folder = folder
        self.every_steps, self.keep, self.num_steps = every_steps, keep, num_steps

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, _: Any, batch: Pass, *__: Any
    ) -> None:
        """After the last pass of a step that is due."""
        step = batch["step"] + 1
        if trainer.global_step != step or not self.every_steps:
            return
        if step % self.every_steps or step >= self.num_steps:
            return
        place = place_of(self.folder, step)
        partial = place.with_name(place.name + ".partial")
        if trainer.is_global_zero:
            partial.mkdir(parents=True, exist_ok=True)
        trainer.strategy.barrier()
        trainer.save_checkpoint(partial / STATE)
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            seal(partial, trainer.world_size)
            partial.rename(place)
            for old in steps_saved(self.folder)[: -self.keep]:
                shutil.rmtree(place_of(self.folder, old), ignore_errors=True)
