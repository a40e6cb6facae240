"""The configuration: every option composes and builds, names match, mistakes are told clearly."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from s1x import app
from s1x.budget.points import points
from s1x.budget.policy import Policy
from s1x.compose import CONF, ROOT, build, conf_folders, register
from s1x.config import GROUPS, load
from s1x.errors import UserError
from s1x.info import info as option_info
from s1x.option import PACKAGES, REGISTRY, option_class
from s1x.plan import Machine, check_samples

register()

#: the embedded model's template says nothing of thinking
S1_DELIMITERS = [
    "model.thinking_start='<|im_start|>think\\n'",
    "model.thinking_end='<|im_start|>'",
    "model.answer_start='<|im_start|>answer\\n'",
]
#: fields that the user must give, with a value for the test
NEEDED = {
    ("pool", "jsonl"): ["pool.path=README.md"],
    ("pool", "parquet"): ["pool.path=README.md"],
    ("pool", "hub"): ["pool.dataset=some/pool"],
    ("model", "auto"): ["model.path=package:s1x_puzzles/puzzle_base", *S1_DELIMITERS],
    ("scorer", "process_reward"): ["scorer.path=mine", "scorer.convention=qwen"],
    ("scorer", "outcome_reward"): ["scorer.path=mine"],
    ("scorer", "llm_judge"): ["scorer.base_urls=[http://127.0.0.1:1/v1]", "scorer.model=judge"],
    ("benchmark", "jsonl"): ["benchmark.path=README.md"],
    **{("import", name): ["import.path=README.md"] for name in ("lm_eval", "inspect", "rows")},
    ("engine", "openai"): ["engine.base_urls=[http://127.0.0.1:1/v1]"],
}


def composed(*overrides: str):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides), return_hydra_config=False)


def yaml_files(group: str) -> list[Path]:
    return sorted(path for conf in conf_folders() for path in conf.glob(f"{group}/*.yaml"))


def options() -> list[tuple[str, str]]:
    return [(group, path.stem) for group in GROUPS for path in yaml_files(group)]


@pytest.mark.parametrize(("group", "name"), options())
def test_every_option_composes_and_builds(group: str, name: str) -> None:
    cfg = composed(f"{group}={name}", *NEEDED.get((group, name), []))
    if group == "benchmark":
        from s1x.config import build_benchmarks

        assert all(hasattr(b, "load") for b in build_benchmarks(cfg.benchmark).values())
    else:
        built = build(cfg[group], group, GROUPS[group])
        assert type(built).__module__.startswith(("s1x.", "s1x_puzzles."))


@pytest.mark.parametrize("scale", [p.stem for p in (CONF / "scale").glob("*.yaml")])
@pytest.mark.parametrize("experiment", [path.stem for path in yaml_files("experiment")])
def test_every_experiment_loads_at_every_scale(experiment: str, scale: str) -> None:
    if experiment == "puzzle_base" and scale.startswith("h100"):
        pytest.skip("the embedded model is of the laptop's world only")
    config = load(composed(f"+experiment={experiment}", f"scale={scale}"))
    assert config.root.scale_name == scale


SWAPPED = [(group, name) for group, name in options() if group in ("pool", "selection", "budget")]


@pytest.mark.parametrize(("group", "name"), SWAPPED)
def test_a_scales_own_settings_stand_in_no_swaps_way(group: str, name: str) -> None:
    needed = NEEDED.get((group, name), [])
    assert load(composed("scale=quick", f"{group}={name}", *needed)).root.scale_name == "quick"


@pytest.mark.parametrize(
    "group", [g for g in GROUPS if g not in ("model", "selection", "benchmark")]
)
def test_an_option_has_the_same_name_in_conf_and_package(group: str) -> None:
    packages = PACKAGES[group].split()
    for package in packages:
        for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
            with contextlib.suppress(ImportError):  # the running half of an engine that is optional
                importlib.import_module(f"{package}.{info.name}")
    for name, cls in REGISTRY[group].items():
        places = [f"{package}.{name}" for package in packages]
        assert cls.__module__ in places, f"{group}/{name} is in {cls.__module__}"
        assert any(
            f"/schema/{group}@_here_: {name}" in path.read_text()
            for path in (CONF / group).glob("*.yaml")
        ), f"no YAML of conf/{group} uses the option {name}"


def test_composing_imports_the_options_in_use_and_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "vllm", "deepspeed", "wandb", "datasets", "lightning"]
    unused = ["s1x.engine.vllm", "s1x.engine.openai", "s1x.budget.early_exit", "s1x.report.wandb"]
    code = (
        "import sys; from s1x import app; sys.argv = ['run.py', '--cfg', 'job']; app.main(); "
        f"print([m for m in {heavy + unused} if m in sys.modules], file=sys.stderr)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert out.stderr.strip() == "[]", out.stdout + out.stderr


def test_an_extension_names_its_own_schema_by_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_schema.py").write_text(
        "import dataclasses\nfrom s1x.budget.budget_forcing import BudgetForcing\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Own(BudgetForcing):\n    courage: int = 3\n",
        encoding="utf-8",
    )
    (tmp_path / "conf" / "budget").mkdir(parents=True)
    yaml = "defaults:\n  - /schema/budget@_here_: own_schema.Own\n  - _self_\nnum_waits: 2\n"
    (tmp_path / "conf" / "budget" / "own.yaml").write_text(yaml, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = composed(f"hydra.searchpath=[file://{tmp_path}/conf]", "budget=own", "budget.courage=4")
    budget = build(cfg.budget, "budget", Policy)
    assert (type(budget).__name__, vars(budget)["courage"], budget.num_waits) == ("Own", 4, 2)
    with pytest.raises(ConfigCompositionException):
        composed(f"hydra.searchpath=[file://{tmp_path}/conf]", "budget=own", "budget.courage=x")


def test_an_unknown_option_of_parts_is_told_with_the_nearest() -> None:
    assert option_class("grader", "exact", "grader").__name__ == "Exact"
    with pytest.raises(UserError, match="did you mean math"):
        option_class("grader", "maths", "grader")


def documented_commands() -> list[str]:
    """The `python run.py` commands of the README and docs/, continuation lines joined."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    texts = [page.read_text(encoding="utf-8").replace("\\\n", " ") for page in pages]
    command = re.compile(
        r"(?:^|'|`) *(?:PYTHONPATH=\. )?(python run\.py [^#\n`']*(?:'[^\n']+'[^#\n`']*)*)", re.M
    )
    return sorted({found.strip() for text in texts for found in command.findall(text)})


