"""Figures as data: drawn once by the page's script and once by matplotlib for papers.

A chart says what is shown, not how: lines over tokens, horizontal bars, or a histogram. Colours are
roles ("fine_tuned", "correct", "grey", "c3") that each drawer maps to its own palette.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Mark:
    """A point of a line: x in tokens, y and its 95% interval in percent; None leaves a hole."""

    x: float | None
    y: float | None
    low: float | None = None
    high: float | None = None
    label: str = ""
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A curve; `dashed` marks what is not ours or not the main thing."""

    name: str
    colour: str
    marks: tuple[Mark, ...]
    dashed: bool = False
    labelled: bool = False
    """Whether the points' labels are written into the picture."""


@dataclass(frozen=True)
class Level:
    """A horizontal line: an accuracy that has no thinking tokens."""

    name: str
    colour: str
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Lines:
    """Curves over thinking tokens (log2 unless said otherwise)."""

    key: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    levels: tuple[Level, ...] = ()
    x_log2: bool = True
    kind: str = "lines"


@dataclass(frozen=True)
class Part:
    """One colour of a bar chart: a value a bar, with intervals where they are known."""

    name: str
    colour: str
    values: tuple[float | None, ...]
    lows: tuple[float | None, ...] = ()
    highs: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Bars:
    """Horizontal bars: stacked parts of a whole, or grouped values side by side."""

    key: str
    title: str
    x_label: str
    bars: tuple[str, ...]
    parts: tuple[Part, ...]
    stacked: bool = False
    notes: tuple[str, ...] = ()
    """A few words after each bar."""
    x_max: float | None = None
    kind: str = "bars"


@dataclass(frozen=True)
class Histogram:
    """Counts in bins given by their edges (one more than the values of each part), stacked."""

    key: str
    title: str
    x_label: str
    y_label: str
    edges: tuple[float, ...]
    parts: tuple[Part, ...]
    kind: str = "histogram"


@dataclass(frozen=True)
class Gap:
    """A row of a forest plot: a difference with its 95% interval; `clear`: it excludes 0."""

    name: str
    value: float
    low: float
    high: float
    clear: bool


@dataclass(frozen=True)
class Forest:
    """Differences as dots with intervals, one below the other, around a line at 0."""

    key: str
    title: str
    x_label: str
    gaps: tuple[Gap, ...]
    kind: str = "forest"


@dataclass(frozen=True)
class Frames:
    """Several charts in one place, one shown at a time (all of them in print)."""

    key: str
    title: str
    choose: str
    frames: tuple[tuple[str, Lines | Bars | Histogram], ...]
    first: int = 0
    kind: str = field(default="frames")


Chart = Lines | Bars | Histogram | Forest | Frames


def to_json(chart: Chart) -> dict[str, Any]:
    """The chart as plain values for the page's script."""
    return dataclasses.asdict(chart)
