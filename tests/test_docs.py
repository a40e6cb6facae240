"""What people read besides the README: --info, completion in the shell, the documentation site."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from s1x.compose import ROOT
from s1x.config import GROUPS, PARTS
from s1x.errors import UserError
from s1x.info import info, parts_of
from s1x.messages import options_of

OPTIONS = [f"{group}.{name}" for group in GROUPS for name in options_of(group)]
OPTIONS += [f"{group}.{name}" for group in ("grader", "selection_step") for name in parts_of(group)]


def s1x(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("name", [*OPTIONS, *PARTS])
def test_every_setting_of_every_option_is_told_with_its_meaning(name: str) -> None:
    known = info(name)
    assert known.doc, "says what it is"
    told = list(known.settings())
    assert {s.name for s in told} == {f.name for f in fields(known.cls) if f.init}
    assert [s.name for s in told if not s.doc] == []


def test_info_shows_units_limits_and_what_the_yaml_says() -> None:
    done = s1x("--info", "benchmark.aime24")
    assert done.returncode == 0
    assert "num_problems: int | None = 30" in done.stdout
    assert "samples_per_problem: int | None = null" in done.stdout
    assert "(at least 1)" in done.stdout
    assert "the 30 problems of both contests" in done.stdout


def test_info_of_what_there_is_not_names_what_there_is() -> None:
    done = s1x("--info", "budget.early_exitt")
    assert done.returncode == 2
    assert "did you mean early_exit?" in done.stdout + done.stderr
    with pytest.raises(UserError, match="budget_forcing"):
        info("budget")
    with pytest.raises(UserError, match="did you mean engine"):
        info("engin.vllm")


def test_the_shell_completes_options_and_settings() -> None:
    line = "python run.py budget=ea"
    done = s1x("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert done.stdout.split() == ["budget=early_exit"]
    line = "python run.py budget.num_w"
    done = s1x("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert done.stdout.split() == ["budget.num_waits="]


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the documentation site needs mkdocs-material")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert not re.search(r"WARNING", done.stderr)
    budget = (tmp_path / "reference" / "budget.html").read_text(encoding="utf-8")
    for name in options_of("budget"):
        assert f'id="{name}"' in budget
