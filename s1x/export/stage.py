"""`stages=[export]`: the run's evaluations, its own and imported ones, in the formats of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from s1x.benchmark.hub import Hub
from s1x.console import say_once
from s1x.errors import SettingError
from s1x.export import eval_results, every_eval_ever, lm_eval
from s1x.export.point import Exported, exported
from s1x.export.settings import EVAL_RESULTS, EVERY_EVAL_EVER, INSPECT, LM_EVAL
from s1x.option import result_settings
from s1x.report.runs import HUB_ID
from s1x.stages import ArtifactStage, Run


@dataclass(frozen=True)
class ExportStage(ArtifactStage):
    """A folder for each format."""

    name = "export"

    @classmethod
    def check(cls, run: Run) -> None:
        """Who ran it is said, and what writes a format is installed."""
        settings = run.config.export
        if EVERY_EVAL_EVER in settings.formats and not settings.organization:
            remedy = f"or leave {EVERY_EVAL_EVER} out of export.formats"
            must = f"set for {EVERY_EVAL_EVER}: who ran the evaluation"
            raise SettingError("export.organization", must, settings.organization, remedy)
        if INSPECT in settings.formats and find_spec("inspect_ai") is None:
            remedy = "pip install inspect-ai, or name the formats that you want"
            raise SettingError("export.formats", f"without {INSPECT}", settings.formats, remedy)

    @classmethod
    def of(cls, run: Run) -> Iterator[ArtifactStage]:
        """One folder, over what this run or an earlier one with its settings made."""
        run.evaluations()
        yield cls(run)

    @property
    def model_ids(self) -> dict[str, str]:
        """Model's name → id: of the run's own model where its weights are the hub's."""
        model = self.run.config.model
        own = {model.name: model.path} if HUB_ID.fullmatch(model.path) else {}
        return own | self.run.config.export.model_ids

    @property
    def tasks(self) -> dict[str, str]:
        """Benchmark → data set and task of the hub."""
        own = {
            name: f"{benchmark.repository}/{benchmark.config_name or 'default'}"
            for name, benchmark in self.run.config.benchmarks.items()
            if isinstance(benchmark, Hub)
        }
        return own | self.run.config.export.hub_tasks

    def inputs(self) -> Mapping[str, object]:
        """The evaluations, and what is said of them."""
        return {
            "evaluations": [artifact.folder.name for artifact in self.run.evaluations()],
            "settings": result_settings(self.run.config.export),
            **{"model_ids": self.model_ids, "tasks": self.tasks},
        }

    def build(self, folder: Path) -> None:
        """Writes every point in every format."""
        for artifact in self.run.evaluations():
            for point in exported(artifact.folder, self.model_ids):
                if point.point.accuracy_percent is None:
                    say_once(f"{point.name} is left out: no answer of it is graded")
                    continue
                for name in self.run.config.export.formats:
                    self._write(name, point, folder / name)

    def _write(self, name: str, point: Exported, folder: Path) -> None:
        if name == EVERY_EVAL_EVER:
            every_eval_ever.write(point, folder, self.run.config.export)
        elif name == LM_EVAL:
            lm_eval.write(point, folder)
        elif name == INSPECT:
            import_module("s1x.export.inspect").write(point, folder)
        elif name == EVAL_RESULTS and not eval_results.write(point, folder, self.tasks):
            say_once(
                f"{EVAL_RESULTS}: {point.benchmark} is left out, no data set of the hub is known "
                f"for it; set +export.hub_tasks.{point.benchmark}=owner/name/task"
            )
