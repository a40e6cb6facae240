"""From Hydra's composed configuration to checked objects.

Every option class (`s1x.option`) is a Hydra schema `/schema/<group>/<name>` (`s1x.schema`), to
which `conf/<group>/<name>.yaml` adds what differs. Hydra and OmegaConf then check keys and types
while composing; `build` makes the object, which checks its limits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from s1x.annotate.annotate import Annotate
from s1x.benchmark.benchmark import Benchmark
from s1x.budget.policy import Policy
from s1x.classes import load_named, nearest
from s1x.engine.engine import Engine
from s1x.errors import SettingError, UserError
from s1x.model.model import Model, describe_own_model
from s1x.option import Option, option, setting
from s1x.pool.pool import Pool
from s1x.report.tracker import Tracker
from s1x.schema import extension_folders, register
from s1x.selection.recipe import Recipe
from s1x.train.settings import TrainSettings

ROOT = Path(__file__).resolve().parent.parent
#: in a clone beside the package, in a wheel inside it
CONF = ROOT / "conf" if (ROOT / "conf" / "config.yaml").is_file() else ROOT / "s1x" / "conf"


def conf_folders() -> tuple[Path, ...]:
    """Where options stand as YAML: s1x's own `conf/` and those of installed extensions."""
    return (CONF, *extension_folders())


#: swappable groups, each a folder of conf/ and a package of s1x/ (DESIGN: the pieces that swap)
GROUPS = ("pool", "selection", "model", "train", "engine", "budget", "benchmark", "tracker")


#: what an option of each group must be, whoever wrote it
BASES: dict[str, type] = {
    "pool": Pool,
    "selection": Recipe,
    "model": Model,
    "train": TrainSettings,
    "engine": Engine,
    "budget": Policy,
    "benchmark": Benchmark,
    "tracker": Tracker,
}

#: settings of no group, each a node of its own
PARTS = ("sampling", "evaluate", "report", "prices", "store", "annotate")

STAGES = ("plan", "store", "pretrain", "annotate", "select", "train", "evaluate", "report")


@option("sampling", "sampling")
@dataclasses.dataclass(frozen=True)
class Sampling(Option):
    """How tokens are drawn. Temperature 0 is greedy, as in the paper."""

    temperature: float = setting(0.0, "0 is greedy", at_least=0)
    top_p: float = setting(1.0, "nucleus sampling: probability mass kept", above=0, at_most=1)
    samples_per_problem: int = setting(
        1, "samples of every problem, for pass@k and majority", at_least=1
    )


@option("prices", "prices")
@dataclasses.dataclass(frozen=True)
class Prices(Option):
    """What things cost, for the cost ledger and the plan; a price not given stays unknown."""

    usd_per_gpu_hour: float | None = setting(None, "US dollars for one GPU-hour", at_least=0)
    usd_per_million_prompt_tokens: float | None = setting(None, "of a paid endpoint", at_least=0)
    usd_per_million_generated_tokens: float | None = setting(None, "of a paid endpoint", at_least=0)


@option("report", "report")
@dataclasses.dataclass(frozen=True)
class ReportSettings(Option):
    """What the report stage reads besides this run's own stages."""

    runs: Any = setting(
        None, "run folders to report on instead of this run: a glob, or a list of globs"
    )
    title: str | None = setting(None, "headline of the report")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(isinstance(pattern, str) and pattern for pattern in self.patterns()):
            raise SettingError("runs", "a glob of run folders or a list of globs", self.runs)

    def patterns(self) -> list[Any]:
        """The globs of `runs`."""
        if self.runs is None:
            return []
        return list(self.runs) if isinstance(self.runs, list) else [self.runs]


@option("evaluate", "evaluate")
@dataclasses.dataclass(frozen=True)
class EvaluateSettings(Option):
    """Which models answer, and how the base model is asked."""

    models: list[str] = setting(
        factory=lambda: ["base", "fine_tuned"], doc="base, fine_tuned, or both"
    )
    base_direct: bool = setting(True, "also ask the base model for the answer without thinking")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.models:
            if name not in ("base", "fine_tuned"):
                raise SettingError("models", "a list of base and fine_tuned", list(self.models))
        if not self.models:
            raise SettingError("models", "base, fine_tuned or both", [], "name one model at least")


