"""No tracker: the report and summary.json are all there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from s1x.option import option
from s1x.report.tracker import Folders, Tracker


@option("tracker", "none")
@dataclass(frozen=True)
class NoTracker(Tracker):
    """Logs nothing."""

    def start(self, context: Mapping[str, Any]) -> None:
        """Does nothing."""

    def log(self, stage: str, step: int | None, values: Mapping[str, float]) -> None:
        """Does nothing."""

    def finish(self, summary: Mapping[str, Any] | None, folders: Folders, failed: bool) -> None:
        """Does nothing."""
