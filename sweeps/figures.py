"""`make figures`: runs every sweep in full and writes docs/figures, beside the paper's figures.

Arguments are handed on to every sweep: `make figures ARGS="scale=quick"`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from s1x.report.gallery import figures_page  # noqa: E402

OUTPUT = ROOT / "outputs"


def main(overrides: list[str]) -> int:
    """Runs the sweeps one after another; returns 1 if a job of one failed."""
    reports: dict[str, Path] = {}
    failed = False
    for path in sorted((ROOT / "sweeps").glob("*.yaml")):
        command = [sys.executable, "run.py", "-m", "+experiment=s1k", f"+sweep={path.stem}"]
        failed |= subprocess.run([*command, *overrides], cwd=ROOT, check=False).returncode != 0
        reports[path.stem] = (OUTPUT / "latest").resolve()
    figures_page(reports, ROOT / "docs" / "figures")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
