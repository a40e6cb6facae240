"""The pieces that a section of the report is made of."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from s1x.curve import Estimate, Point
from s1x.report.charts import Chart

#: letters of a file's name before its hash
LONGEST_NAME = 60
#: a text so short stays on one line
SHORT = 26
#: digits after the point where it is not one
DIGITS = {"control %": 0, "scaling per 1,000 tokens": 0, "GPU-hours": 2, "US dollars": 2}
DIGITS |= {"kWh": 3, "final loss": 3}
#: columns of differences, whose values bear a plus
SIGNED = (
    "gain",
    "net points",
    "difference to reference",
    "perfect minus uniform",
    "minus majority",
)
Cell = str | float | Estimate | None
Row = Mapping[str, Cell]
NUMBERS = (int, float, Estimate, type(None))


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
    """The columns of a CSV file that hold the ends of a column's 95% interval."""
    return f"{column}, low", f"{column}, high"


def accuracy(point: Point | None) -> Estimate:
    """A point's accuracy with its interval."""
    if point is None:
        return Estimate(None)
    low, high = point.interval_low_percent, point.interval_high_percent
    return Estimate(point.accuracy_percent, low, high)


@dataclass(frozen=True)
class Table:
    """Rows of named cells: text, number, estimate or None (not known, shown as a dash).

    Attributes:
        key: file name of the CSV.
        strong: indexes of rows to stand out.
        note: a sentence below.
        folded: closed until it is asked for.
    """

    key: str
    title: str
    rows: Sequence[Row]
    strong: Collection[int] = ()
    note: str = ""
    folded: bool = True

    @property
    def columns(self) -> dict[str, bool]:
        """Columns that people see, and whether they hold numbers."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        return {n: all(isinstance(row.get(n), NUMBERS) for row in self.rows) for n in names}

    def cells(self, row: Row) -> list[tuple[str, str]]:
        """Text and style of a row's cells."""
        texts = [(shown(row.get(name), name), number) for name, number in self.columns.items()]
        return [(t, "n" if number else "" if len(t) > SHORT else "s") for t, number in texts]

    def to_csv(self) -> str:
        """CSV text; an interval takes three columns, an unknown value is empty."""
        spread = {n for row in self.rows for n, v in row.items() if isinstance(v, Estimate)}
        names = [n for name in self.columns for n in (name, *(ends(name) * (name in spread)))]
        out = io.StringIO()
        writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            flat: dict[str, Cell] = {}
            for name, value in row.items():
                if isinstance(value, Estimate):
                    flat |= dict(zip(ends(name), (value.low, value.high), strict=True))
                    value = value.value
                flat[name] = value
            writer.writerow(flat)
        return out.getvalue()


def shown(value: Cell, column: str = "") -> str:
    """A cell's text: thousands separated, an em dash for what is unknown."""
    if isinstance(value, Estimate):
        text = shown(value.value, column)
        if value.low is None or value.high is None:
            return text
        return f"{text} ({shown(value.low, column)} to {shown(value.high, column)})"
    if value is None:
        return "—"
    if isinstance(value, str):
        return value
    usual = 2 if column.endswith(" seconds") else 1
    digits = DIGITS.get(column, usual) if isinstance(value, float) else 0
    return f"{value:{'+' if column in SIGNED else ''},.{digits}f}"


@dataclass(frozen=True)
class Trace:
    """A trace to read in the page: why it is shown, its row, its texts."""

    rule: str
    row: Mapping[str, object]
    thinking: tuple[str, ...]
    answer: tuple[str, ...]


Item = Chart | Table | Trace | str


@dataclass(frozen=True)
class Section:
    """A part of the report: heading, its words in the row of links, what it shows, its items."""

    key: str
    title: str
    short: str
    lead: str
    items: Sequence[Item]
