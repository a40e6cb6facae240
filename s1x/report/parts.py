"""The pieces that a section of the report is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from s1x.report.charts import Chart
from s1x.report.tables import Table


def file_name(key: str) -> str:
    """A key as a file's name: a sweep's job is named by overrides, which may hold `=` and `/`."""
    return re.sub(r"[^\w.+-]+", "_", key)


@dataclass(frozen=True)
class Html:
    """Markup that a section wrote itself, every outside text escaped."""

    text: str


@dataclass(frozen=True)
class Section:
    """A part of the report: what it shows (`lead`), then charts, tables and sentences in order."""

    key: str
    title: str
    lead: str
    items: tuple[Chart | Table | Html | str, ...] = field(default=())
    short: str = ""
    """A word or two for the row of links; empty: the title."""

    def tables(self) -> Iterator[Table]:
        """Its tables, for CSV files."""
        return (item for item in self.items if isinstance(item, Table))

    def charts(self) -> Iterator[Chart]:
        """Its charts, for image files."""
        return (item for item in self.items if not isinstance(item, (Table, Html, str)))
