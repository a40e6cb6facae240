"""The loop over the stages of a run.

    (pool ──► annotate) ──► select ──► train ──► evaluate ──► report

A stage is a small class in its own package. Those that make artifacts say what their result depends
on and how it is built; an artifact is found by its fingerprint or built. Nothing here imports them:
they import this.
`run.json` in the run's folder names the artifacts that it used, so that a report over many runs
(`report.runs=<glob>`, sweeps) reads rows and never file names.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from s1x.artifact import Artifact, Artifacts, write_json
from s1x.benchmark.benchmark import Benchmark, load_problems
from s1x.benchmark.problem import Problem
from s1x.classes import load_class
from s1x.compose import options_named
from s1x.console import duration, say, say_once
from s1x.costs import note_energy
from s1x.energy import Meter
from s1x.errors import UserError
from s1x.model.model import Model

if TYPE_CHECKING:
    from s1x.config import Config

RUN_FILE = "run.json"
#: stage → its class, imported when a run needs it, in the order in which a run takes them
CLASSES = {
    "plan": "s1x.plan.stage.PlanStage",
    "store": "s1x.evaluate.store.StoreStage",
    "pretrain": "s1x.train.stage.PretrainStage",
    "pool": "s1x.pool.stage.PoolStage",
    "annotate": "s1x.annotate.stage.AnnotateStage",
    "select": "s1x.selection.stage.SelectStage",
    "train": "s1x.train.stage.TrainStage",
    "evaluate": "s1x.evaluate.stage.EvaluateStage",
    "import": "s1x.imports.stage.ImportStage",
    "report": "s1x.report.stage.ReportStage",
    "export": "s1x.export.stage.ExportStage",
    "serve": "s1x.serve.stage.ServeStage",
}
#: packages of the extra that is called as the stage
_NEEDS = {"serve": ("fastapi", "uvicorn", "prometheus_client")}
#: made by whatever reads them
ON_THE_WAY = ("pool", "import")
#: what `stages` can name
STAGES = tuple(name for name in CLASSES if name not in ON_THE_WAY)


class MissingError(UserError):
    """A run reads what stages have not made; `names` are these, the first to run first."""

    def __init__(self, stages: Sequence[str], names: Sequence[str]) -> None:
        self.names = names
        wanted = ",".join(name for name in names if name not in stages)
        makers = f"{' and '.join(names)} make" if names[1:] else f"{names[0]} makes"
        super().__init__(
            f"stages=[{','.join(stages)}] needs what {makers}, which does not exist for these "
            f"settings; put {wanted} into stages"
        )


class Stage(ABC):
    """What `stages` can name.

    `makes_first` names stages that a run makes on the way, without being asked for.
    """

    name: ClassVar[str]
    makes_first: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def check(cls, run: Run) -> None:
        """Refuses what cannot work, before anything expensive starts."""

    @classmethod
    @abstractmethod
    def execute(cls, run: Run) -> None:
        """Does what the stage is for."""


@dataclass(frozen=True)
class ArtifactStage(Stage):
    """One artifact of a run: what it depends on and how it is built.

    `version` is raised when the output changes its meaning, so that old artifacts are not taken for
    new.
    """

    version: ClassVar[int] = 1

    run: Run

    @classmethod
    def of(cls, run: Run) -> Iterator[ArtifactStage]:
        """The stage's artifacts in this run, one after another."""
        yield cls(run)

    @classmethod
    def execute(cls, run: Run) -> None:
        """Makes the stage's artifacts."""
        for stage in cls.of(run):
            run.make(stage)

    @property
    def label(self) -> str:
        """What the console calls it."""
        return self.name

    @property
    def measured(self) -> bool:
        """Whether the energy used on this machine is all that it took."""
        return True

    @abstractmethod
    def inputs(self) -> Mapping[str, object]:
        """Everything that the result depends on, as plain values."""

    @abstractmethod
    def build(self, folder: Path) -> object:
        """Fills the folder; finds there what a killed run left."""

    def finish(self, artifact: Artifact) -> None:
        """What follows each time, built or reused."""


def stage_class(name: str) -> type[Stage]:
    """The class of a stage.

    Raises:
        UserError: it needs packages of an extra that is not installed.
    """
    lacks = [package for package in _NEEDS.get(name, ()) if find_spec(package) is None]
    if lacks:
        raise UserError(
            f"stages=[{name}] needs {', '.join(lacks)}, not installed here; "
            f"pip install 's1x[{name}]'"
        )
    cls = load_class(CLASSES[name], "stages")
    assert issubclass(cls, Stage)
    return cls


