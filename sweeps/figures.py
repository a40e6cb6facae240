"""`make figures`: runs every sweep in full and writes docs/figures, beside the paper's figures.

Only what the page shows is evaluated: `SHOWN` narrows each sweep to its benchmarks and models. All
points of the sweeps are kept. Arguments are handed on to every sweep and come last, so that
`make figures ARGS="scale=quick"` is a rehearsal; `sweeps=[wait_count,wait_string]` runs some only.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from s1x.console import duration, say
from s1x.report.gallery import figures_page

ROOT = Path(__file__).resolve().parent.parent
TUNED = "evaluate.models=[fine_tuned]"
SHOWN = {
    "thinking_budget": ("benchmark=[puzzles_hard,puzzles_new]",),
    "wait_count": ("benchmark=[puzzles_hard]",),
    "wait_string": ("benchmark=[puzzles_hard]", TUNED),
    "selection_ablation": ("benchmark=[puzzles_hard]", TUNED),
    "budget_policy": ("benchmark=[puzzles_hard]", TUNED),
    "sample_count": ("benchmark=[puzzles_hard]", TUNED),
}
PAGE = "page="
ONLY = "sweeps="


def main(arguments: list[str]) -> int:
    """Runs the sweeps one after another; returns 1 if a job of one failed."""
    own = {a.split("=")[0]: a.split("=", 1)[1] for a in arguments if a.startswith((PAGE, ONLY))}
    overrides = [a for a in arguments if not a.startswith((PAGE, ONLY))]
    outputs = [o.removeprefix("output=") for o in overrides if o.startswith("output=")]
    latest = ROOT / (outputs[-1] if outputs else "outputs") / "latest"
    wanted = own.get("sweeps", "").strip("[]").split(",") if "sweeps" in own else list(SHOWN)
    reports: dict[str, Path] = {}
    failed = False
    for name in wanted:
        begun = time.perf_counter()
        latest.unlink(missing_ok=True)
        command = [sys.executable, "run.py", "-m", "+experiment=s1k", f"+sweep={name}"]
        command += [*SHOWN[name], *overrides]
        failed |= subprocess.run(command, cwd=ROOT, check=False).returncode != 0
        say(f"Sweep {name}: {duration(time.perf_counter() - begun)}")
        if latest.exists():
            reports[name] = latest.resolve()
    figures_page(reports, ROOT / own.get("page", "docs/figures"))
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
