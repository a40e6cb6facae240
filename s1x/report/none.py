"""No tracker: the report and summary.json are all there is."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.option import option
from s1x.report.tracker import Tracker


@option("tracker", "none")
@dataclass(frozen=True)
class NoTracker(Tracker):
    """Logs nothing."""