@pytest.mark.parametrize("command", documented_commands())
def test_documented_commands_parse(command: str) -> None:
    if "<" in command or "--help" in command or "..." in command:
        pytest.skip("a pattern, not a command")
    words = shlex.split(command)[2:]
    if "--info" in words:
        assert option_info(words[words.index("--info") + 1]).text()
        return
    if "--config-dir" in words:  # run in full by tests/test_readme.py
        return
    words = [w for w in words if not w.startswith("-")]
    words = [f"+{w}" if w.startswith(("experiment=", "sweep=")) else w for w in words]
    parsed = OverridesParser.create().parse_overrides(words)
    single = []
    for override in parsed:
        if override.is_sweep_override():
            first = next(iter(override.sweep_string_iterator()))
            single.append(f"{override.get_key_element()}={first}")
        elif not override.input_line.startswith("hydra/"):
            single.append(override.input_line)
    composed(*single)


def test_settings_of_the_command_line_reach_the_option() -> None:
    config = load(composed("+experiment=s1k", "budget.num_waits=3", "seed=2"))
    assert config.budget.num_waits == 3
    assert config.root.seed == 2


def test_a_policy_from_outside_the_package_works_by_target(tmp_path: Path) -> None:
    cfg = OmegaConf.create({"_target_": "s1x.budget.budget_forcing.BudgetForcing", "num_waits": 1})
    assert build(cfg, "budget", Policy).num_waits == 1


def test_help_lists_every_group_and_option(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from s1x.app import main

    monkeypatch.setattr("sys.argv", ["run.py", "--help"])
    assert main() == 0
    words = set(capsys.readouterr().out.replace(",", " ").split())
    assert {path.stem for conf in conf_folders() for path in conf.glob("*/*.yaml")} <= words


def test_training_is_planned_again_with_the_lengths_of_its_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    laptop = Machine(memory_bytes=8 * 2**30, disk_free_bytes=1e12)
    monkeypatch.setattr(Machine, "here", lambda *_, **__: laptop)
    long = [*("+experiment=s1k", "model=smollm2_135m", "train.max_sequence_tokens=2048")]
    check_samples(load(composed(*long, "train.micro_batch_tokens=2048")), [2000] * 60)
    with pytest.raises(UserError, match=r"does not fit: .* train\.micro_batch_tokens"):
        check_samples(load(composed(*long)), [2000] * 60)
    check_samples(load(composed(*long)), [100] * 60)


@pytest.mark.parametrize(
    "value",
    ["Wait", "it's", "true", "null", "1", "1e3", "", " ", "a,b", "ünï", "\\", "\\'", '"', "a=b"],
)
def test_a_sweeps_strings_reach_the_job_as_they_are(value: str) -> None:
    parser = OverridesParser.create()
    joined = app._choices([value, "x"])
    swept = parser.parse_override(f"budget.wait_string={joined}")
    jobs = list(swept.sweep_string_iterator())
    assert len(jobs) == 2
    assert parser.parse_override(f"budget.wait_string={jobs[0]}").value() == value


def test_a_sweeps_other_values_reach_the_job_too() -> None:
    joined = app._choices([None, 8, 0.5, ["a b", "true"], True])
    swept = OverridesParser.create().parse_override(f"x={joined}")
    jobs = [f"x={job}" for job in swept.sweep_string_iterator()]
    values = [OverridesParser.create().parse_override(job).value() for job in jobs]
    assert values == [None, 8, 0.5, ["a b", "true"], True]


def test_runs_of_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    folders = {app._new_folder(str(tmp_path), "runs", "s1k/ü x") for _ in range(50)}
    assert len(folders) == 50
    assert all(re.search(r"_s1k-x_[0-9a-f]{4}$", folder) for folder in folders)


def test_a_swept_setting_of_the_command_line_is_one_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s1x.config.set_by_hand", lambda: {"budget.num_waits"})
    monkeypatch.setattr("s1x.config.describe_own_model", lambda *_: None)
    monkeypatch.setattr("s1x.config.in_sweep", lambda: False)
    monkeypatch.setattr("s1x.config.HydraConfig", SimpleNamespace(get=lambda: TASKS))
    config = load(composed("+experiment=s1k", "budget.num_waits=0"))
    assert config.curve is None
    assert points(config.budget, config.curve) == [config.budget]


TASKS = SimpleNamespace(overrides=SimpleNamespace(task=["budget.num_waits=0"]))


def test_rejection_sampling_takes_samples_at_its_own_temperature() -> None:
    load(composed("budget=rejection_sampling", "sampling.samples_per_problem=4"))
    with pytest.raises(UserError, match="samples_per_problem must be 1"):
        load(composed("sampling.samples_per_problem=4"))
