"""What a stage's result depends on: all that can change it, and nothing else."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from s1x.artifact import Artifact, fingerprint
from s1x.compose import CONF, register
from s1x.config import load
from s1x.errors import UserError
from s1x.stages import CLASSES, ON_THE_WAY, STAGES, Run, Stage, artifacts_of, stage_class

register()

QUESTIONS = [
    {"question": "1+1?", "answer": "2", "field": "sums", "hard": "1"},
    {"question": "2*3?", "answer": "6", "field": "products", "hard": "2"},
]


def run_of(folder: Path, *overrides: str) -> Run:
    """A run that has selected already and evaluates the base model on two questions."""
    path = folder / "questions.jsonl"
    if not path.exists():
        path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS), encoding="utf-8")
    words = ["evaluate.models=[base]", "benchmark=jsonl", f"benchmark.path={path}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(
            "config", [*words, f"output={folder / 'out'}", "decontaminate=[]", *overrides]
        )
    run = Run(load(cfg), cfg, folder / "run", [])
    run.made["select"] = [Artifact("select", "0" * 12, folder, True, 0.0)]
    return run


def fingerprints(folder: Path, *overrides: str) -> dict[str, list[str]]:
    run = run_of(folder, *overrides)
    names = ("pool", "select", "train", "evaluate")
    return {n: [fingerprint(s.inputs()) for s in artifacts_of(n, run)] for n in names}


def changed(folder: Path, *overrides: str) -> set[str]:
    """The stages whose result another setting makes anew."""
    before, after = fingerprints(folder), fingerprints(folder, *overrides)
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    "override",
    [
        "engine.batch_size=3",
        "engine.cache_gib=0.5",
        "engine.prefill_tokens=64",
        "train.keep_checkpoints=7",
        "train.checkpoint_every_steps=11",
        "train.peak_tflops=3",
        "name=other",
        "report.title=x",
        "prices.usd_per_gpu_hour=2",
        "selection.push_to_hub=me/rows",
        "stages=[evaluate]",
        "force=[train]",
    ],
)
def test_what_changes_no_result_makes_nothing_anew(tmp_path: Path, override: str) -> None:
    assert changed(tmp_path, override) == set()


@pytest.mark.parametrize(
    "override",
    ["hosts=[a,b]", "master_port=1234", "num_nodes=2", "devices_per_node=4", "keep_checkpoints=3"],
)
def test_resuming_on_other_hosts_trains_nothing_anew(tmp_path: Path, override: str) -> None:
    before = fingerprints(tmp_path, "train=deepspeed_zero3")
    assert fingerprints(tmp_path, "train=deepspeed_zero3", f"train.{override}") == before


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("seed=1", {"select", "train", "evaluate"}),
        ("train.learning_rate=0.5", {"train"}),
        ("sampling.temperature=0.5", {"evaluate"}),
        ("budget.wait_string=Hmm", {"evaluate"}),
        ("curve.num_waits=[0]", {"evaluate"}),
        ("benchmark.columns.domain=field", {"evaluate"}),
        ("benchmark.columns.level=hard", {"evaluate"}),
        ("benchmark.answer_format=words", {"evaluate"}),
        ("benchmark.grader=exact", {"evaluate"}),
        ("pool.rows=1000", {"pool", "select"}),
        ("selection.size=3", {"select"}),
    ],
)
def test_what_changes_a_result_makes_it_anew(
    tmp_path: Path, override: str, stages: set[str]
) -> None:
    assert changed(tmp_path, override) == stages


def test_an_edited_grader_grades_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from dataclasses import dataclass\nfrom s1x.benchmark.exact import Exact\n"
        "@dataclass(frozen=True)\nclass Own(Exact):\n    pass  # {}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    seen = []
    for text in ("one", "two", "one"):
        (tmp_path / "own_grader_of_stages.py").write_text(code.format(text), encoding="utf-8")
        importlib.invalidate_caches()
        sys.modules.pop("own_grader_of_stages", None)
        grader = "benchmark.grader=own_grader_of_stages.Own"
        seen.append(fingerprints(tmp_path, grader)["evaluate"])
    assert seen[0] == seen[2] != seen[1]


def test_every_stage_has_one_class_with_its_name() -> None:
    assert set(CLASSES) == {*STAGES, *ON_THE_WAY}
    for name in CLASSES:
        cls = stage_class(name)
        assert issubclass(cls, Stage)
        assert cls.name == name


def test_a_stage_whose_reading_was_never_made_is_named(tmp_path: Path) -> None:
    run = run_of(tmp_path, "stages=[evaluate]")
    run.made.clear()
    with pytest.raises(UserError, match=r"stages=\[evaluate\] needs what select makes"):
        run.one("select")
