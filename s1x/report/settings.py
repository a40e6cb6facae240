"""What the report can be told: other runs, a title, prices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from s1x.errors import SettingError
from s1x.option import Option, option, setting


@option("prices", "prices")
@dataclass(frozen=True)
class Prices(Option):
    """What things cost, for the cost ledger and the plan; a price not given stays unknown."""

    usd_per_gpu_hour: float | None = setting(None, "US dollars for one GPU-hour", at_least=0)
    usd_per_million_prompt_tokens: float | None = setting(None, "of a paid endpoint", at_least=0)
    usd_per_million_generated_tokens: float | None = setting(None, "of a paid endpoint", at_least=0)


@option("report", "report")
@dataclass(frozen=True)
class ReportSettings(Option):
    """What the report stage reads besides this run's own stages."""

    runs: Any = setting(
        None, "run folders to report on instead of this run: a glob, or a list of globs"
    )
    title: str | None = setting(None, "headline of the report")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(isinstance(pattern, str) and pattern for pattern in self.patterns()):
            raise SettingError("runs", "a glob of run folders or a list of globs", self.runs)

    def patterns(self) -> list[Any]:
        """The globs of `runs`."""
        if self.runs is None:
            return []
        return list(self.runs) if isinstance(self.runs, list) else [self.runs]
