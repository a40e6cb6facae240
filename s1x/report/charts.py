"""The drawer: one specification in altair gives the page's inline SVG and the files for papers.

A section says what is shown (lines over tokens, bars, differences, histograms); here stand how it
looks and the one palette. What a pointer should say of a mark is its `tip`, which becomes the
mark's aria-label in the SVG.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

#: hue → its colour on light and on dark ground
PALETTE = {
    "bg": ("#ffffff", "#14171b"),
    "ink": ("#1c2127", "#e6e9ed"),
    "soft": ("#5a6472", "#9aa5b1"),
    "line": ("#e1e5ea", "#2c323a"),
    "orange": ("#d9480f", "#ff8a4c"),
    "blue": ("#3b6fb6", "#7fb0f0"),
    "grey": ("#9a9a9a", "#8a8f96"),
    "green": ("#2f9e77", "#4cc29a"),
    "amber": ("#e8a33d", "#f0b95c"),
    "red": ("#b23a48", "#e06a78"),
    "mint": ("#8fd0b5", "#a4e3c9"),
    "rose": ("#e2818b", "#f08f9a"),
    "silver": ("#c9ccd1", "#4a515a"),
    "purple": ("#7b4fb5", "#b794f0"),
    "ochre": ("#b08900", "#e0b93a"),
    "cyan": ("#0b7fab", "#4fc0ea"),
    "pink": ("#c2255c", "#f47ba5"),
    "olive": ("#5c7a29", "#a3c46a"),
    "slate": ("#495057", "#adb5bd"),
}
LIGHT = {hue: light for hue, (light, _) in PALETTE.items()}
HUE_OF = {light: hue for hue, light in LIGHT.items()}
#: one for each run of a report
RUN_HUES = ("orange", "purple", "green", "ochre", "cyan", "pink", "olive", "slate")

#: width of the drawing area in pixels: on a page, and of a picture that opens one (desk, phone)
WIDTH, WIDE, NARROW = 400, 940, 290
PNG_SCALE = 1.8
LABEL_SIZE = 11


Picture = alt.LayerChart | alt.FacetChart


@dataclass(frozen=True)
class Chart:
    """A picture by name; `draw` gives it for a width in pixels.

    One `aside` is written for papers and left out of the page.
    """

    key: str
    title: str
    draw: Callable[[int], Picture]
    width: int = WIDTH
    aside: bool = False

    def svg(self, width: int | None = None) -> str:
        """The picture as SVG text."""
        chart = self.draw(width or self.width)
        made = chart.properties(title=self.title).configure(**_look(width or self.width))
        return str(vl_convert.vegalite_to_svg(made.to_dict(validate=False)))


def for_page(svg: str, name: str) -> str:
    """An SVG that follows the page's colours; ids in it cannot meet those of another."""

    def variable(found: re.Match[str]) -> str:
        hue = HUE_OF.get(found[2])
        return f'{found[1]}="var(--{hue})"' if hue else found[0]

    svg = re.sub(r'(fill|stroke)="(#[0-9a-f]{6})"', variable, svg)
    return re.sub(r'(id="|url\(#)', rf"\g<1>{name}-", svg)


