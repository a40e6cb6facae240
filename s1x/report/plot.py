"""Figures for papers: every chart as PNG and SVG, drawn by matplotlib."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x.report.charts import Bars, Chart, Forest, Frames, Histogram, Line, Lines, Part
from s1x.report.parts import file_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "fine_tuned": "#d9480f",
    "base": "#3b6fb6",
    "grey": "#9a9a9a",
    "natural": "#2f9e77",
    "cut": "#e8a33d",
    "truncated": "#b23a48",
    "stayed_right": "#2f9e77",
    "wrong_to_right": "#8fd0b5",
    "right_to_wrong": "#e2818b",
    "stayed_wrong": "#c9ccd1",
    "kept": "#3b6fb6",
    "dropped": "#d5dae1",
    **{
        f"c{i}": tone
        for i, tone in enumerate(
            ("#d9480f", "#7b4fb5", "#2f9e77", "#b08900", "#0b7fab", "#c2255c", "#5c7a29", "#495057")
        )
    },
}
DOTS_PER_INCH = 200
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "s1x",
    "svg.fonttype": "none",
}


def save(charts: list[Chart], folder: Path) -> list[Path]:
    """Writes `<key>.png` and `<key>.svg` of each chart into the folder; returns the paths."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with matplotlib.rc_context(STYLE):
        for chart in charts:
            figure = Figure(figsize=_size(chart), layout="constrained")
            FigureCanvasAgg(figure)
            _draw(figure, chart)
            for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
                path = folder / f"{file_name(chart.key)}.{ending}"
                figure.savefig(path, dpi=DOTS_PER_INCH, metadata=metadata)
                figure.set_layout_engine(None)  # the second file needs no second layout
                written.append(path)
    return written


def _size(chart: Chart) -> tuple[float, float]:
    if isinstance(chart, Frames):
        return 7.2, 1.9 * math.ceil(len(chart.frames) / 3) + 0.4
    if isinstance(chart, Bars):
        lanes = 1 if chart.stacked else max(1, len(chart.parts) * 0.6)
        return 6.4, 1.1 + 0.34 * len(chart.bars) * lanes
    if isinstance(chart, Forest):
        return 6.4, 1.0 + 0.26 * len(chart.gaps)
    return 5.6, 3.7


def _draw(figure: Any, chart: Chart) -> None:
    if isinstance(chart, Frames):
        columns = min(3, len(chart.frames))
        rows = math.ceil(len(chart.frames) / columns)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, (name, frame) in zip(axes, chart.frames, strict=False):
            assert isinstance(frame, Histogram)
            _histogram(ax, frame, name, legend=ax is axes[0])
        for ax in axes[len(chart.frames) :]:
            ax.set_visible(False)
        figure.suptitle(chart.title, fontsize=10)
        return
    ax = figure.subplots()
    if isinstance(chart, Lines):
        _lines(ax, chart)
    elif isinstance(chart, Bars):
        _bars(ax, chart)
    elif isinstance(chart, Forest):
        _forest(ax, chart)
    else:
        _histogram(ax, chart, chart.title, legend=True)


def _lines(ax: Axes, chart: Lines) -> None:
    for level in chart.levels:
        ax.axhline(level.y, color=COLOURS[level.colour], lw=1, ls=":", label=level.name)
        if level.low is not None and level.high is not None:
            ax.axhspan(level.low, level.high, color=COLOURS[level.colour], alpha=0.08, lw=0)
    for line in chart.lines:
        _line(ax, line)
    if chart.x_log2:
        _log2_axis(ax, chart)
    ax.set_ylim(bottom=0)
    ax.set(xlabel=chart.x_label, ylabel=chart.y_label)
    ax.set_title(chart.title, loc="left")
    ax.margins(y=0.12)
    ax.legend(loc="best")


def _line(ax: Axes, line: Line) -> None:
    import numpy as np

    marks = sorted((m for m in line.marks if m.x and m.y is not None), key=lambda m: m.x or 0.0)
    table = np.array([(m.x, m.y, m.low, m.high) for m in marks], np.float64).reshape(-1, 4)
    x, y, low, high = table.T  # an interval that is not known is NaN and not drawn
    grey, tone = line.colour == "grey", COLOURS[line.colour]
    ax.plot(
        x,
        y,
        color=tone,
        ls="--" if line.dashed else "-",
        marker="o",
        ms=3 if grey else 4,
        lw=1.2 if grey else 1.7,
        label=shortened(line.name, 60),
        zorder=1 if grey else 3,
    )
    if len(table) > 1:
        ax.fill_between(x, low, high, color=tone, alpha=0.13, lw=0)
    elif np.isfinite(table).all():
        ax.errorbar(x, y, [y - low, high - y], color=tone, capsize=3)
    if line.labelled:
        _labels(ax, [(m.x, m.y, m.label) for m in marks])


