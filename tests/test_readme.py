"""The README's examples, written to files and run as it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from s1x.compose import ROOT

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def write_examples(folder: Path) -> list[str]:
    """Writes every code block that opens with `# <path>`; returns the paths."""
    written = []
    for kind, text in BLOCK.findall((ROOT / "README.md").read_text()):
        first, _, rest = text.partition("\n")
        if kind == "json":
            path, body = "mine/sums.jsonl", text
        elif first.startswith("# mine/"):
            path, body = first[2:], rest
        else:
            continue
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(body)
        written.append(path)
    return written


def test_a_policy_a_recipe_and_a_benchmark_as_the_readme_adds_them(tmp_path: Path) -> None:
    assert len(write_examples(tmp_path)) == 5
    text = (ROOT / "README.md").read_text()
    command = text[text.index("PYTHONPATH=. python run.py") :].split("\n\n")[0]
    words = command.replace("\\\n", " ").split()[3:]
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *words, f"output={tmp_path / 'out'}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "out" / "latest" / "summary.json").read_text())
    curve = summary["curves"][0]
    assert curve["benchmark"] == "sums"
    assert curve["policy"].endswith("ThinkTwice") or "think_twice" in curve["policy"]
    assert curve["points"][0]["setting"] == "nudged by Wait"
    assert [step["step"] for step in summary["funnel"]][-4:] == [
        *("missing", "wrong_attempts", "duplicates", "domain_draw"),
    ]
    assert summary["funnel"][-1]["rows_out"] == 500, "scale=quick sets the size"
