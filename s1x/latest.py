"""The end of a report: what the run did goes into its summary, and `latest` points to it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def finish_report(
    folder: Path, output: Path, done: Sequence[Mapping[str, Any]], sweep: bool = False
) -> dict[str, Any]:
    """Says in the summary what this run did, points `latest` to the report, prints the table.

    A sweep's jobs print their own points only: the sweep's report says the rest once.
    """
    from s1x.report import console_table

    path = folder / "summary.json"
    summary: dict[str, Any] = json.loads(path.read_text())
    summary["stages"] = list(done)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(summary, indent=1, ensure_ascii=False))
    beside.replace(path)
    point_latest(output / "latest", folder)
    if sweep:
        print(console_table(summary, brief=True), flush=True)
    else:
        print(console_table(summary))
        print(f"Report: {folder / 'report.html'}")
    return summary


def point_latest(link: Path, folder: Path) -> None:
    """Makes `link` a symbolic link to the folder, in one step for whoever reads it."""
    beside = link.with_name(f"{link.name}.{os.getpid()}")
    beside.symlink_to(os.path.relpath(folder, link.parent), target_is_directory=True)
    beside.replace(link)