def save(svg: str, folder: Path, name: str) -> None:
    """Writes `<name>.svg` and `<name>.png`."""
    (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    (folder / f"{name}.png").write_bytes(vl_convert.svg_to_png(svg, scale=PNG_SCALE))


def _look(width: int) -> dict[str, Any]:
    ink, soft, line = LIGHT["ink"], LIGHT["soft"], LIGHT["line"]
    words = {"labelColor": soft, "titleColor": soft, "titleFontWeight": "normal"}
    sizes = {"labelFontSize": LABEL_SIZE, "titleFontSize": LABEL_SIZE}
    return {
        "font": "Arial, Helvetica, sans-serif",
        "background": LIGHT["bg"],
        "view": {"stroke": None},
        "axis": {**words, **sizes, "gridColor": line, "domainColor": line, "tickColor": line},
        "legend": {
            **words,
            "labelFontSize": LABEL_SIZE,
            "labelLimit": width * 0.9,
            "symbolStrokeWidth": 2.5,
            "padding": 2,
            "columnPadding": 18,
        },
        "header": {"labelColor": soft, "labelFontSize": LABEL_SIZE, "title": None},
        "title": {
            "anchor": "start",
            "color": ink,
            "fontSize": 13,
            "limit": width + 40,
            "offset": 8,
        },
    }


def data(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    """A chart over rows that stand in its specification."""
    return alt.Chart(alt.Data(values=list(rows)))  # type: ignore[no-untyped-call]


def colours(field: str, hues: Mapping[str, str], legend: alt.Legend) -> alt.Color:
    """A colour for each name; a legend where there are two or more."""
    scale = alt.Scale(domain=list(hues), range=[LIGHT[hue] for hue in hues.values()])
    return alt.Color(field, scale=scale, legend=legend if len(hues) > 1 else None)


def _names(field: str, names: Sequence[str], width: int) -> alt.Y:
    """An axis of names, in their order, that leaves half of the picture to what is drawn."""
    axis = alt.Axis(labelLimit=width * 0.5, ticks=False, domain=False, labelColor=LIGHT["ink"])
    return alt.Y(field, sort=list(names), title=None, axis=axis)


@dataclass(frozen=True)
class Part:
    """One colour of a bar chart: a value a bar, with intervals where they are known."""

    name: str
    hue: str
    values: tuple[float | None, ...]
    intervals: tuple[tuple[float | None, float | None], ...] = ()


@dataclass(frozen=True)
class _Bars:
    """What a bar chart shows."""

    x_title: str
    names: Sequence[str]
    parts: Sequence[Part]
    stacked: bool
    notes: Sequence[str]
    x_max: float | None

    def rows(self) -> list[dict[str, Any]]:
        """A row per bar and part."""
        digits = 1 if self.x_max or "%" in self.x_title else 0
        return [
            {
                **{"bar": name, "part": part.name, "order": order, "value": value},
                **(dict(zip("lh", part.intervals[i], strict=True)) if part.intervals else {}),
                "tip": f"{name}: {part.name} · {value:,.{digits}f}",
            }
            for order, part in enumerate(self.parts)
            for i, name in enumerate(self.names)
            if (value := part.values[i]) is not None
        ]

    def draw(self, width: int) -> Picture:
        """The bars, their intervals, and a note after each."""
        rows, names = self.rows(), [part.name for part in self.parts]
        scale = alt.Scale(domain=[0, self.x_max]) if self.x_max else alt.Scale(zero=True)
        axis = alt.Axis(tickCount=5, format=",.0f")
        stack = self.stacked or None
        x = alt.X("value:Q", title=self.x_title, scale=scale, axis=axis, stack=stack)
        legend = alt.Legend(orient="top", title=None, symbolType="square", columns=4)
        colour = colours("part:N", {part.name: part.hue for part in self.parts}, legend)
        lane: dict[str, Any] = {"y": _names("bar:N", self.names, width)}
        if not self.stacked:
            lane["yOffset"] = alt.YOffset("part:N", sort=names)
        filled = data(rows).mark_bar()
        layers = [filled.encode(x=x, color=colour, order="order:Q", description="tip:N", **lane)]
        spans = [row for row in rows if row.get("l") is not None]
        if spans:
            low = alt.X("l:Q", title=self.x_title)
            rule = data(spans).mark_rule(color=LIGHT["ink"])
            layers.append(rule.encode(x=low, x2="h:Q", **lane))
        ends = [sum(p.values[i] or 0.0 for p in self.parts) for i in range(len(self.names))]
        noted = [
            {"bar": name, "value": end, "note": note}
            for name, end, note in zip(self.names, ends, self.notes, strict=False)
        ]
        text = data(noted).mark_text(align="left", dx=5, fontSize=LABEL_SIZE, color=LIGHT["soft"])
        layers.append(text.encode(x=x, y=lane["y"], text="note:N"))
        tall = 22 if self.stacked else max(22, 14 * len(self.parts))
        return alt.layer(*layers).properties(width=width, height=max(40, tall * len(self.names)))


def bars(
    key: str,
    title: str,
    x_title: str,
    names: Sequence[str],
    parts: Sequence[Part],
    *,
    stacked: bool = False,
    notes: Sequence[str] = (),
    x_max: float | None = None,
    aside: bool = False,
) -> Chart:
    """Horizontal bars: stacked parts of a whole, or values side by side; `notes` after each."""
    shown = _Bars(x_title, names, parts, stacked, notes, x_max)
    return Chart(key, title, shown.draw, aside=aside)


@dataclass(frozen=True)
class Gap:
    """A difference with its 95% interval; `clear`: it excludes 0."""

    name: str
    value: float
    low: float
    high: float
    clear: bool


def forest(key: str, title: str, x_title: str, gaps: Sequence[Gap]) -> Chart:
    """Differences as dots with intervals, one below the other, around a line at 0."""
    rows = [
        {
            **{"name": g.name, "value": g.value, "low": g.low, "high": g.high},
            **{"kind": "significant" if g.clear else "not significant", "order": i},
            "tip": f"{g.name} · {g.value:+.1f} ({g.low:+.1f} to {g.high:+.1f})",
            "text": f"{g.value:+.1f} ({g.low:+.1f} to {g.high:+.1f})",
        }
        for i, g in enumerate(gaps)
    ]

    def draw(width: int) -> Picture:
        y = _names("name:N", [g.name for g in gaps], width)
        hues = {"significant": "orange", "not significant": "grey"}
        colour = colours("kind:N", hues, alt.Legend(orient="top", title=None))
        zero = data([{"value": 0}]).mark_rule(color=LIGHT["soft"])
        made = data(rows)
        text = made.mark_text(align="left", dx=6, fontSize=LABEL_SIZE, color=LIGHT["soft"])
        axis = alt.Axis(tickCount=6, format="+.0f")
        low = alt.X("low:Q", title=x_title, axis=axis, scale=alt.Scale(zero=True))
        dot = made.mark_circle(size=60, opacity=1)
        layers = [
            zero.encode(x="value:Q"),
            made.mark_rule(strokeWidth=2).encode(x=low, x2="high:Q", y=y, color=colour),
            dot.encode(x="value:Q", y=y, color=colour, description="tip:N"),
            text.encode(x=alt.value(width), y=y, text="text:N"),
        ]
        return alt.layer(*layers).properties(width=width, height=max(50, 24 * len(gaps)))

    return Chart(key, title, draw)


def histograms(
    key: str,
    title: str,
    x_title: str,
    edges: Sequence[float],
    frames: Sequence[tuple[str, Sequence[Part]]],
    aside: bool = False,
) -> Chart:
    """Stacked counts between edges, a small picture a frame."""
    rows = [
        {
            **{"frame": frame, "part": part.name, "order": order, "count": value},
            **{"from": low, "to": high},
            "tip": f"{frame}, {low:,.0f} to {high - 1:,.0f} tokens · {part.name}: {value:,.0f}",
        }
        for frame, parts in frames
        for order, part in enumerate(parts)
        for (low, high), value in zip(itertools.pairwise(edges), part.values, strict=True)
        if value
    ]
    hues = {part.name: part.hue for part in frames[0][1]}

    def draw(width: int) -> Picture:
        columns = 3 if width >= WIDTH else 2
        colour = colours("part:N", hues, alt.Legend(orient="top", title=None, symbolType="square"))
        few = alt.Axis(tickCount=3, format=",.0f")
        scale = alt.Scale(domain=[edges[0], edges[-1]])
        small = data(rows).mark_bar(orient="vertical")
        small = small.encode(
            x=alt.X("from:Q", title=x_title, axis=few, scale=scale),
            x2="to:Q",
            y=alt.Y("count:Q", title="traces", axis=few, stack="zero"),
            color=colour,
            order="order:Q",
            description="tip:N",
        ).properties(width=width // columns - 22, height=74)
        facet = alt.Facet("frame:N", sort=[name for name, _ in frames], title=None)
        made: alt.FacetChart = small.facet(facet, columns=columns)
        return made

    return Chart(key, title, draw, aside=aside)
