"""Trackio: runs in a local database, or a Space of the hub; `trackio show` opens them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING

from s1x.classes import module_of
from s1x.option import option, setting
from s1x.report.tracker import (
    TRACE_COLUMNS,
    Folders,
    Json,
    Tracker,
    curve_points,
    headline_numbers,
    settings_of,
    trace_rows,
)

if TYPE_CHECKING:
    from trackio import Run


@option("tracker", "trackio")
@dataclass(frozen=True)
class Trackio(Tracker):
    """Logs a run with trackio; a curve's step is its mean thinking tokens."""

    project: str = setting("s1x", "project of the runs")
    space: str | None = setting(None, "Space of the hub, owner/name; null: a database on this disk")
    max_traces: int = setting(100, "traces in the table of traces", at_least=0)

    @cached_property
    def _open(self) -> list[Run]:
        """The open run, or nothing."""
        return []

    def start(self, context: Json) -> None:
        """Opens the run, grouped by sweep.

        Raises:
            UserError: trackio is not installed.
        """
        trackio = module_of("trackio", "tracker=trackio")
        with redirect_stdout(io.StringIO()):
            run = trackio.init(
                project=self.project,
                name=context.get("job") or context.get("name"),
                group=context.get("sweep"),
                space_id=self.space,
                config=settings_of(context),
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        self._open.append(run)

    def log(self, stage: str, step: int | None, values: Mapping[str, float]) -> None:
        """Logs numbers as `<stage>/<name>`."""
        for run in self._open:
            run.log({f"{stage}/{name}": value for name, value in values.items()}, step=step)

    def finish(self, summary: Json | None, folders: Folders, failed: bool) -> None:
        """Logs curves, metrics and traces and closes the run; a failed one bears an alert."""
        while self._open:
            run = self._open.pop()
            with redirect_stdout(io.StringIO()):
                if summary is not None:
                    for name, value, tokens in curve_points(summary):
                        run.log({name: value}, step=tokens)
                    run.log(headline_numbers(summary))
                    if rows := [list(row.values()) for row in trace_rows(folders, self.max_traces)]:
                        table = import_module("trackio").Table(
                            columns=list(TRACE_COLUMNS), data=rows
                        )
                        run.log({"traces": table})
                if failed:
                    level = import_module("trackio").AlertLevel.ERROR
                    run.alert(title="the run failed", level=level)
                import_module("trackio").finish()  # the current run: else again at exit, in print
