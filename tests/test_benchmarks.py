"""The benchmarks start as their first lines say: from any folder, with nothing set by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


def test_scripts_find_the_package(tmp_path: Path) -> None:
    load = "import importlib, sys; sys.path[0] = sys.argv[1]\n"
    load += "for name in sys.argv[2:]: importlib.import_module(name)"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    names = [script.stem for script in SCRIPTS]
    found = subprocess.run(
        [sys.executable, "-c", load, str(ROOT / "benchmarks"), *names],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_first_lines_show_the_command(script: Path) -> None:
    opening = script.read_text(encoding="utf-8").split('"""')[1]
    assert f"benchmarks/{script.name}" in opening or script.stem == "workload"