@option("store", "store")
@dataclasses.dataclass(frozen=True)
class StoreSettings(Option):
    """What `stages=[store]` removes from the trace store; without settings it only shows it."""

    remove_models: list[str] = setting(
        factory=list, doc="models to remove, by the folder names shown (or their beginnings)"
    )
    unused_days: float | None = setting(None, "also removes models unused for N days", at_least=0)
    merge: bool = setting(False, "puts all files of a model into one, each stream once")
    check: int = setting(
        0,
        "streams per model to generate again with `engine`, to see whether they come out the same",
        at_least=0,
    )


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
                if name not in STAGES and not (field == "force" and name == "pool"):
                    raise SettingError(
                        field, f"of {', '.join(STAGES)}", name, nearest(name, STAGES)
                    )
        for name in self.force:
            if name not in (*self.stages, "pool"):
                raise SettingError(
                    "force", f"of the stages that run ({', '.join(self.stages)})", name
                )
        if not self.stages:
            raise SettingError("stages", "at least one of " + ", ".join(STAGES), [])


def build(node: Any, key: str) -> Any:
    """The object that a configuration node describes.

    Args:
        node: a node with `_target_` and the fields of that class.
        key: where the node stands ("budget"), put before the field in errors.

    Raises:
        UserError: a class that cannot be imported, a field it does not have, or a wrong value.
    """
    values = _plain(node, key)
    if not values or not values.get("_target_"):
        raise UserError(f"{key} must name its class in _target_; see conf/{key.split('.')[0]}/")
    made = _construct(values, key)
    base = BASES.get(key.partition(".")[0])
    if base and not isinstance(made, base):
        raise UserError(
            f"{key}._target_ must name a {_name(base)} ({base.__module__}), got {_name(type(made))}"
        )
    return made


def _construct(values: dict[str, Any], key: str) -> Any:
    values = dict(values)
    cls: Any = load_named(values.pop("_target_"), f"{key}._target_")
    if dataclasses.is_dataclass(cls):
        names = [f.name for f in dataclasses.fields(cls)]
        for name in values:
            if name not in names:
                hint = nearest(name, names) or f"it has {', '.join(names)}"
                raise UserError(f"{key}.{name} is not a setting of {_name(cls)}; {hint}")
        for name, kind in _nested(cls).items():
            if isinstance(values.get(name), dict):
                values[name] = _make(kind, values[name], f"{key}.{name}")
    return _make(cls, values, key)


def _name(cls: Any) -> str:
    return str(getattr(cls, "__name__", cls))


def _nested(cls: Any) -> dict[str, Any]:
    """Fields that are options themselves."""
    hints = typing.get_type_hints(cls)
    return {
        field.name: hints[field.name]
        for field in dataclasses.fields(cls)
        if dataclasses.is_dataclass(hints.get(field.name))
    }


def _make(cls: Any, values: dict[str, Any], key: str) -> Any:
    try:
        return cls(**values)
    except SettingError as error:
        raise error.under(key) from None
    except TypeError as error:
        raise UserError(f"{key}: {error}") from None


def _plain(node: Any, key: str) -> dict[str, Any]:
    if not isinstance(node, DictConfig):
        raise UserError(f"{key} must be a group of settings, got {node!r}; set {key}.<setting>=...")
    try:
        values = OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{key}: {str(error).splitlines()[0]}") from None
    assert isinstance(values, dict)
    return {str(k): v for k, v in values.items()}


def build_benchmarks(node: DictConfig | None) -> dict[str, Any]:
    """The benchmarks by name: `benchmark=[a,b]` has a node each, `benchmark=jsonl` stands alone."""
    if not node:
        raise UserError("benchmark must name at least one; for example benchmark=aime24")
    if "_target_" in node:
        path = OmegaConf.select(node, "path", throw_on_missing=False)
        return {Path(str(path)).stem if path else "benchmark": build(node, "benchmark")}
    return {name: build(node[name], f"benchmark.{name}") for name in map(str, node)}


def benchmarks_named(names: Sequence[str]) -> dict[str, Any]:
    """The benchmarks with these names as `conf/benchmark` has them, whatever the run evaluates.

    Raises:
        UserError: a name that conf/benchmark does not have.
    """
    for name in names:
        _check_option("benchmark", name, "decontaminate")
    return build_benchmarks(_composed(f"benchmark=[{','.join(names)}]").benchmark) if names else {}


def model_named(name: str, key: str) -> Any:
    """The option of the group model with this name, whatever the run trains.

    Raises:
        UserError: a name that conf/model does not have; `key` says where it stands.
    """
    return option_named("model", name, key)


