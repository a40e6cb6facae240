"""`stages=[evaluate]`: base and fine-tuned model on every benchmark, a whole curve in one pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from s1x.artifact import Artifact
from s1x.benchmark.problem import content_hash
from s1x.evaluate.stage import run as run_evaluation
from s1x.model.model import Model
from s1x.option import result_settings
from s1x.stages import Run, Stage

#: grader → packages whose version can change a verdict
GRADERS_LIBRARIES = {"math": ("math-verify", "sympy")}


@dataclass(frozen=True)
class EvaluateStage(Stage):
    """One model, in one prompt format, on one benchmark."""

    model: Model
    role: str
    prompt_format: str
    benchmark: str

    name = "evaluate"
    version = 2  # rows say whether an answer was cut

    @classmethod
    def check(cls, run: Run) -> None:
        """Questions and references can be read; the server is not asked for two models as one."""
        list(run.problems)  # read now
        run.config.engine.check_roles(run.config.evaluate.models)

    @classmethod
    def of(cls, run: Run) -> Iterator[Stage]:
        """Every model, format and benchmark."""
        for model, role, prompt_format in _models(run):
            for benchmark in run.config.benchmarks:
                yield cls(run, model, role, prompt_format, benchmark)

    @property
    def label(self) -> str:
        """Benchmark, role and format."""
        direct = ", direct answers" if self.prompt_format == "direct" else ""
        return f"{self.benchmark}, {self.role.replace('_', '-')} model{direct}"

    def inputs(self) -> dict[str, Any]:
        """The model, the questions and how they are asked, answered and graded."""
        config, benchmark = self.run.config, self.run.config.benchmarks[self.benchmark]
        fine_tuned, direct = self.role == "fine_tuned", self.prompt_format == "direct"
        answers = {"max_answer_tokens": config.budget.max_answer_tokens}
        return {
            "model": self.run.one("train").fingerprint if fine_tuned else self.model.fingerprint(),
            "role": self.role,
            "prompt_format": self.prompt_format,
            "budget": answers if direct else result_settings(config.budget),
            "curve": None if direct else config.curve,
            "benchmark": self.benchmark,
            "problems": content_hash(self.run.problems[self.benchmark]),
            "benchmark_info": benchmark.info(),
            "grader": result_settings(benchmark.make_grader()),
            "libraries": [[n, version(n)] for n in GRADERS_LIBRARIES.get(benchmark.grader, ())],
            "engine": result_settings(config.engine.for_role(self.role)),
            "sampling": dataclasses.asdict(benchmark.sampling(config.sampling)),
            "seed": config.root.seed,
        }

    def build(self, folder: Path) -> None:
        """Answers, grades, writes rows."""
        config, benchmark = self.run.config, self.run.config.benchmarks[self.benchmark]
        run_evaluation(
            model=self.model,
            model_role=self.role,
            prompt_format=self.prompt_format,
            policy=config.budget,
            curve=config.curve,
            benchmark_name=self.benchmark,
            benchmark=benchmark,
            problems=self.run.problems[self.benchmark],
            engine=config.engine,
            sampling=benchmark.sampling(config.sampling),
            trained_format=config.train.format if self.role == "fine_tuned" else "plain",
            seed=config.root.seed,
            store_folder=self.run.output / "traces",
            folder=folder,
        )


def _models(run: Run) -> Iterator[tuple[Model, str, str]]:
    settings, model = run.config.evaluate, run.config.model
    if "fine_tuned" in settings.models:
        trained: Artifact = run.one("train")
        # the folder that training wrote is complete: nothing of the base's files is needed
        yield (
            dataclasses.replace(
                model,
                path=str(trained.folder / "model"),
                gguf_file=None,
                revision=None,
                chat_template=None,
            ),
            "fine_tuned",
            "thinking",
        )
    if "base" in settings.models:
        yield model, "base", "thinking"
        if settings.base_direct:
            yield model, "base", "direct"
