"""The drawer: one specification in altair gives the page's inline SVG and the files for papers.

A section says what is shown (lines over tokens, bars, differences, histograms); here and in
`assets/look.yaml` stands how it looks. What a pointer should say of a mark is its `tip`, which
becomes the mark's aria-label in the SVG.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import vl_convert
import yaml

from s1x.curve import Estimate

LOOK = yaml.safe_load(Path(__file__).with_name("assets").joinpath("look.yaml").read_text("utf-8"))
#: hue → its colour on light and on dark ground
PALETTE: Mapping[str, tuple[str, str]] = LOOK["palette"]
LIGHT = {hue: light for hue, (light, _) in PALETTE.items()}
HUE_OF = {light: hue for hue, light in LIGHT.items()}
#: one for each run of a report
RUN_HUES = ("orange", "purple", "green", "ochre", "cyan", "pink", "olive", "slate")

#: width of the drawing area in pixels: on a page, and of a picture that opens one (desk, phone)
WIDTH, WIDE, NARROW = 400, 940, 290
PNG_SCALE = 1.8
LABEL_SIZE = 11

Picture = alt.LayerChart | alt.FacetChart
Datum = Mapping[str, str | float | None]


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
        width = width or self.width
        look = LOOK["charts"]
        look = look | {"legend": {**look["legend"], "labelLimit": width * 0.9}}
        look = look | {"title": {**look["title"], "limit": width + 40}}
        made = self.draw(width).properties(title=self.title).configure(**look)
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


def data(rows: Sequence[Datum]) -> alt.Chart:
    """A chart over rows that stand in its specification."""
    made: alt.Chart = alt.Chart(alt.Data(values=list(rows)))  # type: ignore[no-untyped-call]
    return made


def note(chart: alt.Chart, dx: int) -> alt.Chart:
    """Soft words to the right of a place."""
    made: alt.Chart = chart.mark_text(align="left", dx=dx, fontSize=LABEL_SIZE, color=LIGHT["soft"])
    return made


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
    """One colour of a bar chart: a value a bar, with its interval where that is known."""

    name: str
    hue: str
    values: Sequence[Estimate]

    @classmethod
    def of(cls, name: str, hue: str, values: Sequence[float]) -> Part:
        """A part of plain numbers."""
        return cls(name, hue, [Estimate(float(value)) for value in values])


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
    digits = 1 if x_max or "%" in x_title else 0
    rows: list[Datum] = [
        {
            **{"bar": name, "part": part.name, "order": order},
            **{"value": found.value, "l": found.low, "h": found.high},
            "tip": f"{name}: {part.name} · {found.value:,.{digits}f}",
        }
        for order, part in enumerate(parts)
        for name, found in zip(names, part.values, strict=True)
        if found.value is not None
    ]
    noted: list[Datum] = [
        {"bar": names[i], "value": sum(p.values[i].value or 0.0 for p in parts), "note": said}
        for i, said in enumerate(notes)
    ]

    def draw(width: int) -> Picture:
        scale = alt.Scale(domain=[0, x_max]) if x_max else alt.Scale(zero=True)
        axis = alt.Axis(tickCount=5, format=",.0f")
        x = alt.X("value:Q", title=x_title, scale=scale, axis=axis, stack=stacked or None)
        y = _names("bar:N", names, width)
        lane = alt.Undefined if stacked else alt.YOffset("part:N", sort=[p.name for p in parts])
        legend = alt.Legend(orient="top", title=None, symbolType="square", columns=4)
        colour = colours("part:N", {part.name: part.hue for part in parts}, legend)
        filled = data(rows).mark_bar().encode(x=x, y=y, yOffset=lane, color=colour)
        layers = [filled.encode(order="order:Q", description="tip:N")]
        if spans := [row for row in rows if row["l"] is not None]:
            rule = data(spans).mark_rule(color=LIGHT["ink"]).encode(y=y, yOffset=lane)
            layers.append(rule.encode(x=alt.X("l:Q", title=x_title), x2="h:Q"))
        layers.append(note(data(noted), 5).encode(x=x, y=y, text="note:N"))
        tall = 22 if stacked else max(22, 14 * len(parts))
        return alt.layer(*layers).properties(width=width, height=max(40, tall * len(names)))

    return Chart(key, title, draw, aside=aside)


def forest(key: str, title: str, x_title: str, gaps: Sequence[tuple[str, Estimate, bool]]) -> Chart:
    """Differences as dots with intervals, one below the other, around a line at 0.

    Args:
        gaps: name, difference, and whether it is significant.
    """
    rows: list[Datum] = []
    for name, gap, clear in gaps:
        text = f"{gap.value:+.1f} ({gap.low:+.1f} to {gap.high:+.1f})"
        kind = "significant" if clear else "not significant"
        numbers = {"value": gap.value, "low": gap.low, "high": gap.high}
        rows.append(
            {"name": name, "kind": kind, "text": text, "tip": f"{name} · {text}", **numbers}
        )

    def draw(width: int) -> Picture:
        y = _names("name:N", [name for name, _, _ in gaps], width)
        hues = {"significant": "orange", "not significant": "grey"}
        colour = colours("kind:N", hues, alt.Legend(orient="top", title=None))
        axis = alt.Axis(tickCount=6, format="+.0f")
        low = alt.X("low:Q", title=x_title, axis=axis, scale=alt.Scale(zero=True))
        zero = data([{"value": 0}]).mark_rule(color=LIGHT["soft"])
        made = data(rows).encode(y=y)
        dot = made.mark_circle(size=60, opacity=1)
        layers = [
            zero.encode(x="value:Q"),
            made.mark_rule(strokeWidth=2).encode(x=low, x2="high:Q", color=colour),
            dot.encode(x="value:Q", color=colour, description="tip:N"),
            note(made, 6).encode(x=alt.value(width), text="text:N"),
        ]
        return alt.layer(*layers).properties(width=width, height=max(50, 24 * len(gaps)))

    return Chart(key, title, draw)


def histograms(
    key: str,
    title: str,
    x_title: str,
    edges: Sequence[float],
    frames: Mapping[str, Mapping[str, Sequence[int]]],
    hues: Mapping[str, str],
    aside: bool = False,
) -> Chart:
    """Stacked counts between edges, a small picture a frame (frame → part → counts)."""
    rows: list[Datum] = [
        {
            **{"frame": frame, "part": part, "order": order, "count": int(count)},
            **{"from": low, "to": high},
            "tip": f"{frame}, {low:,.0f} to {high - 1:,.0f} tokens · {part}: {count:,.0f}",
        }
        for frame, parts in frames.items()
        for order, (part, counts) in enumerate(parts.items())
        for (low, high), count in zip(itertools.pairwise(edges), counts, strict=True)
        if count
    ]

    def draw(width: int) -> Picture:
        columns = 3 if width >= WIDTH else 2
        few = alt.Axis(tickCount=3, format=",.0f")
        scale = alt.Scale(domain=[edges[0], edges[-1]])
        legend = alt.Legend(orient="top", title=None, symbolType="square")
        small = (
            data(rows)
            .mark_bar(orient="vertical")
            .encode(
                x=alt.X("from:Q", title=x_title, axis=few, scale=scale),
                x2="to:Q",
                y=alt.Y("count:Q", title="traces", axis=few, stack="zero"),
                color=colours("part:N", hues, legend),
                order="order:Q",
                description="tip:N",
            )
        )
        facet = alt.Facet("frame:N", sort=list(frames), title=None)
        sized = small.properties(width=width // columns - 22, height=74)
        made: alt.FacetChart = sized.facet(facet, columns=columns)
        return made

    return Chart(key, title, draw, aside=aside)
