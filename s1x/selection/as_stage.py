"""`stages=[select]`: the rows to train on, from the pool by the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s1x.artifact import Artifact
from s1x.benchmark.problem import content_hash
from s1x.console import say
from s1x.pool.as_stage import PoolStage
from s1x.selection.stage import run as run_selection
from s1x.selection.write import push
from s1x.stages import Run, Stage


class SelectStage(Stage):
    """The chosen rows with their funnel and card."""

    name = "select"
    makes_first = ("pool",)

    @classmethod
    def check(cls, run: Run) -> None:
        """The benchmarks to decontaminate against can be read."""
        list(run.not_trained_on)  # read now

    @property
    def label(self) -> str:
        """The recipe's name."""
        return f"selection {self.run.choice('selection')}"

    def _annotated(self) -> Artifact | None:
        """The annotated pool, where this run or an earlier one with these settings made it."""
        return self.run.maybe("annotate") if self.run.config.annotate.used() else None

    def inputs(self) -> dict[str, Any]:
        """Pool, recipe, tokenizer, what is decontaminated against, seed."""
        config, annotated = self.run.config, self._annotated()
        return {
            **PoolStage(self.run).inputs(),
            "annotated": annotated.fingerprint if annotated else None,
            "recipe": config.selection.fingerprint(),
            "tokenizer": config.model.fingerprint(),
            "decontaminate": {n: content_hash(p) for n, p in self.run.not_trained_on.items()},
            "seed": config.root.seed,
        }

    def build(self, folder: Path) -> None:
        """Runs the recipe."""
        config = self.run.config
        pool = self._annotated() or self.run.one("pool")
        against = self.run.not_trained_on
        seed = config.root.seed
        run_selection(pool.folder, config.selection, against, seed, folder, config.model)

    def finish(self, artifact: Artifact) -> None:
        """Uploads it where the recipe says so."""
        recipe = self.run.config.selection
        if recipe.push_to_hub:
            page = push(artifact.folder, recipe.push_to_hub, recipe.private)
            say(f"{self.label}: uploaded to {page}")
