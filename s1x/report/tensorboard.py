"""TensorBoard: training, metrics and curves as scalars, some traces as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from s1x.classes import module_of
from s1x.option import option, setting
from s1x.report.parts import file_name
from s1x.report.tracker import (
    Folders,
    Json,
    Tracker,
    curve_points,
    headline_numbers,
    settings_of,
    trace_rows,
)

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@option("tracker", "tensorboard")
@dataclass(frozen=True)
class TensorBoard(Tracker):
    """Writes event files: `tensorboard --logdir outputs/runs`.

    A curve is a scalar whose step is the mean number of thinking tokens, so TensorBoard's chart of
    `curve/<benchmark>/<role>` is the test-time scaling curve.
    """

    folder: str | None = setting(None, "where the event files go; null: the run's own folder")
    max_traces: int = setting(20, "traces shown as text", at_least=0)

    @cached_property
    def _open(self) -> list[SummaryWriter]:
        """The open writer, or nothing."""
        return []

    def start(self, context: Json) -> None:
        """Opens the event file and writes what is run.

        Raises:
            UserError: tensorboard is not installed.
        """
        module = module_of("torch.utils.tensorboard", "tracker=tensorboard", "tensorboard")
        root = self.folder or str(context.get("run_folder") or ".")
        name = str(context.get("job") or "") if self.folder else "tensorboard"
        writer: SummaryWriter = module.SummaryWriter(str(Path(root) / file_name(name)))
        writer.add_text("settings", _listed(settings_of(context)))
        self._open.append(writer)

    def log(self, stage: str, step: int | None, values: Mapping[str, float]) -> None:
        """Writes scalars `<stage>/<name>`."""
        for writer in self._open:
            for name, value in values.items():
                writer.add_scalar(f"{stage}/{name}", value, step or 0)

    def finish(self, summary: Json | None, folders: Folders, failed: bool) -> None:
        """Writes curves, metrics and traces, says whether the run failed, and closes."""
        while self._open:
            writer = self._open.pop()
            if summary is not None:
                for series in curve_points(summary):
                    writer.add_scalar(*series)
                for name, value in headline_numbers(summary).items():
                    writer.add_scalar(f"metrics/{name}", value, 0)
                for index, row in enumerate(trace_rows(folders, self.max_traces)):
                    writer.add_text("traces", _listed(row), index)
            writer.add_text("status", "failed" if failed else "finished")
            writer.close()


def _listed(values: Json) -> str:
    """Name and value, each line set as code: nothing in it is read as markup."""
    lines = [f"{name}: {value}" for name, value in values.items()]
    return "\n".join("    " + part for line in lines for part in line.splitlines())
