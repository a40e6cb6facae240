"""`stages=[annotate]`: the pool again, with the columns that models make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s1x.annotate.stage import run as run_annotation
from s1x.artifact import Artifact
from s1x.config import model_named
from s1x.engine.chat import EngineChat
from s1x.engine.live import close_engine
from s1x.model.model import Model
from s1x.pool.as_stage import PoolStage
from s1x.stages import Run, Stage


class AnnotateStage(Stage):
    """Traces, verdicts and domains, by servers or by the run's own engine."""

    name = "annotate"
    makes_first = ("pool",)

    @classmethod
    def check(cls, run: Run) -> None:
        """Servers answer; own models are on this machine."""
        run.config.annotate.check()
        for model in own_models(run).values():
            model.source()

    @property
    def label(self) -> str:
        """Words for the console."""
        return "annotated pool"

    def inputs(self) -> dict[str, Any]:
        """The pool, the tasks, and the models that this run asks itself."""
        own = {role: model.fingerprint() for role, model in own_models(self.run).items()}
        inputs = {**PoolStage(self.run).inputs(), "annotate": self.run.config.annotate.described()}
        return {**inputs, "own_models": own} if own else inputs

    def build(self, folder: Path) -> None:
        """Asks what was not asked before (`<output>/answers`)."""
        config = self.run.config
        own = {
            role: EngineChat(config.engine, model, thinking=role == "teacher")
            for role, model in own_models(self.run).items()
        }
        pool, answers = self.run.one("pool").folder, self.run.output / "answers"
        run_annotation(pool, config.annotate, folder, answers, own)

    def finish(self, artifact: Artifact) -> None:
        """Training needs the engine's memory."""
        close_engine()


def own_models(run: Run) -> dict[str, Model]:
    """Annotation's roles that have no server: the run's engine plays them, with these models.

    Raises:
        UserError: a model that is no option, or is not on this machine.
    """
    return {
        role: model_named(endpoint.model, f"annotate.{role}.model")
        if endpoint.model
        else run.config.model
        for role, endpoint in run.config.annotate.used()
        if not endpoint.base_urls
    }
