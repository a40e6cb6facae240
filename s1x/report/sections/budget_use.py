"""Where the budget goes: how long traces get at each setting and how their thinking ended."""

from __future__ import annotations

from s1x.curve import Cell
from s1x.report.charts import Bars, Frames, Histogram, Part
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Section
from s1x.report.sections.curves import ordered_benchmarks
from s1x.rows import CUT, NATURAL, TRUNCATED

LEAD = (
    "Natural: the model ended its thinking itself. Cut: the limit of the budget ended it. "
    "Truncated: the context was full. Choose a setting to see the lengths of its traces."
)
ENDS = (NATURAL, CUT, TRUNCATED)
MOST_BINS = 30


def build(inputs: Inputs) -> Section | None:
    """Shares and lengths of the first thinking curve of each benchmark."""
    items: list[Bars | Frames] = []
    for benchmark in ordered_benchmarks(inputs):
        found = [s for s in inputs.on(benchmark) if not s.direct]
        if found:
            items += [_shares(inputs, found[0]), _lengths(inputs, found[0])]
    return (
        Section("budget", "Where the budget goes", LEAD, tuple(items), "Budget") if items else None
    )


def _shares(inputs: Inputs, series: Series) -> Bars:
    points = series.curve.points
    shares = [tuple(getattr(p, f"{end}_percent") for p in points) for end in ENDS]
    return Bars(
        f"ends_{series.benchmark}",
        f"{series.benchmark}, {inputs.name(series)}: how thinking ended",
        "% of traces",
        tuple(p.setting for p in points),
        tuple(Part(end, end, share) for end, share in zip(ENDS, shares, strict=True)),
        stacked=True,
        notes=tuple(f"{p.mean_thinking_tokens:,.0f} tokens" for p in points),
        x_max=100.0,
    )


def _lengths(inputs: Inputs, series: Series) -> Frames:
    longest = max(int(cell.thinking_tokens.max(initial=0)) for cell in series.cells)
    width = max(1, -(-(longest + 1) // MOST_BINS))
    edges = tuple(float(e) for e in range(0, longest + width + 1, width))
    frames = tuple((c.setting, _histogram(series, c, edges)) for c in series.cells)
    title = f"{series.benchmark}, {inputs.name(series)}: thinking lengths"
    first = next(i for i, cell in enumerate(series.cells) if cell is series.natural)
    return Frames(f"lengths_{series.benchmark}", title, "setting", frames, first)


def _histogram(series: Series, cell: Cell, edges: tuple[float, ...]) -> Histogram:
    import numpy as np

    ends = np.array([end or "" for end in cell.end_reason])
    parts = []
    for end in ENDS:
        counts, _ = np.histogram(cell.thinking_tokens[ends == end], bins=edges)
        parts.append(Part(end, end, tuple(float(c) for c in counts)))
    key = f"lengths_{series.benchmark}_{cell.point}"
    return Histogram(key, cell.setting, "thinking tokens", "traces", edges, tuple(parts))