def _labels(ax: Axes, marks: list[tuple[Any, Any, str]]) -> None:
    """Labels above their points, left out where they would run into another.

    The natural length and the last point come first: they are what the others are read against.
    """
    placed: list[tuple[float, float]] = []
    for mark in sorted(marks, key=lambda m: (m[2] != "natural", m is not marks[-1])):
        x, y, label = mark
        place = (math.log2(x), y)
        if any(abs(place[0] - a) < 0.45 and abs(place[1] - b) < 6 for a, b in placed):
            continue
        ax.annotate(
            label,
            (x, y),
            textcoords="offset points",
            xytext=(-5, 5),
            ha="right",
            fontsize=7,
            color="#444444",
        )
        placed.append(place)


def _log2_axis(ax: Axes, chart: Lines) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    xs = [m.x for line in chart.lines for m in line.marks if m.x]
    if not xs:
        return
    low, high = math.floor(math.log2(min(xs))), math.ceil(math.log2(max(xs)))
    # octaves, as many as there is room for; half octaves where the points lie close together
    step = 0.5 if max(xs) < 4 * min(xs) else max(1, math.ceil((high - low) / 9))
    ticks = [2.0 ** (low + i * step) for i in range(int((high - low) / step) + 1)]
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.set_xlim(min(xs) / 1.45, max(xs) * 1.25)


def _bars(ax: Axes, chart: Bars) -> None:
    size = len(chart.bars)
    lanes = 1 if chart.stacked else len(chart.parts)
    left = [0.0] * size
    for index, part in enumerate(chart.parts):
        lane = 0 if chart.stacked else index - (lanes - 1) / 2
        at = [i + 0.8 / lanes * lane for i in range(size)]
        values = [v or 0.0 for v in part.values]
        tone = COLOURS[part.colour]
        start = list(left) if chart.stacked else [0.0] * size
        ax.barh(at, values, 0.72 / lanes, left=start, color=tone, label=part.name)
        if chart.stacked:
            left = [a + b for a, b in zip(left, values, strict=True)]
        _whiskers(ax, at, part)
        if not chart.stacked and chart.x_max == 100:
            _values(ax, at, part)
    for i, note in enumerate(chart.notes):
        ax.annotate(
            note,
            (left[i], i),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color="#444444",
        )
    ax.set_yticks(range(size), [shortened(bar) for bar in chart.bars])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    top = chart.x_max or max([*left, *(v or 0.0 for p in chart.parts for v in p.values)], default=1)
    room = 1.22 if chart.notes else (1.02 if chart.stacked else 1.08)
    ax.set_xlim(0, (top or 1) * room)
    if chart.x_max == 100:
        ax.set_xticks(range(0, 101, 20))
    else:
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.set_xlabel(chart.x_label)
    ax.set_title(chart.title, loc="left", pad=22)
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=5, borderaxespad=0.1)


def _values(ax: Axes, at: list[float], part: Part) -> None:
    highs = part.highs or (None,) * len(part.values)
    for y, value, high in zip(at, part.values, highs, strict=True):
        if value is not None:
            place = (max(value, high or 0.0), y)
            style: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 6.5}
            ax.annotate(f"{value:.1f}", place, xytext=(3, 0), color="#444444", **style)


def _whiskers(ax: Axes, at: list[float], part: Part) -> None:
    for i, (low, high) in enumerate(zip(part.lows, part.highs, strict=False)):
        if low is not None and high is not None:
            ax.plot([low, high], [at[i], at[i]], color="#333333", lw=1)


def _forest(ax: Axes, chart: Forest) -> None:
    ax.axvline(0, color="#333333", lw=1)
    for y, gap in enumerate(chart.gaps):
        tone = COLOURS["fine_tuned" if gap.clear else "grey"]
        ax.plot([gap.low, gap.high], [y, y], color=tone, lw=1.7)
        ax.plot(gap.value, y, "o", color=tone, ms=5)
        ax.annotate(
            f"{gap.value:+.1f}",
            (gap.value, y),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            color="#444444",
        )
    ax.set_yticks(range(len(chart.gaps)), [shortened(gap.name) for gap in chart.gaps])
    ax.set_ylim(len(chart.gaps) - 0.5, -0.7)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(chart.x_label)
    ax.set_title(chart.title, loc="right")  # from the right: names leave little room


def shortened(text: str, most: int = 54) -> str:
    """A name that leaves room for the picture."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _histogram(ax: Axes, chart: Histogram, title: str, legend: bool) -> None:
    edges = chart.edges
    bottom = [0.0] * (len(edges) - 1)
    for part in chart.parts:
        values = [v or 0.0 for v in part.values]
        top = [a + b for a, b in zip(bottom, values, strict=True)]
        if any(values) or legend:
            tone = COLOURS[part.colour]
            ax.stairs(top, edges, baseline=bottom, fill=True, color=tone, label=part.name)
        bottom = top
    ax.set_ylim(bottom=0)
    ax.set_title(title, loc="left", fontsize=8)
    ax.tick_params(labelsize=7)
    ax.set_xlabel(chart.x_label, fontsize=7)
    if legend:
        ax.legend(fontsize=6)
