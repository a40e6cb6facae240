"""Curves over tokens, and where the labels of their points find room."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import altair as alt

from s1x.report.charts import LABEL_SIZE, LIGHT, WIDTH, Chart, Picture, colours, data

#: size of a label's letter in pixels: where labels fit is decided before anything is drawn
LETTER, LINE_HEIGHT = 6.1, 13


@dataclass(frozen=True)
class Mark:
    """A point of a line: x in tokens, y and its 95% interval in percent; None leaves a hole."""

    x: float
    y: float | None
    low: float | None = None
    high: float | None = None
    label: str = ""
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A curve; `dashed` marks what is not the main thing, `labelled` writes its points' labels.

    A line whose marks have no x is a level: an accuracy that took no thinking tokens.
    """

    name: str
    hue: str
    marks: tuple[Mark, ...]
    dashed: bool = False
    labelled: bool = False
    level: bool = False


def percent(value: float, low: float | None, high: float | None) -> str:
    """An accuracy with its interval, in words."""
    interval = "" if low is None or high is None else f" (95%: {low:.1f} to {high:.1f})"
    return f"{value:.1f}%{interval}"


def lines(
    key: str, title: str, x_title: str, y_title: str, shown: Sequence[Line], width: int = WIDTH
) -> Chart:
    """Curves over tokens on a logarithmic axis, with bands of their intervals and level lines."""
    return Chart(key, title, partial(_draw, x_title, y_title, shown), width)


@dataclass(frozen=True)
class Area:
    """The drawing area: its size in pixels and what its edges mean."""

    width: int
    height: int
    left: float
    right: float
    top: float

    @classmethod
    def of(cls, width: int, shown: Sequence[Line]) -> Area:
        """An area that holds all marks and intervals."""
        marks = [m for line in shown for m in line.marks if m.y is not None]
        xs = [m.x for line in shown if not line.level for m in line.marks if m.x > 0] or [1.0]
        most = max([*(m.high or m.y or 0.0 for m in marks), 5.0])
        step = next(s for s in (1, 2, 5, 10, 20, 25) if most / s <= 5)
        height = round(min(340, max(220, width * 0.52)))
        top = min(100.0, step * math.ceil(most / step))
        return cls(width, height, min(xs) / 1.35, max(xs) * 1.35, top)

    def pixels(self, x: float, y: float) -> tuple[float, float]:
        """Where a value stands, from the top left corner."""
        part = math.log(x / self.left) / math.log(self.right / self.left)
        return self.width * part, self.height * (1 - y / self.top)

    def values(self, px: float, py: float) -> tuple[float, float]:
        """What a place means."""
        x = self.left * (self.right / self.left) ** (px / self.width)
        return x, self.top * (1 - py / self.height)

    def ticks(self) -> list[float]:
        """Powers of two (or their halves on a short axis), as many as there is room for."""
        low, high = math.log2(self.left), math.log2(self.right)
        step = 0.5 if high - low < 2.5 else max(1, math.ceil((high - low) * 52 / self.width))
        first = math.ceil(low / step) * step
        return [round(2 ** (first + i * step)) for i in range(int((high - first) / step) + 1)]


def _draw(x_title: str, y_title: str, shown: Sequence[Line], width: int) -> Picture:
    area = Area.of(width, shown)
    x = alt.X(
        "x:Q",
        title=x_title,
        scale=alt.Scale(type="log", domain=[area.left, area.right], nice=False),
        axis=alt.Axis(values=area.ticks(), format=",.0f", grid=False, labelFlush=False),
    )
    scale = alt.Scale(domain=[0, area.top], nice=False)
    y = alt.Y("y:Q", title=y_title, scale=scale, axis=alt.Axis(tickCount=5))
    band = {"y": alt.Y("low:Q", title=y_title), "y2": alt.Y2("high:Q")}
    named = {line.name: line for line in shown}
    dashes = [[2, 3] if s.level else ([6, 4] if s.dashed else [1, 0]) for s in named.values()]
    columns = max(1, int(width / (40 + LETTER * max(map(len, named), default=1))))
    legend = alt.Legend(
        orient="top", title=None, columns=columns, symbolType="stroke", symbolOpacity=1
    )
    colour = colours("line:N", {name: line.hue for name, line in named.items()}, legend)
    dash = alt.StrokeDash(
        "line:N",
        scale=alt.Scale(domain=list(named), range=dashes),
        legend=legend if len(named) > 1 else None,
    )
    rows = list(_rows(shown))
    curves = data([row for row in rows if "x" in row]).encode(x=x, color=colour)
    levels = data([row for row in rows if "x" not in row]).encode(color=colour)
    faint = 0.06 if len(named) > 4 else 0.13
    texts = [dict(zip("xyt", (*area.values(*c), t), strict=True)) for t, c in labels(area, shown)]
    text = data(texts).mark_text(fontSize=LABEL_SIZE, color=LIGHT["ink"])
    told = {"description": "tip:N", "tooltip": "tip:N"}
    layers = [
        levels.mark_rect(opacity=0.08).encode(**band),
        curves.mark_area(opacity=faint).encode(**band),
        curves.mark_rule(opacity=0.45).encode(**band),
        levels.mark_rule(strokeWidth=1.5).encode(y=y, strokeDash=dash, **told),
        curves.mark_line(strokeWidth=2.2).encode(y=y, strokeDash=dash),
        curves.mark_circle(size=46, opacity=1).encode(y=y, **told),
        text.encode(x=x, y=y, text="t:N"),
    ]
    return alt.layer(*layers).properties(width=area.width, height=area.height)