def option_named(group: str, name: str, key: str, settings: Mapping[str, Any] | None = None) -> Any:
    """The option of a group with this name, whatever the run uses, with some settings changed.

    Raises:
        UserError: a name that conf/<group> does not have (`key` says where it stands), a setting
            that the option does not have.
    """
    with contextlib.ExitStack() as stack:
        if not GlobalHydra.instance().is_initialized():  # not below `python run.py`
            register()
            stack.enter_context(initialize_config_dir(str(CONF), version_base="1.3"))
        _check_option(group, name, key)
        cfg = _composed(f"{group}={name}")
        try:
            OmegaConf.update(cfg, group, dict(settings or {}), merge=True)
        except OmegaConfBaseException as error:
            raise UserError(f"{key}, {name}: {str(error).splitlines()[0]}") from None
        return build(cfg[group], group)


def _composed(override: str) -> DictConfig:
    return compose("config", overrides=[override])


def options_of(group: str) -> list[str]:
    """The options of a group, the user's own (--config-dir) included; only while a job runs."""
    return list(GlobalHydra.instance().config_loader().get_group_options(group))


def _check_option(group: str, name: str, key: str) -> None:
    known = options_of(group)
    if name not in known:
        raise UserError(
            f"{key} names {name}, which is no option of {group}; "
            + (nearest(name, known) or f"there are {', '.join(known)}")
        )


@dataclasses.dataclass(frozen=True)
class Config:
    """One run, checked: the objects that the composed configuration describes."""

    root: Root
    curve: Mapping[str, list[Any]] | None
    """What the budget policy is charted over; None: as it is set, one point."""
    sampling: Sampling
    evaluate: EvaluateSettings
    report: ReportSettings
    prices: Prices
    store: StoreSettings
    annotate: Annotate
    pool: Pool
    selection: Recipe
    model: Model
    train: TrainSettings
    engine: Engine
    budget: Policy
    benchmarks: Mapping[str, Benchmark]
    tracker: Tracker


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
    root = Root(**_plain(OmegaConf.create({name: cfg[name] for name in root_names}), "config"))
    given = set_by_hand()
    if given:
        describe_own_model(cfg.model, HydraConfig.get().overrides.task)
    parts = {name: build(cfg.get(name), name) for name in (*PARTS, *GROUPS) if name != "benchmark"}
    config = Config(
        root=root,
        curve=_curve(root, parts["budget"], given),
        benchmarks=build_benchmarks(cfg.get("benchmark")),
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


def _curve(root: Root, budget: Policy, given: set[str]) -> Mapping[str, list[Any]] | None:
    """The values that the budget policy is charted over, each of its setting's type.

    A swept setting that the command line sets (`budget.num_waits=0`) means that one point.
    """
    fixed = [f"budget.{name}" for name in budget.swept_settings if f"budget.{name}" in given]
    told = sorted(key for key in given if key.startswith("curve.") and root.one_pass)
    for key in [] if in_sweep() else told:  # a sweep's jobs may have different policies
        name = key.removeprefix("curve.")
        if name not in budget.swept_settings:
            known = (
                f"it sweeps {', '.join(budget.swept_settings)}"
                if budget.swept_settings
                else "it sweeps nothing"
            )
            raise UserError(f"{key} does nothing with budget {_name(type(budget))}: {known}")
        if fixed:
            raise UserError(
                f"{key} would do nothing beside {fixed[0]}, which means that one point; "
                "give one of the two"
            )
    if fixed or not root.one_pass:
        return None
    return {
        name: [_typed(budget, name, value) for value in values]
        for name, values in root.curve.items()
        if name in budget.swept_settings
    }


def _typed(budget: Policy, name: str, value: Any) -> Any:
    try:
        node = OmegaConf.structured(type(budget))
        return OmegaConf.to_container(OmegaConf.merge(node, {name: value}))[name]  # type: ignore
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"curve.{name} has {value!r}: {reason}") from None


def _refuse_idle(config: Config, given: set[str]) -> None:
    """Settings of the command line that would do nothing in this run.

    Raises:
        UserError: the first one.
    """
    greedy = config.budget.temperature(config.sampling.temperature) == 0
    asked = {"sampling.samples_per_problem": config.sampling.samples_per_problem}
    for name, benchmark in config.benchmarks.items():
        asked[f"samples_per_problem of benchmark {name}"] = benchmark.samples_per_problem or 1
    for key, number in asked.items():
        if number > 1 and greedy:
            must = "1 when sampling.temperature is 0 (greedy samples are all the same)"
            raise SettingError(key, must, number, "set sampling.temperature=1.0")
    if "evaluate.base_direct" in given and "base" not in config.evaluate.models:
        raise UserError(
            "evaluate.base_direct does nothing where evaluate.models leaves out base; "
            "set evaluate.models=[base,fine_tuned]"
        )
