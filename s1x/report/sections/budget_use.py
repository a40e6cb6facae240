"""Where the budget goes: how long traces get at each setting and how their thinking ended."""

from __future__ import annotations

import numpy as np

from s1x.curve import Cell
from s1x.report.charts import Chart, Part, bars, histograms
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Section
from s1x.rows import CUT, NATURAL, TRUNCATED

LEAD = (
    "Natural: the model ended its thinking itself. Cut: the limit of the budget ended it. "
    "Truncated: the context was full."
)
ENDS = {NATURAL: "green", CUT: "amber", TRUNCATED: "red"}
MOST_BINS = 30


def build(inputs: Inputs) -> Section | None:
    """Shares and lengths of the first thinking curve of each benchmark; the page shows one."""
    first = {series.benchmark: series for series in reversed(inputs.thinking)}
    shown = [first[name] for name in inputs.benchmarks if name in first]
    if not shown:
        return None
    items = [make(inputs, s, s is not shown[0]) for s in shown for make in (_shares, _lengths)]
    return Section("budget", "Where the budget goes", LEAD, tuple(items), "Budget")


def _shares(inputs: Inputs, series: Series, aside: bool) -> Chart:
    points = [vars(point) for point in series.curve.points]
    parts = [
        Part(end, hue, tuple(point[f"{end}_percent"] for point in points))
        for end, hue in ENDS.items()
    ]
    return bars(
        f"ends_{series.benchmark}",
        f"{series.benchmark}, {inputs.name(series)}: how thinking ended",
        "% of traces",
        [p.setting for p in series.curve.points],
        parts,
        stacked=True,
        notes=[f"{p.mean_thinking_tokens:,.0f} tokens" for p in series.curve.points],
        x_max=100.0,
        aside=aside,
    )


def _lengths(inputs: Inputs, series: Series, aside: bool) -> Chart:
    longest = max(int(cell.thinking_tokens.max()) for cell in series.cells)
    width = max(1, -(-(longest + 1) // MOST_BINS))
    edges = [float(edge) for edge in range(0, longest + width + 1, width)]
    title = f"{series.benchmark}, {inputs.name(series)}: thinking lengths"
    frames = [(cell.setting, _counts(cell, edges)) for cell in series.cells]
    key = f"lengths_{series.benchmark}"
    return histograms(key, title, "thinking tokens", edges, frames, aside)


def _counts(cell: Cell, edges: list[float]) -> list[Part]:
    ended = np.array([end or "" for end in cell.end_reason])
    counts = {end: np.histogram(cell.thinking_tokens[ended == end], bins=edges)[0] for end in ENDS}
    return [Part(end, hue, tuple(map(float, counts[end]))) for end, hue in ENDS.items()]
