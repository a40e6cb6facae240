"""One run: the stages in order, each an artifact found by its fingerprint or built.

    select ──► train ──► evaluate ──► report

`run.json` in the run's folder names the artifacts that it used, so that a report over many runs
(`report.runs=<glob>`, sweeps) reads rows and never file names.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from s1x.artifact import Artifact, Artifacts, write_json
from s1x.benchmark.benchmark import load_problems
from s1x.benchmark.problem import Problem, content_hash
from s1x.classes import source_hash
from s1x.config import STAGES, Config, benchmarks_named, load, model_named
from s1x.config import build as build_option
from s1x.console import duration, say, say_once
from s1x.costs import note_energy
from s1x.energy import Meter
from s1x.errors import UserError
from s1x.latest import finish_report
from s1x.model.model import Model
from s1x.option import Option, result_settings

RUN_FILE = "run.json"
#: raised when a stage's output changes its meaning, so that old artifacts are not taken for new
VERSIONS = {
    "pretrain": 1,
    "pool": 1,
    "annotate": 1,
    "select": 1,
    "train": 2,  # texts are stripped as s1's, and never control tokens
    "evaluate": 2,  # rows say whether an answer was cut
    "report": 2,  # another page, other columns
}


def run(
    cfg: DictConfig, folder: Path, overrides: Sequence[str], label: str = "", sweep: str = ""
) -> dict[str, Any] | None:
    """Runs the stages that `cfg.stages` names; returns the report's summary if one was written.

    Args:
        cfg: the composed configuration.
        folder: this run's own folder (Hydra's output folder).
        overrides: the command line's overrides, to tell how the run was started.
        label: the run's name among others (a sweep's job).
        sweep: the sweep that the run is a job of; trackers group by it.

    Raises:
        UserError: anything that the user can mend; nothing half-written is left behind.
    """
    return Run(load(cfg), cfg, folder, list(overrides), label, sweep).execute()


@dataclass
class Run:
    """The state of one run: what is configured, and which artifacts have been found or built."""

    config: Config
    cfg: DictConfig
    folder: Path
    overrides: list[str]
    label: str = ""
    sweep: str = ""
    done: list[dict[str, Any]] = field(default_factory=list)
    pooled: Artifact | None = None
    annotated: Artifact | None = None
    selection: Artifact | None = None
    training: Artifact | None = None
    evaluations: list[Artifact] = field(default_factory=list)

    def __post_init__(self) -> None:
        root = self.config.root
        self.output = Path(root.output).expanduser()
        self.artifacts = Artifacts(self.output, root.force, say_once if self.sweep else say)
        self.stages = [stage for stage in STAGES if stage in root.stages]
        self._problems: dict[str, list[Problem]] | None = None
        self._against: dict[str, list[Problem]] | None = None

    def execute(self) -> dict[str, Any] | None:
        """Every stage in turn, then the table and the report's path."""
        root = self.config.root
        start = time.perf_counter()
        if self.stages != ["plan"]:
            stages = " → ".join(self.stages)
            tell = say_once if self.sweep else say
            tell(f"s1x {root.name}: scale {root.scale_name}, seed {root.seed}, {stages}")
        if patterns := self.config.report.patterns():
            from s1x.sweep import report_on

            if self.stages != ["report"]:
                raise UserError(
                    "report.runs reports on other runs and nothing else; "
                    f"set stages=[report], got [{','.join(self.stages)}]"
                )
            return report_on(patterns, self.output, self.config.report.title, root.force)
        self.check()
        tracker = self.config.tracker
        tracker.start(self.context())
        summary: dict[str, Any] | None = None
        failed = True
        try:
            for stage in self.stages:
                if stage not in ("plan", "report"):
                    getattr(self, stage)()
            if self.evaluations or self.training or self.selection:
                self.write_run_file()
            summary = self.report() if "report" in self.stages else None
            failed = False
        finally:
            tracker.finish(summary, self._folders(), failed)
        if self.stages != ["plan"]:
            say(f"Done in {duration(time.perf_counter() - start)}.")
        return summary

    def check(self) -> None:
        """Plans the run and refuses what cannot work on this machine, before anything starts.

        Raises:
            UserError: the obstacles, each with its remedy.
        """
        from s1x.plan import plan_run

        running = set(self.stages) - {"plan", "store", "pretrain"}
        if running & {"select", "train", "evaluate"}:
            self.config.model.source()
        plan = plan_run(self.config, self.stages)
        if "plan" in self.stages:
            print("\n".join(plan.table()))
        if self.stages == ["plan"] and plan.problems:
            raise UserError(f"the run cannot work here: {len(plan.problems)} problem(s), see above")
        plan.refuse()
        if "annotate" in running:
            self.config.annotate.check()
            for model in self._own_models().values():
                model.source()
        if "select" in running:
            self.decontaminate_against()
        if "evaluate" in running:
            self.problems()

    # -- stages -----------------------------------------------------------------------------------

    def pretrain(self) -> None:
        """A base model from scratch, as the option `pretrain` of an experiment makes it."""
        if "pretrain" not in self.cfg:
            raise UserError("stages=[pretrain] needs an experiment that has an option pretrain")
        settings = build_option(self.cfg.pretrain, "pretrain")
        inputs = self._node("pretrain")
        self._artifact("pretrain", inputs, lambda f: settings.run(f, say), "base model")

    def store(self) -> None:
        """Shows the trace store, makes it smaller or checks it where `store` says so."""
        from s1x.evaluate.check import check
        from s1x.traces.upkeep import describe, prune

        settings, place = self.config.store, self.output / "traces"
        if settings.remove_models or settings.unused_days is not None or settings.merge:
            freed = prune(place, settings.remove_models, settings.unused_days, settings.merge)
            print(f"freed {freed / 2**20:.1f} MiB")
        for traces in describe(place):
            print("\n".join(traces.lines()))
        if settings.check:
            for line in check(place, self.config.engine, settings.check, self.config.root.seed):
                print(line)

    def annotate(self) -> None:
        """The pool again, with the columns that models make: traces, verdicts, domains."""
        from s1x.annotate import run as run_annotation
        from s1x.annotate.engine_model import EngineModel
        from s1x.engine.live import close_engine

        config, pool = self.config, self.pool()
        place = self.output / "answers"
        own = {
            role: EngineModel(config.engine, model, thinking=role == "teacher")
            for role, model in self._own_models().items()
        }
        self.annotated = self._artifact(
            "annotate",
            self._annotation_inputs(),
            lambda folder: run_annotation(pool.folder, config.annotate, folder, place, own),
            "annotated pool",
        )
        close_engine()  # training needs its memory

    def select(self) -> None:
        """The chosen rows, from the pool by the recipe."""
        from s1x.selection.stage import run as run_selection

        config = self.config
        self.pool()
        pool = self._annotated() or self.pooled

        def build(folder: Path) -> None:
            assert pool is not None
            run_selection(
                pool.folder,
                config.selection,
                self.decontaminate_against(),
                config.root.seed,
                folder,
                config.model,
            )

        label = f"selection {self.choice('selection')}"
        self.selection = self._artifact("select", self._selection_inputs(), build, label)
        if repository := config.selection.push_to_hub:
            from s1x.selection.write import push

            page = push(self.selection.folder, repository, config.selection.private)
            say(f"{label}: uploaded to {page}")

    def train(self) -> None:
        """The fine-tuned model, as a Hugging Face folder."""
        from s1x.plan import check_samples
        from s1x.train import run as run_training

        config = self.config
        selection = self._selected()

        def build(folder: Path) -> None:
            run_training(
                config.train,
                config.model,
                selection.folder / "chosen.parquet",
                config.root.seed,
                folder,
                on_step=config.tracker.log_step,
                check=partial(check_samples, config),
            )

        inputs = self._training_inputs(selection)
        self.training = self._artifact("train", inputs, build, "fine-tuned model")
        if self.training.reused:
            config.tracker.log_training(self.training.folder)

    def evaluate(self) -> None:
        """Base and fine-tuned model on every benchmark, a whole curve in one pass."""
        from s1x.evaluate import run as run_evaluation

        config = self.config
        loaded = self.problems()
        for model, role, prompt_format in self._models():
            for name, benchmark in config.benchmarks.items():
                problems = loaded[name]
                inputs = self._evaluation_inputs(model, role, prompt_format, name, problems)

                def build(folder: Path) -> None:
                    run_evaluation(
                        model=model,  # noqa: B023 - built at once
                        model_role=role,  # noqa: B023
                        prompt_format=prompt_format,  # noqa: B023
                        policy=config.budget,
                        curve=config.curve,
                        benchmark_name=name,  # noqa: B023
                        benchmark=benchmark,  # noqa: B023
                        problems=problems,  # noqa: B023
                        engine=config.engine,
                        sampling=benchmark.sampling(config.sampling),  # noqa: B023
                        trained_format=config.train.format if role == "fine_tuned" else "plain",  # noqa: B023
                        seed=config.root.seed,
                        store_folder=self.output / "traces",
                        folder=folder,
                    )

                label = f"{name}, {role.replace('_', '-')} model"
                label += ", direct answers" if prompt_format == "direct" else ""
                self.evaluations.append(self._artifact("evaluate", inputs, build, label))

    def report(self) -> dict[str, Any]:
        """The report over this run's artifacts and its summary; `latest` points to it."""
        from s1x.report import run as run_report

        if not self.evaluations:
            self._find_artifacts()
        folders = [artifact.folder for artifact in self.evaluations]
        selection = self.selection.folder if self.selection else None
        training = self.training.folder if self.training else None
        context = self.context()
        used = [*self.evaluations, *filter(None, (self.selection, self.training))]
        told = {key: context[key] for key in ("name", "title", "scale", "seed", "config")}
        inputs = {"artifacts": [a.folder.name for a in used], "context": told}

        def build(folder: Path) -> None:
            run_report(context, folders, selection, training, folder)

        artifact = self._artifact("report", inputs, build)
        return finish_report(self.artifacts, artifact, self.done, bool(self.sweep))

    # -- what the stages read ---------------------------------------------------------------------

    def pool(self) -> Artifact:
        """The pool as Parquet files."""
        from s1x.pool.stage import run as run_pool
        from s1x.pool.stage import tell_bad_rows

        build = functools.partial(run_pool, self.config.pool)
        self.pooled = self._artifact("pool", self._pool_inputs(), build, self.choice("pool"))
        tell_bad_rows(self.pooled.folder)
        return self.pooled

    def problems(self) -> dict[str, list[Problem]]:
        """The problems of every benchmark that is evaluated, read once and before anything else."""
        if self._problems is None:
            benchmarks = self.config.benchmarks
            most = self.config.root.max_problems
            self._problems = {n: load_problems(n, b, most) for n, b in benchmarks.items()}
        return self._problems

    def decontaminate_against(self) -> dict[str, list[Problem]]:
        """The benchmarks whose questions may not be trained on, whatever is evaluated.

        Questions of the run's own (`benchmark=jsonl`) are always among them, unless none are.
        """
        if self._against is None:
            names = self.config.root.decontaminate
            against: dict[str, Any] = {}
            if names and "_target_" in self.cfg.benchmark:
                against.update(self.config.benchmarks)
                names = [n for n in names if n not in (*against, self.choice("benchmark"))]
            against.update(benchmarks_named(names))
            self._against = {name: load_problems(name, b) for name, b in against.items()}
        return self._against

    def _models(self) -> Iterator[tuple[Model, str, str]]:
        settings, model = self.config.evaluate, self.config.model
        if "fine_tuned" in settings.models:
            folder = self._trained().folder / "model"
            # the folder that training wrote is complete: nothing of the base's files is needed
            yield (
                dataclasses.replace(
                    model, path=str(folder), gguf_file=None, revision=None, chat_template=None
                ),
                "fine_tuned",
                "thinking",
            )
        if "base" in settings.models:
            yield model, "base", "thinking"
            if settings.base_direct:
                yield model, "base", "direct"

    def _selected(self) -> Artifact:
        if self.selection is None:
            self.selection = self._found("select", self._selection_inputs())
        return self.selection

    def _trained(self) -> Artifact:
        if self.training is None:
            self.training = self._found("train", self._training_inputs(self._selected()))
        return self.training

    def _find_artifacts(self) -> None:
        """For a run that reports only: the artifacts that the same settings have made before."""
        if "fine_tuned" in self.config.evaluate.models:
            self._trained()
            self.pooled = self._existing("pool", self._pool_inputs())
        for name, problems in self.problems().items():
            for model, role, prompt_format in self._models():
                inputs = self._evaluation_inputs(model, role, prompt_format, name, problems)
                self.evaluations.append(self._found("evaluate", inputs))

    def _found(self, stage: str, inputs: Mapping[str, Any]) -> Artifact:
        found = self._existing(stage, inputs)
        if found is None:
            raise UserError(
                f"stages={self.config.root.stages} needs what {stage} makes, which does not exist "
                f"for these settings; put {stage} into stages"
            )
        self.done.append(_stage(stage, stage, found.fingerprint, 0.0, True))
        return found

    # -- fingerprints -----------------------------------------------------------------------------

    def _node(self, key: str) -> dict[str, Any]:
        """A group's settings that can change a result, as plain values."""
        option = build_option(self.cfg[key], key)
        if isinstance(option, Option):
            return result_settings(option)
        values = OmegaConf.to_container(self.cfg[key], resolve=True)  # a user's class of any kind
        assert isinstance(values, dict)
        return {**{str(k): v for k, v in values.items()}, "_source_": source_hash(type(option))}

    def _annotated(self) -> Artifact | None:
        """The annotated pool, where this run or an earlier one with these settings made it."""
        if self.annotated is None and self.config.annotate.used():
            self.annotated = self._existing("annotate", self._annotation_inputs())
        return self.annotated

    def _existing(self, stage: str, inputs: Mapping[str, Any]) -> Artifact | None:
        """What the same settings have made before, if they have."""
        return self.artifacts.existing(stage, {"version": VERSIONS[stage], **inputs})

    def _annotation_inputs(self) -> dict[str, Any]:
        own = {role: model.fingerprint() for role, model in self._own_models().items()}
        inputs = {**self._pool_inputs(), "annotate": self.config.annotate.described()}
        return {**inputs, "own_models": own} if own else inputs

    def _own_models(self) -> dict[str, Model]:
        """Annotation's roles that have no server: the run's engine plays them, with these models.

        Raises:
            UserError: a model that is no option, or is not on this machine.
        """
        return {
            role: model_named(endpoint.model, f"annotate.{role}.model")
            if endpoint.model
            else self.config.model
            for role, endpoint in self.config.annotate.used()
            if not endpoint.base_urls
        }

    def _pool_inputs(self) -> dict[str, Any]:
        return {"pool": self.config.pool.fingerprint()}

    def _selection_inputs(self) -> dict[str, Any]:
        against = {n: content_hash(p) for n, p in self.decontaminate_against().items()}
        annotated = self._annotated()
        return {
            **self._pool_inputs(),
            "annotated": annotated.fingerprint if annotated else None,
            "recipe": self.config.selection.fingerprint(),
            "tokenizer": self.config.model.fingerprint(),
            "decontaminate": against,
            "seed": self.config.root.seed,
        }

    def _training_inputs(self, selection: Artifact) -> dict[str, Any]:
        return {
            "selection": selection.fingerprint,
            "model": self.config.model.fingerprint(),
            "train": self._node("train"),
            "seed": self.config.root.seed,
        }

    def _evaluation_inputs(
        self, model: Model, role: str, prompt_format: str, name: str, problems: list[Problem]
    ) -> dict[str, Any]:
        trained = self.training.fingerprint if self.training and role == "fine_tuned" else None
        direct, benchmark = prompt_format == "direct", self.config.benchmarks[name]
        return {
            "model": trained or model.fingerprint(),
            "role": role,
            "prompt_format": prompt_format,
            "budget": {"max_answer_tokens": self.config.budget.max_answer_tokens}
            if direct
            else self._node("budget"),
            "curve": None if direct else self.config.curve,
            "benchmark": name,
            "problems": content_hash(problems),
            "benchmark_info": benchmark.info(),
            "grader": [benchmark.grader, dict(benchmark.grader_settings)],
            "engine": self._node("engine"),
            "sampling": dataclasses.asdict(benchmark.sampling(self.config.sampling)),
            "seed": self.config.root.seed,
        }

    def _folders(self) -> dict[str, Path | list[Path] | None]:
        return {
            "select": self.selection.folder if self.selection else None,
            "train": self.training.folder if self.training else None,
            "evaluate": [artifact.folder for artifact in self.evaluations],
        }

    def _artifact(
        self, stage: str, inputs: Mapping[str, Any], build: Callable[[Path], Any], label: str = ""
    ) -> Artifact:
        inputs = {"version": VERSIONS[stage], **inputs}

        def measured(folder: Path) -> None:
            with Meter() as meter:
                build(folder)
            if stage != "train" or self.config.train.num_nodes == 1:  # other nodes are not seen
                note_energy(folder, meter.kwh)

        start = time.perf_counter()
        artifact = self.artifacts.get(stage, inputs, measured, label)
        seconds = time.perf_counter() - start
        self.done.append(
            _stage(stage, label or stage, artifact.fingerprint, seconds, artifact.reused)
        )
        if not artifact.reused:
            say(f"{label or stage}: {duration(seconds)}, {artifact.folder}")
        return artifact

    # -- what is told -----------------------------------------------------------------------------

    def choice(self, group: str) -> str:
        """The option chosen for a group, as the command line names it."""
        from hydra.core.hydra_config import HydraConfig

        if HydraConfig.initialized():
            return str(HydraConfig.get().runtime.choices.get(group, group))
        return group

    def context(self) -> dict[str, Any]:
        """What the report and the tracker say of this run, besides its rows."""
        root = self.config.root
        return {
            "name": root.name,
            "label": self.label or root.name,
            "title": self.config.report.title,
            "scale": root.scale_name,
            "seed": root.seed,
            "command": "python run.py " + shlex.join(self.overrides),
            "overrides": self.overrides,
            "choices": {
                group: self.choice(group)
                for group in ("pool", "selection", "model", "train", "engine", "budget")
            },
            "config": OmegaConf.to_container(self.cfg, resolve=True),
            "prices": dataclasses.asdict(self.config.prices),
            "sweep": self.sweep or None,
            "job": self.label or None,
            "run_folder": str(self.folder),
            "tokenizers": self._tokenizers(),
            "cost_folders": [str(a.folder.resolve()) for a in (self.pooled, self.annotated) if a],
            "fingerprints": {item["label"]: item["fingerprint"] for item in self.done},
            "stages": list(self.done),
        }

    def _tokenizers(self) -> dict[str, str]:
        """Model name → folder of its tokenizer, so that the trace viewer can mark tokens."""
        model, training = self.config.model, self.training
        return {model.name: str(training.folder / "model") if training else model.source()}

    def write_run_file(self) -> None:
        """`run.json`: the artifacts of this run, relative to its folder."""

        def place(artifact: Artifact | None) -> str | None:
            return os.path.relpath(artifact.folder, self.folder) if artifact else None

        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "context": self.context(),
            "selection": place(self.selection),
            "training": place(self.training),
            "evaluations": [place(artifact) for artifact in self.evaluations],
        }
        write_json(self.folder / RUN_FILE, content)


def _stage(
    stage: str, label: str, fingerprint: str, seconds: float, reused: bool
) -> dict[str, Any]:
    return {
        "stage": stage,
        "label": label,
        "fingerprint": fingerprint,
        "wall_seconds": round(seconds, 3),
        "reused": reused,
    }