def _rows(shown: Sequence[Line]) -> Iterator[dict[str, Any]]:
    for line in shown:
        for mark in sorted(line.marks, key=lambda m: m.x):
            if mark.y is not None:
                said = (percent(mark.y, mark.low, mark.high), *mark.details)
                tip = " · ".join([f"{line.name}: {mark.label}".rstrip(": "), *said])
                numbers = {"y": mark.y, "low": mark.low, "high": mark.high}
                place = {} if line.level else {"x": mark.x}
                yield {"line": line.name, "tip": tip, **numbers, **place}


Box = tuple[float, float, float, float]


def labels(area: Area, shown: Sequence[Line]) -> list[tuple[str, tuple[float, float]]]:
    """Labels and their centres in pixels, none over a point, a line or another label.

    The first of a curve, its natural length and its last point are placed before the others; what
    finds no place is left to the tooltip.
    """
    paths = [
        [area.pixels(m.x, m.y) for m in sorted(s.marks, key=lambda m: m.x) if m.y is not None]
        for s in shown
        if not s.level
    ]
    taken = [_around(x, y, 5, 5) for path in paths for x, y in path]
    steps = [step for path in paths for step in itertools.pairwise(path)]
    for mark in (m for line in shown if line.level for m in line.marks if m.y is not None):
        height = area.pixels(area.left, mark.y or 0.0)[1]
        steps.append(((0.0, height), (float(area.width), height)))
    placed = []
    for line in (line for line in shown if line.labelled and not line.level):
        marks = sorted((m for m in line.marks if m.y is not None), key=lambda m: m.x)
        ends = (marks[0], marks[-1]) if marks else ()
        for mark in sorted(marks, key=lambda m: (m.label != "natural", m not in ends)):
            x, y = area.pixels(mark.x, mark.y or 0.0)
            half, tall = len(mark.label) * LETTER / 2, LINE_HEIGHT / 2
            for place in _places(x, y, half, tall):
                box = _around(*place, half, tall)
                inside = box[0] >= 0 and box[2] <= area.width and box[3] <= area.height
                free = inside and box[1] >= -tall and not any(_meet(box, b) for b in taken)
                if free and not any(_crosses(box, *step) for step in steps):
                    taken.append(box)
                    placed.append((mark.label, place))
                    break
    return placed


def _places(x: float, y: float, half: float, tall: float) -> Iterator[tuple[float, float]]:
    """Centres to try around a point: above first, farther away later."""
    for far in (1.0, 2.0):
        across, along = half + 4, tall + 5 * far
        yield from ((x, y - along - 2), (x - across, y - along), (x + across, y + along))
        yield from ((x, y + along + 2), (x + across, y - along), (x - across, y + along))
        yield from ((x + across + 4 * far, y), (x - across - 4 * far, y))


def _around(x: float, y: float, half: float, tall: float) -> Box:
    return x - half, y - tall, x + half, y + tall


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _crosses(box: Box, start: tuple[float, float], end: tuple[float, float]) -> bool:
    """Whether a line runs through the box, looked at every few pixels."""
    steps = max(2, int(math.dist(start, end) / 3))
    return any(
        box[0] < start[0] + (end[0] - start[0]) * i / steps < box[2]
        and box[1] < start[1] + (end[1] - start[1]) * i / steps < box[3]
        for i in range(steps + 1)
    )
