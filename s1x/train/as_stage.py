"""`stages=[train]`: the fine-tuned model; `stages=[pretrain]`: a base model from scratch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from s1x.artifact import Artifact
from s1x.config import build as build_option
from s1x.console import say
from s1x.errors import UserError
from s1x.option import Option, result_settings
from s1x.plan import check_samples
from s1x.stages import Run, Stage
from s1x.train.stage import run as run_training


class TrainStage(Stage):
    """The fine-tuned model, as a Hugging Face folder."""

    name = "train"
    version = 2  # texts are stripped as s1's, and never control tokens

    @property
    def label(self) -> str:
        """Words for the console."""
        return "fine-tuned model"

    @property
    def measured(self) -> bool:
        """Other nodes' energy is not seen."""
        return self.run.config.train.nodes == 1

    def inputs(self) -> dict[str, Any]:
        """The chosen rows, the base model, the recipe, the seed."""
        config = self.run.config
        return {
            "selection": self.run.one("select").fingerprint,
            "model": config.model.fingerprint(),
            "train": result_settings(config.train),
            "seed": config.root.seed,
        }

    def build(self, folder: Path) -> None:
        """Trains, from the last checkpoint on if there is one."""
        config = self.run.config
        run_training(
            config.train,
            config.model,
            self.run.one("select").folder / "chosen.parquet",
            config.root.seed,
            folder,
            on_step=config.tracker.log_step,
            check=partial(check_samples, config),
        )

    def finish(self, artifact: Artifact) -> None:
        """A tracker gets the log of a training of before."""
        if artifact.reused:
            self.run.config.tracker.log_training(artifact.folder)


@runtime_checkable
class Pretraining(Protocol):
    """What an option `pretrain` can do."""

    def run(self, folder: Path, say: Callable[[str], None]) -> object:
        """Trains into the folder."""


class PretrainStage(Stage):
    """A base model from scratch, as the option `pretrain` of an experiment makes it."""

    name = "pretrain"

    @classmethod
    def check(cls, run: Run) -> None:
        """There is such an option."""
        _pretraining(run)

    @property
    def label(self) -> str:
        """Words for the console."""
        return "base model"

    def inputs(self) -> dict[str, Any]:
        """Its settings."""
        settings = _pretraining(self.run)
        assert isinstance(settings, Option)
        return result_settings(settings)

    def build(self, folder: Path) -> None:
        """Trains."""
        _pretraining(self.run).run(folder, say)


def _pretraining(run: Run) -> Pretraining:
    if "pretrain" not in run.cfg:
        raise UserError("stages=[pretrain] needs an experiment that has an option pretrain")
    settings = build_option(run.cfg.pretrain, "pretrain")
    if not isinstance(settings, Pretraining):
        raise UserError("pretrain._target_ must name a class with a method run(folder, say)")
    return settings
