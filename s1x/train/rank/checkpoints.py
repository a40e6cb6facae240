"""Checkpoints: written beside their place and renamed, the last few kept.

`checkpoints/step-00000100` is whole or is not there. What a killed run left half-written
(`.partial`) is removed at the next start.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from s1x.train.rank.passes import Pass

FOLDER = "checkpoints"
_INSIDE = "state"


def newest(folder: Path) -> tuple[int, Path] | None:
    """The last checkpoint of a training folder: its step, and the path that Lightning takes."""
    places = sorted((folder / FOLDER).glob("step-*[0-9]"))
    if not places:
        return None
    return int(places[-1].name.removeprefix("step-")), places[-1] / _INSIDE


def remove_partial(folder: Path) -> None:
    """Removes what a killed run left half-written."""
    for place in (folder / FOLDER).glob("*.partial"):
        shutil.rmtree(place, ignore_errors=True)


class Checkpoints(pl.Callback):
    """Writes a checkpoint every so many steps (not after the last: the export follows)."""

    def __init__(self, folder: Path, every_steps: int, keep: int, num_steps: int) -> None:
        self.folder = folder / FOLDER
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
        place = self.folder / f"step-{step:08d}"
        partial = place.with_name(place.name + ".partial")
        if trainer.is_global_zero:
            partial.mkdir(parents=True, exist_ok=True)
        trainer.strategy.barrier()
        trainer.save_checkpoint(partial / _INSIDE)
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            partial.rename(place)
            for old in sorted(self.folder.glob("step-*[0-9]"))[: -self.keep]:
                shutil.rmtree(old, ignore_errors=True)
