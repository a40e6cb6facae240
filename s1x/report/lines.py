"""Curves over tokens, and where the labels of their points find room."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import altair as alt
import numpy as np

from s1x.curve import Estimate
from s1x.report.charts import LABEL_SIZE, LIGHT, WIDTH, Chart, Datum, Picture, colours, data

#: size of a label's letter in pixels: where labels fit is decided before anything is drawn
LETTER, LINE_HEIGHT = 6.1, 13


@dataclass(frozen=True)
class Mark:
    """A point of a line: x in the axis's unit, y in percent; an unknown one leaves a hole."""

    x: float | None
    y: Estimate
    label: str = ""
    details: Sequence[str] = ()


@dataclass(frozen=True)
class Line:
    """A curve; `dashed` marks what is not the main thing, `labelled` writes its points' labels.

    A `level` is an accuracy that took no thinking tokens: its marks' x is not looked at.
    """

    name: str
    hue: str
    marks: Sequence[Mark]
    dashed: bool = False
    labelled: bool = False
    level: bool = False

    @property
    def known(self) -> list[tuple[Mark, float, float]]:
        """Marks with their x and y, from left to right, without holes; x = 0 has no logarithm."""
        found = [(m, m.x or 0.0, m.y.value) for m in self.marks if m.y.value is not None]
        return sorted((f for f in found if self.level or f[1] > 0), key=lambda item: item[1])


def published(name: str, points: Sequence[tuple[float, float]]) -> Line:
    """The paper's points in grey."""
    marks = [Mark(x, Estimate(y), "published") for x, y in points]
    return Line(f"{name} (paper)", "grey", marks, dashed=True)


def percent(found: Estimate) -> str:
    """An accuracy with its interval, in words."""
    known = found.low is not None and found.high is not None
    return f"{found.value:.1f}%" + (f" (95%: {found.low:.1f} to {found.high:.1f})" if known else "")


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
        known = [(line, *item) for line in shown for item in line.known]
        xs = [x for line, _, x, _ in known if not line.level and x > 0] or [1.0]
        most = max([*(m.y.high or y for _, m, _, y in known), 5.0])
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
        values = (2 ** (first + i * step) for i in range(int((high - first) / step) + 1))
        return [round(v) if v >= 4 else float(f"{v:.2g}") for v in values]


def _draw(x_title: str, y_title: str, shown: Sequence[Line], width: int) -> Picture:
    area = Area.of(width, shown)
    x = alt.X(
        "x:Q",
        title=x_title,
        scale=alt.Scale(type="log", domain=[area.left, area.right], nice=False),
        axis=alt.Axis(values=area.ticks(), format=",.2~f", grid=False, labelFlush=False),
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
    texts = [(text, *area.values(*place)) for text, place in labels(area, shown)]
    text = data([{"t": text, "x": x, "y": y} for text, x, y in texts]).mark_text(
        fontSize=LABEL_SIZE, color=LIGHT["ink"]
    )
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


def _rows(shown: Sequence[Line]) -> Iterator[Datum]:
    for line in shown:
        for mark, x, y in line.known:
            said = (percent(mark.y), *mark.details)
            tip = " · ".join([f"{line.name}: {mark.label}".rstrip(": "), *said])
            numbers = {"y": y, "low": mark.y.low, "high": mark.y.high}
            yield {
                "line": line.name,
                "tip": tip,
                **numbers,
                **({} if line.level else {"x": x}),
            }


def labels(area: Area, shown: Sequence[Line]) -> list[tuple[str, tuple[float, float]]]:
    """Labels and their centres in pixels, none over a point, a line or another label.

    The first of a curve, its natural length and its last point are placed before the others; what
    finds no place is left to the tooltip.
    """
    taken = list(_taken(area, shown))
    placed = []
    for line in (line for line in shown if line.labelled and not line.level):
        ends = {id(mark) for mark, _, _ in (line.known[:1] + line.known[-1:])}
        order = sorted(line.known, key=lambda k: (k[0].label != "natural", id(k[0]) not in ends))
        for mark, across, value in order:
            half, tall = len(mark.label) * LETTER / 2, LINE_HEIGHT / 2
            for x, y in _places(*area.pixels(across, value), half, tall):
                box = (x - half, y - tall, x + half, y + tall)
                left, top, right, bottom = np.array(taken).T
                meets = (left < box[2]) & (box[0] < right) & (top < box[3]) & (box[1] < bottom)
                inside = box[0] >= 0 and box[2] <= area.width and box[3] <= area.height
                if inside and box[1] >= -tall and not meets.any():
                    taken.append(box)
                    placed.append((mark.label, (x, y)))
                    break
    return placed


def _taken(area: Area, shown: Sequence[Line]) -> Iterator[tuple[float, float, float, float]]:
    """Boxes (left, top, right, bottom) around points, and of no size along lines."""
    for line in shown:
        path = [area.pixels(x, y) for _, x, y in line.known if not line.level]
        yield from ((x - 5, y - 5, x + 5, y + 5) for x, y in path)
        for level in (area.pixels(area.left, y)[1] for *_, y in line.known if line.level):
            path += [(0.0, level), (float(area.width), level)]
        for start, end in itertools.pairwise(path):
            count = max(2, int(math.dist(start, end) / 3)) + 1
            yield from ((x, y, x, y) for x, y in np.linspace(start, end, count).tolist())


def _places(x: float, y: float, half: float, tall: float) -> Iterator[tuple[float, float]]:
    """Centres to try around a point: above first, farther away later."""
    for far in (1.0, 2.0):
        across, along = half + 4, tall + 5 * far
        yield from ((x, y - along - 2), (x - across, y - along), (x + across, y + along))
        yield from ((x, y + along + 2), (x + across, y - along), (x - across, y + along))
        yield from ((x + across + 4 * far, y), (x - across - 4 * far, y))
