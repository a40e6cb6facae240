"""A user's mistakes end with status 2 and a line that names key, value and remedy."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from s1x import app
from s1x.compose import ROOT


def run(tmp_path: Path, *overrides: str) -> tuple[int, str]:
    """The command line in this process: status and all that it said."""
    told = io.StringIO()
    words = sorted(overrides, key=lambda word: not word.startswith("-"))  # flags come first
    flags = [word for word in words if word.startswith("-")]
    elsewhere = (
        [] if any(w.startswith("output=") for w in words) else [f"output={tmp_path / 'out'}"]
    )
    argv = ["run.py", *flags, *elsewhere, *words[len(flags) :]]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(told), redirect_stderr(told):
        patch.setattr(HydraConfig.instance(), "cfg", None)  # what a run leaves there goes with it
        patch.setattr("sys.argv", argv)
        patch.setenv("HYDRA_FULL_ERROR", "0")
        patch.chdir(ROOT)
        return app.main(), told.getvalue()


def told(tmp_path: Path, overrides: list[str], *words: str) -> None:
    status, text = run(tmp_path, *overrides)
    assert status == 2, text
    assert "Traceback" not in text
    message = text[text.index("Error: ") :]
    assert len(message.strip().splitlines()) <= 3, message
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"
    left = list((tmp_path / "out").rglob("*.partial")) if (tmp_path / "out").exists() else []
    assert left == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["budget=budget_forcin"], ["budget", "budget_forcing"]),
        (["budgt=unlimited"], ["budgt", "budget"]),
        (["budget.num_wait=1"], ["num_wait", "num_waits"]),
        (["train.lora=4"], ["train.lora", "'4'", "train.lora={"]),
        (["budget.num_waits=abc"], ["budget.num_waits", "whole number", "abc"]),
        (["budget.num_waits=-1"], ["budget.num_waits", "0 or more", "-1"]),
        (["budget.max_thinking_tokens=-5"], ["budget.max_thinking_tokens", "-5"]),
        (["seed=-1"], ["seed", "0 or more"]),
        (["stages=[selct]"], ["stages", "selct", "select"]),
        (["sampling.samples_per_problem=4"], ["samples_per_problem", "temperature"]),
        (
            ["benchmark=[puzzles_hard]", "benchmark.puzzles_hard.samples_per_problem=4"],
            ["samples_per_problem of benchmark puzzles_hard", "temperature"],
        ),
        (["evaluate.models=[tuned]"], ["evaluate.models", "fine_tuned"]),
        (["pool=jsonl", "pool.path=missing.jsonl"], ["missing.jsonl"]),
        (["benchmark=jsonl", "benchmark.path=missing.jsonl"], ["missing.jsonl"]),
        (["pool=jsonl"], ["pool.path"]),
        (["model.path=./conf"], ["model.path", "config.json"]),
        (["selection.size=70000"], ["70000"]),
        (["pool=hub", "pool.dataset=nobody/nothing"], ["nobody/nothing"]),
        (["report.runs=nowhere/*", "stages=[report]"], ["report.runs", "nowhere"]),
        (["report.runs=outputs/runs/*"], ["report.runs", "stages=[report]"]),
        (["report.runs=3", "stages=[report]"], ["report.runs", "glob", "3"]),
        (["report.runs=[nowhere/a,b]", "stages=[report]"], ["report.runs=nowhere/a"]),
        (["seed"], ["seed", "seed=<value>"]),
        (["stages=evaluate"], ["stages=[evaluate]"]),
        (["evaluate.models=base"], ["evaluate.models=[base]"]),
        (["curve.num_waits=5"], ["curve.num_waits=[5]"]),
        (["benchmark=aime24,math500"], ["benchmark=[aime24,math500]", "-m"]),
        (["benchmark=[jsonl,aime24]"], ["benchmark=jsonl stands alone"]),
        (["benchmark=[aime24,aime24]"], ["benchmark names aime24 more than once"]),
        (["benchmark=[]"], ["benchmark must name at least one"]),
        (["report.title=it's"], ["""'report.title="it'"'"'s"'"""]),
        (["output=ü"], ["""'output="ü"'"""]),
        (["output=/tmp/s[1]"], ["""'output="/tmp/s[1]"'"""]),
        (["stages=[evaluate"], ["not closed"]),
        (["hydra/launcher=ray"], ["s1x[ray-launcher]"]),
        (["hydra/launcher=basik"], ["did you mean basic?"]),
        (["pool.columns={a:b}"], ["Puzzles59k", "choose one of rows, seed"]),
        (["budget=unlimited", "budget.num_waits=1"], ["Unlimited", "max_answer_tokens"]),
        (["-m", "budget=unlimited", "+sweep=wait_string"], ["not a setting of Unlimited"]),
        (["model=/my/model"], ["model=own model.path=/my/model"]),
        (["pool=/my/pool.jsonl"], ["pool=jsonl pool.path=/my/pool.jsonl"]),
        (["benchmark=mine.jsonl"], ["benchmark=jsonl benchmark.path=mine.jsonl"]),
        (["~curve"], ["curve may not be removed"]),
        (["budget=42"], ["must name one of its options"]),
        (["sampling=3"], ["sampling", "3"]),
        (["sampling={a:1}"], ["sampling.a", "temperature"]),
        (["evaluate.base_direct=maybe"], ["evaluate.base_direct", "true or false", "maybe"]),
        (["output=${nope}"], ["nope", "no setting"]),
        (["curve.max_thinking_tokens=[a]"], ["curve.max_thinking_tokens", "'a'", "Integer"]),
        (["curve.max_thinking_tokens=[1.5]"], ["curve.max_thinking_tokens", "1.5"]),
        (["curve.num_waits=[-1]"], ["curve.num_waits", "0 or more", "-1"]),
        (["curve.nonsense=[1]"], ["curve.nonsense", "max_thinking_tokens, num_waits"]),
        (["budget.min_thinking_tokens=50"], ["budget.min_thinking_tokens", "50", "curve.max"]),
        (["budget.num_waits=0", "curve.num_waits=[1]"], ["curve.num_waits", "that one point"]),
        (["force=[train]", "stages=[evaluate]"], ["force", "evaluate", "train"]),
        (["evaluate.models=[fine_tuned]", "evaluate.base_direct=true"], ["base_direct", "base"]),
        (["tracker._target_=s1x.report.settings.Prices"], ["tracker._target_", "Tracker"]),
    ],
)
def test_mistakes_are_told_in_a_line(
    tmp_path: Path, overrides: list[str], words: list[str]
) -> None:
    told(tmp_path, ["+experiment=s1k", *overrides], *words)


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "1+1?", "answer": "2"}\nnot json\n')
    told(tmp_path, ["benchmark=jsonl", f"benchmark.path={path}"], "questions.jsonl", "2")


def test_a_line_that_lacks_a_field_is_named(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "1+1?", "answer": "2"}\n{"question": "2+2?"}\n')
    told(tmp_path, ["benchmark=jsonl", f"benchmark.path={path}"], "questions.jsonl", "2", "answer")


def test_a_benchmark_without_rows(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text("")
    told(tmp_path, ["benchmark=jsonl", f"benchmark.path={path}"], "empty")


def test_an_empty_pool(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text("")
    told(tmp_path, ["pool=jsonl", f"pool.path={path}"], "pool")


def test_a_selection_larger_than_the_pool(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    row = {"question": "q", "solution": "1", "reasoning_trace": "a b c", "attempt": "1"}
    path.write_text("".join(json.dumps({**row, "question": f"q {i}"}) + "\n" for i in range(9)))
    overrides = ["pool=jsonl", f"pool.path={path}", "selection=random_1k", "selection.size=10"]
    told(tmp_path, overrides, "10")


@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_an_output_that_can_hold_no_run_is_told(tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "a_file").write_text("", encoding="utf-8")
    plan = [*flags, "+experiment=s1k", "stages=[plan]"]
    told(tmp_path, [*plan, f"output={tmp_path / 'a_file'}"], "a_file", "set output=<a folder>")
    told(tmp_path, [*plan, "output=''"], "output has no value", "set output=")
