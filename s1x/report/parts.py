"""The pieces that a section of the report is made of."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from s1x.curve import Estimate, Point
from s1x.report.charts import Chart

#: letters of a file's name before its hash
LONGEST_NAME = 60
#: a text so short stays on one line
SHORT = 26
Row = Mapping[str, Any]


def file_name(key: str) -> str:
    """A key as a file's name in plain letters, with a hash where letters had to be changed.

    Keys hold labels of any length and script: a sweep's job is named by its overrides.
    """
    plain = re.sub(r"[^A-Za-z0-9_.+-]+", "_", key).lstrip(".")
    if plain == key and len(key) <= LONGEST_NAME:
        return key
    digest = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{plain[:LONGEST_NAME]}-{digest}"


def brief(text: str, most: int = 60) -> str:
    """A name that leaves room for what stands beside it."""
    return text if len(text) <= most else text[: most - 1] + "…"


def ends(column: str) -> tuple[str, str]:
    """The columns that hold the ends of a column's 95% interval."""
    return f"{column}, low", f"{column}, high"


def interval(
    column: str, value: float | None, low: float | None = None, high: float | None = None
) -> dict[str, float | None]:
    """A value with its interval as three cells of a row."""
    return {column: value, **dict(zip(ends(column), (low, high), strict=True))}


def estimate(column: str, found: Estimate | None) -> dict[str, float | None]:
    """An estimate as three cells of a row."""
    return interval(column, found.value, found.low, found.high) if found else interval(column, None)


def accuracy(column: str, point: Point | None) -> dict[str, float | None]:
    """A point's accuracy as three cells of a row."""
    if point is None:
        return interval(column, None)
    low, high = point.interval_low_percent, point.interval_high_percent
    return interval(column, point.accuracy_percent, low, high)


@dataclass(frozen=True)
class Table:
    """Rows of named cells: text, number or None (not known, shown as a dash).

    Attributes:
        key: file name of the CSV.
        digits: after the point, by column name; 0 for columns not named, 1 for intervals.
        strong: indexes of rows to stand out.
        signed: columns of differences, whose values bear a plus.
        note: a sentence below.
        folded: closed until it is asked for.
    """

    key: str
    title: str
    rows: Sequence[Row]
    digits: Mapping[str, int] = field(default_factory=dict)
    strong: frozenset[int] = frozenset()
    signed: tuple[str, ...] = ()
    note: str = ""
    folded: bool = True

    @property
    def names(self) -> list[str]:
        """Names of all columns, ends of intervals included."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """Columns that people see, and whether they hold numbers."""
        hidden = {end for name in self.names for end in ends(name)}
        return [
            (name, all(isinstance(row.get(name), (int, float, type(None))) for row in self.rows))
            for name in self.names
            if name not in hidden
        ]

    def cells(self, row: Row) -> list[tuple[str, str]]:
        """Text and style of a row's cells."""
        return [self._cell(row, name, number) for name, number in self.columns]

    def _cell(self, row: Row, name: str, number: bool) -> tuple[str, str]:
        low, high = (row.get(end) for end in ends(name))
        spread = ends(name)[0] in self.names
        digits = self.digits.get(name, 1 if spread else 0)
        text = shown(row.get(name), digits, name in self.signed)
        if low is not None and high is not None:
            sides = (shown(side, digits, name in self.signed) for side in (low, high))
            text += " ({} to {})".format(*sides)
        return text, "n" if number else ("" if len(text) > SHORT else "s")

    def to_csv(self) -> str:
        """CSV text; an interval takes three columns, an unknown value is empty."""
        out = io.StringIO()
        writer = csv.DictWriter(out, self.names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in self.rows)
        return out.getvalue()


def shown(value: Any, digits: int = 0, signed: bool = False) -> str:
    """A cell's text: thousands separated, an em dash for what is unknown."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return f"{value:{'+' if signed else ''},.{digits}f}"
    return str(value)


@dataclass(frozen=True)
class Trace:
    """A trace to read in the page: why it is shown, its row, its texts."""

    rule: str
    row: Row
    thinking: tuple[str, ...]
    answer: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A part of the report: what it shows (`lead`), then charts, tables and sentences in order."""

    key: str
    title: str
    lead: str
    items: tuple[Chart | Table | Trace | str, ...] = ()
    short: str = ""
    """A word or two for the row of links; empty: the title."""

    def tables(self) -> Iterator[Table]:
        """Its tables, for CSV files."""
        return (item for item in self.items if isinstance(item, Table))

    def charts(self) -> Iterator[Chart]:
        """Its charts, for image files."""
        return (item for item in self.items if isinstance(item, Chart))
