"""From Hydra's composed configuration to checked objects, before anything expensive starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from s1x.annotate.annotate import Annotate
from s1x.benchmark.benchmark import Benchmark
from s1x.budget.policy import Policy
from s1x.classes import nearest
from s1x.compose import build, plain, typed
from s1x.engine.engine import Engine
from s1x.errors import SettingError, UserError
from s1x.evaluate.settings import EvaluateSettings, Sampling, StoreSettings, check_samples
from s1x.export.settings import ExportSettings
from s1x.gpus import gpu
from s1x.imports.importer import Import
from s1x.model.model import Model, describe_own_model
from s1x.option import Option, option, setting
from s1x.pool.pool import Pool
from s1x.report.settings import Prices, ReportSettings
from s1x.report.tracker import Tracker
from s1x.scorer.scorer import Scorer
from s1x.search.search import Search
from s1x.selection.recipe import Recipe
from s1x.serve.serve import Serve
from s1x.stages import ON_THE_WAY, STAGES
from s1x.train.settings import TrainSettings
from s1x.workers.workers import Workers

#: swappable groups, each a folder of conf/ and a package of s1x/: what an option of each must be
GROUPS: dict[str, type] = {
    "pool": Pool,
    "selection": Recipe,
    "model": Model,
    "train": TrainSettings,
    "engine": Engine,
    "workers": Workers,
    "budget": Policy,
    "benchmark": Benchmark,
    "tracker": Tracker,
    "scorer": Scorer,
    "import": Import,
}
#: stages that read what is imported
READ_IMPORTS = ("report", "export")
#: settings of no group, each a node of its own
PARTS: dict[str, type] = {
    "sampling": Sampling,
    "evaluate": EvaluateSettings,
    "report": ReportSettings,
    "prices": Prices,
    "export": ExportSettings,
    "store": StoreSettings,
    "annotate": Annotate,
    "serve": Serve,
}


@option("root", "root")
@dataclasses.dataclass(frozen=True)
class Root(Option):
    """The settings that belong to no group."""

    stages: list[str] = setting(
        factory=lambda: ["select", "train", "evaluate", "report"],
        doc="what to run: " + ", ".join(STAGES),
    )
    seed: int = setting(0, "of every random choice", at_least=0)
    force: list[str] = setting(factory=list, doc="stages to redo although their artifact exists")
    output: str = setting("outputs", "folder of artifacts, runs and reports")
    name: str = setting("s1x", "name of the experiment, in reports and trackers")
    scale_name: str = setting("laptop", "set by scale=...")
    curve: dict[str, list[Any]] = setting(
        factory=dict,
        doc="{swept setting of the budget policy: values}, charted in one pass; a swept setting on "
        "the command line (budget.num_waits=0) is that one point",
    )
    max_problems: int | None = setting(
        None, "only the first N problems of every benchmark", at_least=1
    )
    gpu: str = setting("cpu", "device that the scale is meant for, for the plan")
    mean_sample_tokens: float = setting(
        100.0, "expected tokens of a training sample, for the plan", above=0
    )
    one_pass: bool = setting(
        True, "chart the whole curve in each run; false: the budget policy as set, one point"
    )
    sweep_values: dict[str, list[Any]] = setting(
        factory=dict, doc="values of this scale for the sweeps in sweeps/"
    )
    budget_defaults: dict[str, int] = setting(
        factory=dict, doc="this scale's lengths, for the policies in conf/budget that need some"
    )
    pool_defaults: dict[str, int] = setting(
        factory=dict, doc="this scale's sizes, for the pools that make their rows"
    )
    decontaminate: list[str] = setting(
        factory=list,
        doc="benchmarks whose questions may not be trained on, the run's own (benchmark=jsonl) "
        "besides; []: none at all",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("stages", "force"):
            for name in getattr(self, field):
                if name not in STAGES and not (field == "force" and name in ON_THE_WAY):
                    raise SettingError(
                        field, f"of {', '.join(STAGES)}", name, nearest(name, STAGES)
                    )
        for name in self.force:
            if name not in (*self.stages, *ON_THE_WAY):
                raise SettingError(
                    "force", f"of the stages that run ({', '.join(self.stages)})", name
                )
        if not self.stages:
            raise SettingError("stages", "at least one of " + ", ".join(STAGES), [])


def build_benchmarks(node: DictConfig | None) -> dict[str, Benchmark]:
    """The benchmarks by name: `benchmark=[a,b]` has a node each, `benchmark=jsonl` stands alone."""
    if not node:
        raise UserError("benchmark must name at least one; for example benchmark=aime24")
    if "_target_" in node:
        path = OmegaConf.select(node, "path", throw_on_missing=False)
        name = Path(str(path)).stem if path else "benchmark"
        return {name: build(node, "benchmark", Benchmark)}
    return {name: build(node[name], f"benchmark.{name}", Benchmark) for name in map(str, node)}


@dataclasses.dataclass(frozen=True)
class Config:
    """One run, checked: the objects that the composed configuration describes."""

    root: Root
    curve: Mapping[str, list[object]] | None
    """What the budget policy is charted over; None: as it is set, one point."""
    sampling: Sampling
    evaluate: EvaluateSettings
    report: ReportSettings
    prices: Prices
    export: ExportSettings
    store: StoreSettings
    annotate: Annotate
    serve: Serve
    pool: Pool
    selection: Recipe
    model: Model
    train: TrainSettings
    engine: Engine
    workers: Workers
    budget: Policy
    benchmarks: Mapping[str, Benchmark]
    tracker: Tracker
    scorer: Scorer
    imported: Import
    """Of the group `import`, which is no name in Python."""


def load(cfg: DictConfig) -> Config:
    """Checks the whole configuration and builds its objects, before anything expensive starts.

    Raises:
        UserError: the first thing that is wrong, with its key, value and remedy.
    """
    root_names = [field.name for field in dataclasses.fields(Root)]
    known = [*root_names, *GROUPS, *PARTS, "pretrain"]
    for key in map(str, cfg):
        if key not in known:
            raise UserError(f"{key} is not a setting; {nearest(key, known)}")
    root = Root(**plain(OmegaConf.create({name: cfg[name] for name in root_names}), "config"))
    given = set_by_hand()
    if given:
        describe_own_model(cfg.model, HydraConfig.get().overrides.task)
    kinds = {**PARTS, **GROUPS}
    parts: dict[str, Any] = {
        n: build(cfg.get(n), n, kind) for n, kind in kinds.items() if n != "benchmark"
    }
    copied = parts["workers"].makes_copies
    parts["engine"] = parts["engine"].fitted(parts["model"], gpu(root.gpu), copied)
    config = Config(
        root=root,
        curve=_curve(root, parts["budget"], given),
        benchmarks=build_benchmarks(cfg.get("benchmark")),
        imported=parts.pop("import"),
        **parts,
    )
    _refuse_idle(config, given)
    return config


def set_by_hand() -> set[str]:
    """The keys that the command line sets; none where nothing was run from one."""
    if not HydraConfig.initialized():
        return set()
    return {word.lstrip("+").partition("=")[0] for word in HydraConfig.get().overrides.task}


def in_sweep() -> bool:
    """Whether this is a job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _curve(root: Root, budget: Policy, given: set[str]) -> Mapping[str, list[object]] | None:
    """The values that the budget policy is charted over, each of its setting's type.

    A swept setting that the command line sets (`budget.num_waits=0`) means that one point.
    """
    fixed = [f"budget.{name}" for name in budget.swept_settings if f"budget.{name}" in given]
    told = sorted(key for key in given if key.startswith("curve.") and root.one_pass)
    for key in [] if in_sweep() else told:  # a sweep's jobs may have different policies
        name = key.removeprefix("curve.")
        if name not in budget.swept_settings:
            known = f"it sweeps {', '.join(budget.swept_settings) or 'nothing'}"
            raise UserError(f"{key} does nothing with budget {type(budget).__name__}: {known}")
        if fixed:
            raise UserError(
                f"{key} would do nothing beside {fixed[0]}, which means that one point; "
                "give one of the two"
            )
    if fixed or not root.one_pass:
        return None
    return {
        name: [typed(type(budget), name, value, f"curve.{name}") for value in values]
        for name, values in root.curve.items()
        if name in budget.swept_settings
    }


