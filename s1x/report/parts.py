"""The pieces that a section of the report is made of."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from s1x.report.charts import Chart
from s1x.report.tables import Table

#: letters of a file's name before its hash
LONGEST_NAME = 60


def file_name(key: str) -> str:
    """A key as a file's name in plain letters, with a hash where letters had to be changed.

    Keys hold labels of any length and script: a sweep's job is named by its overrides.
    """
    plain = re.sub(r"[^A-Za-z0-9_.+-]+", "_", key).lstrip(".")
    if plain == key and len(key) <= LONGEST_NAME:
        return key
    digest = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{plain[:LONGEST_NAME]}-{digest}"


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