def artifacts_of(name: str, run: Run) -> Iterator[ArtifactStage]:
    """A stage's artifacts in a run, one after another."""
    cls = stage_class(name)
    assert issubclass(cls, ArtifactStage)
    return cls.of(run)


@dataclass
class Run:
    """The state of one run: what is configured, and which artifacts have been found or built.

    Attributes:
        config, cfg: the configuration, checked and as composed.
        folder: this run's own (Hydra's output folder).
        overrides: the command line's, to tell how the run was started.
        label: the run's name among others (a sweep's job).
        sweep: the sweep that the run is a job of; trackers group by it.
        sample_lengths: of the samples to train on, in tokens, once they are known.
    """

    config: Config
    cfg: DictConfig
    folder: Path
    overrides: list[str]
    label: str = ""
    sweep: str = ""
    sample_lengths: Sequence[int] = ()
    made: dict[str, list[Artifact]] = field(default_factory=dict)
    told: list[dict[str, object]] = field(default_factory=list)
    """Each artifact as the summary and `run.json` tell it."""
    summary: dict[str, object] | None = None

    def __post_init__(self) -> None:
        root = self.config.root
        self.output = Path(root.output).expanduser()
        self.artifacts = Artifacts(self.output, root.force, self.say)
        self.stages = [stage for stage in STAGES if stage in root.stages]

    def say(self, text: str) -> None:
        """One line on the console; what a sweep's jobs share is said once."""
        (say_once if self.sweep else say)(text)

    def execute(self) -> dict[str, object] | None:
        """Every stage in turn; returns the report's summary if one was written.

        Raises:
            UserError: anything that the user can mend; nothing half-written is left behind.
        """
        root = self.config.root
        start = time.perf_counter()
        if self.stages != ["plan"]:
            stages = " → ".join(self.stages)
            self.say(f"s1x {root.name}: scale {root.scale_name}, seed {root.seed}, {stages}")
        self.check()
        tracker = self.config.tracker
        tracker.start(self.context())
        failed = True
        try:
            for name in self.stages:
                self.execute_stage(name)
            failed = False
        finally:
            made = self._folders()
            one = {name: next(iter(made[name]), None) for name in ("select", "train")}
            tracker.finish(self.summary, {**made, **one}, failed)
        if self.stages != ["plan"]:
            say(f"Done in {duration(time.perf_counter() - start)}.")
        return self.summary

    def execute_stage(self, name: str) -> None:
        """One stage, after those that it makes on the way."""
        cls = stage_class(name)
        for first in cls.makes_first:
            if first not in self.made:
                self.execute_stage(first)
        cls.execute(self)

    def check(self) -> None:
        """Plans the run and refuses what cannot work on this machine, before anything starts.

        Raises:
            UserError: the obstacles, each with its remedy.
        """
        # a report over other runs uses nothing of this one
        imports = ["import"] if self.config.imported.asked_for else []
        others = self.config.report.patterns()
        names = ["report"] if others else [*imports, "plan", *self.stages]
        for name in dict.fromkeys(names):
            stage_class(name).check(self)

    # -- artifacts --------------------------------------------------------------------------------

    def make(self, stage: ArtifactStage) -> Artifact:
        """The stage's artifact, built where it is not yet."""

        def measured(folder: Path) -> None:
            with Meter() as meter:
                stage.build(folder)
            if stage.measured:
                note_energy(folder, meter.kwh)

        start = time.perf_counter()
        artifact = self.artifacts.get(stage.name, _inputs(stage), measured, stage.label)
        seconds = time.perf_counter() - start
        self._tell(stage, artifact, stage.label, seconds)
        if not artifact.reused:
            say(f"{stage.label}: {duration(seconds)}, {artifact.folder}")
        if stage.name != "report":
            self.write_run_file()
        stage.finish(artifact)
        return artifact

    def existing(self, stage: ArtifactStage) -> Artifact | None:
        """What the same settings have made before, if they have."""
        return self.artifacts.existing(stage.name, _inputs(stage))

    def all(self, name: str) -> list[Artifact]:
        """A stage's artifacts, made by this run or by an earlier one with these settings.

        Raises:
            UserError: one does not exist.
        """
        if name not in self.made:
            try:
                there = [(stage, self.existing(stage)) for stage in artifacts_of(name, self)]
            except MissingError as error:  # what it reads itself
                raise MissingError(self.stages, [*error.names, name]) from None
            for stage, found in there:
                if found is None:
                    raise MissingError(self.stages, [name])
                self._tell(stage, found, name, 0.0)
        return self.made[name]

    def one(self, name: str) -> Artifact:
        """The artifact of a stage that makes one."""
        return self.all(name)[0]

    def evaluations(self) -> list[Artifact]:
        """What is reported on: imported answers, and what the model of this run answered.

        Beside imports that is in it only where `evaluate` is among the stages.
        """
        if self.config.imported.asked_for:
            if "import" not in self.made:
                self.execute_stage("import")
            if "evaluate" not in self.stages:
                return self.made["import"]
        return [*self.all("evaluate"), *self.made.get("import", [])]

    def maybe(self, name: str) -> Artifact | None:
        """The artifact of a stage that makes one, or None where it was never made."""
        if name not in self.made:
            return self.existing(next(artifacts_of(name, self)))
        return self.made[name][0] if self.made[name] else None

    def _tell(self, stage: ArtifactStage, artifact: Artifact, label: str, seconds: float) -> None:
        self.made.setdefault(stage.name, []).append(artifact)
        told = {"stage": stage.name, "label": label, "fingerprint": artifact.fingerprint}
        took = {"wall_seconds": round(seconds, 3), "reused": artifact.reused}
        self.told.append({**told, **took})

    # -- what several stages read -----------------------------------------------------------------

    @cached_property
    def problems(self) -> dict[str, list[Problem]]:
        """The problems of every benchmark that is evaluated, read once and before anything else."""
        most = self.config.root.max_problems
        return {n: load_problems(n, b, most) for n, b in self.config.benchmarks.items()}

    @cached_property
    def not_trained_on(self) -> dict[str, list[Problem]]:
        """The benchmarks whose questions may not be trained on, whatever is evaluated.

        Questions of the run's own (`benchmark=jsonl`) are always among them, unless none are.
        """
        names = self.config.root.decontaminate
        against: dict[str, Benchmark] = {}
        if names and "_target_" in self.cfg.benchmark:
            against.update(self.config.benchmarks)
            names = [n for n in names if n not in (*against, self.choice("benchmark"))]
        against.update(options_named("benchmark", names, "decontaminate", Benchmark))
        return {name: load_problems(name, benchmark) for name, benchmark in against.items()}

    def trained_model(self) -> Model:
        """The fine-tuned model: training's folder is complete, nothing of the base's is needed."""
        path = str(self.one("train").folder / "model")
        model = self.config.model
        return replace(model, path=path, gguf_file=None, revision=None, chat_template=None)

    def choice(self, group: str) -> str:
        """The option chosen for a group, as the command line names it."""
        if HydraConfig.initialized():
            return str(HydraConfig.get().runtime.choices.get(group, group))
        return group

    # -- what is told -----------------------------------------------------------------------------

    def context(self) -> dict[str, object]:
        """What the report and the tracker say of this run, besides its rows."""
        root = self.config.root
        model, training = self.config.model, self.made.get("train")
        bought = [a for name in ("pool", "annotate") for a in self.made.get(name, [])]
        swapped = ("pool", "selection", "model", "train", "engine", "budget", "import")
        return {
            "name": root.name,
            "label": self.label or root.name,
            "title": self.config.report.title,
            "scale": root.scale_name,
            "seed": root.seed,
            "command": "python run.py " + shlex.join(self.overrides),
            "overrides": self.overrides,
            "choices": {group: self.choice(group) for group in swapped},
            "config": OmegaConf.to_container(self.cfg, resolve=True),
            "prices": dataclasses.asdict(self.config.prices),
            "sweep": self.sweep or None,
            "job": self.label or None,
            "run_folder": str(self.folder),
            "tokenizers": {
                model.name: str(training[0].folder / "model") if training else model.source()
            },
            "cost_folders": [str(artifact.folder.resolve()) for artifact in bought],
            "fingerprints": {item["label"]: item["fingerprint"] for item in self.told},
            "stages": list(self.told),
        }

    def write_run_file(self) -> None:
        """`run.json`: the artifacts of this run, relative to its folder."""
        folders = self._folders()
        if not any(folders.values()):
            return
        places = {n: [os.path.relpath(f, self.folder) for f in fs] for n, fs in folders.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "context": self.context(),
            "selection": next(iter(places["select"]), None),
            "training": next(iter(places["train"]), None),
            "evaluations": places["evaluate"],
        }
        write_json(self.folder / RUN_FILE, content)

    def _folders(self) -> dict[str, list[Path]]:
        names = {"select": ["select"], "train": ["train"], "evaluate": ["evaluate", "import"]}
        return {
            name: [artifact.folder for one in stages for artifact in self.made.get(one, [])]
            for name, stages in names.items()
        }


def _inputs(stage: ArtifactStage) -> Mapping[str, object]:
    return {"version": stage.version, **stage.inputs()}