def _refuse_idle(config: Config, given: set[str]) -> None:
    """Settings of the command line that would do nothing in this run.

    Raises:
        UserError: the first one.
    """
    if config.imported.asked_for and not set(READ_IMPORTS) & set(config.root.stages):
        raise UserError(
            f"import does nothing without one of the stages {' and '.join(READ_IMPORTS)}; "
            "add it to stages"
        )
    asked = "scorer" in {key.partition(".")[0] for key in given} and not in_sweep()
    scores = isinstance(config.budget, Search) and config.budget.needs_scorer
    if asked and not scores and "serve" not in config.root.stages:  # a request may want scores
        raise UserError(
            f"scorer does nothing with budget {type(config.budget).__name__}, which asks for no "
            "scores; set budget to best_of_n, weighted_vote, rebase, beam_search, dvts or "
            "particle_filter"
        )
    temperature = config.budget.temperature(config.sampling.temperature)
    check_samples(temperature, config.sampling.samples_per_problem)
    for name, benchmark in config.benchmarks.items():
        key = f"samples_per_problem of benchmark {name}"
        check_samples(temperature, benchmark.samples_per_problem or 1, key)
    if "evaluate.base_direct" in given and "base" not in config.evaluate.models:
        raise UserError(
            "evaluate.base_direct does nothing where evaluate.models leaves out base; "
            "set evaluate.models=[base,fine_tuned]"
        )
