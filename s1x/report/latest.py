"""The end of a report: what the run did goes into its summary, and `latest` points to it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from s1x.artifact import Artifact, Artifacts, read_json
from s1x.console import say
from s1x.report.console import console_table


def finish_report(
    artifacts: Artifacts, report: Artifact, done: Sequence[Mapping[str, Any]], sweep: bool = False
) -> dict[str, Any]:
    """Says in the summary what this run did, points `latest` to the report, prints the table.

    A sweep's jobs print their own points only: the sweep's report says the rest once.
    """
    summary = read_json(report.folder / "summary.json") | {"stages": list(done)}
    artifacts.rewrite(report, "summary.json", summary)
    point_latest(artifacts.root / "latest", report.folder)
    if sweep:
        print(console_table(summary, brief=True), flush=True)
    else:
        print(console_table(summary))
        print(f"Report: {report.folder / 'report.html'}")
    return summary


def point_latest(link: Path, folder: Path) -> None:
    """Makes `link` a symbolic link to the folder, in one step for whoever reads it.

    Where that cannot be (a real folder has the name, a file system without links), a line says so:
    a convenience may not fail a run.
    """
    beside = link.with_name(f"{link.name}.{os.getpid()}")
    try:
        beside.symlink_to(os.path.relpath(folder, link.parent), target_is_directory=True)
        beside.replace(link)
    except OSError as error:
        beside.unlink(missing_ok=True)
        reason = "it is no link" if link.is_dir() else error.strerror
        say(f"{link} was not set to this report ({reason}); remove or rename it to have it set")
