"""Text files are UTF-8 whatever the locale, and a path is no pattern: every call says so."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from s1x.compose import ROOT

#: method or function → the position of its encoding, or of its mode
TEXT = {"read_text": 0, "write_text": 1}


def bare_calls(path: Path) -> list[int]:
    """Lines that open a text file in the locale's encoding."""
    lines = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        func = node.func
        name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
        if any(keyword.arg == "encoding" for keyword in node.keywords):
            continue
        if (name in TEXT and len(node.args) <= TEXT[name]) or (
            name == "open" and _opens_text(node, method=isinstance(func, ast.Attribute))
        ):
            lines.append(node.lineno)
    return lines


def _opens_text(call: ast.Call, method: bool) -> bool:
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    if isinstance(owner, ast.Name) and owner.id in ("os", "gzip", "webbrowser"):
        return False
    modes = [k.value for k in call.keywords if k.arg == "mode"]
    place = 0 if method else 1
    modes += call.args[place : place + 1]
    if not modes:
        return True
    mode = modes[0].value if isinstance(modes[0], ast.Constant) else None
    return isinstance(mode, str) and "b" not in mode  # else no file: sessions.open(name, rank)


@pytest.mark.parametrize("folder", ["s1x", "s1x_puzzles", "sweeps", "benchmarks"])
def test_every_text_file_is_opened_as_utf_8(folder: str) -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (lines := bare_calls(path))
    }
    assert found == {}


@pytest.mark.parametrize("folder", ["s1x", "s1x_puzzles"])
def test_no_path_of_a_parquet_file_is_read_as_a_pattern(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("scan_parquet", "read_parquet")
        and not any(keyword.arg == "glob" for keyword in node.keywords)
    ]
    assert found == [], "polars takes [ and * in a path for a pattern: give glob=False"


def test_a_console_that_lacks_characters_ends_no_run() -> None:
    """A cluster's job often has an ASCII console, and the table after a whole run has dashes."""
    code = "import sys; from s1x.app import main; sys.argv[1:] = ['--version']; main(); print('—')"
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"}
    run = subprocess.run([sys.executable, "-c", code], env=ascii_only, capture_output=True)
    assert (run.returncode, run.stdout.splitlines()[1:]) == (0, [b"?"]), run.stderr
