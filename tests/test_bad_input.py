"""A user's mistakes end with status 2 and a line that names key, value and remedy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from s1x.config import ROOT


def run(tmp_path: Path, *overrides: str, timeout: float = 120) -> tuple[int, str]:
    command = [sys.executable, "run.py", f"output={tmp_path / 'out'}", *overrides]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    return done.returncode, done.stdout + done.stderr


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
        (["budget.num_waits=abc"], ["budget.num_waits", "whole number", "abc"]),
        (["budget.num_waits=-1"], ["budget.num_waits", "0 or more", "-1"]),
        (["budget.max_thinking_tokens=-5"], ["budget.max_thinking_tokens", "-5"]),
        (["seed=-1"], ["seed", "0 or more"]),
        (["stages=[selct]"], ["stages", "selct", "select"]),
        (["sampling.samples_per_problem=4"], ["samples_per_problem", "temperature"]),
        (["evaluate.models=[tuned]"], ["evaluate.models", "fine_tuned"]),
        (["pool=jsonl", "pool.path=missing.jsonl"], ["missing.jsonl"]),
        (["benchmark=jsonl", "benchmark.path=missing.jsonl"], ["missing.jsonl"]),
        (["pool=jsonl"], ["pool.path"]),
        (["model.path=./conf"], ["model.path", "config.json"]),
        (["selection.size=70000"], ["70000"]),
        (["pool=hub", "pool.dataset=nobody/nothing"], ["nobody/nothing"]),
        (["report.runs=nowhere/*", "stages=[report]"], ["report.runs", "nowhere"]),
        (["seed"], ["seed"]),
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
