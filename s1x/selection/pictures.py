"""The funnel and the distributions before and after, as PNG."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s1x.selection.table import Numbers, PoolTable

BEFORE, AFTER = "#b8c4d6", "#d1495b"
MAX_BARS = 25


def draw(table: PoolTable, numbers: Numbers, summary: dict[str, Any], folder: Path) -> None:
    """Writes funnel.png, and domains.png, sources.png, trace_tokens.png as far as the pool knows
    them."""
    _funnel(summary["steps"], folder / "funnel.png")
    for column, name in (("domain", "domains"), ("source", "sources")):
        if column in table.names:
            _shares(table.column(column), numbers, column, folder / f"{name}.png")
    if "trace_tokens" in table.names:
        _lengths(table.column("trace_tokens"), numbers, folder / "trace_tokens.png")


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _funnel(steps: list[dict[str, Any]], path: Path) -> None:
    figure, axes = _figure(7.5, 0.42 * len(steps) + 0.9)
    names = [step["step"] for step in steps]
    axes.barh(
        range(len(steps)), [max(step["rows_in"], 1) for step in steps], color=BEFORE, label="in"
    )
    axes.barh(
        range(len(steps)), [max(step["rows_out"], 1) for step in steps], color=AFTER, label="out"
    )
    for place, step in enumerate(steps):
        axes.text(max(step["rows_in"], 1), place, f" {step['rows_out']:,}", va="center", fontsize=8)
    axes.set_yticks(range(len(steps)), names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(left=1, right=max(step["rows_in"] for step in steps) * 4)
    axes.set_xlabel("rows (log scale)")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(path)


def _shares(column: Any, numbers: Numbers, name: str, path: Path) -> None:
    import pyarrow as pa

    before = Counter(column.to_pylist())
    after = Counter(column.take(pa.array(numbers)).to_pylist())
    shown = [value for value, _ in before.most_common(MAX_BARS)]
    figure, axes = _figure(7.5, 0.3 * len(shown) + 1.1)
    total = (sum(before.values()), max(sum(after.values()), 1))
    for offset, counts, size, colour, label in (
        (-0.2, before, total[0], BEFORE, "pool"),
        (0.2, after, total[1], AFTER, "chosen"),
    ):
        places = [place + offset for place in range(len(shown))]
        axes.barh(places, [100 * counts[v] / size for v in shown], 0.4, color=colour, label=label)
    labels = ["unknown" if value is None else str(value)[:48] for value in shown]
    axes.set_yticks(range(len(shown)), [label.replace("$", r"\$") for label in labels], fontsize=8)
    axes.invert_yaxis()
    more = f" (the {MAX_BARS} largest of {len(before)})" if len(before) > MAX_BARS else ""
    axes.set_xlabel(f"% of rows by {name}{more}")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path)


def _lengths(column: Any, numbers: Numbers, path: Path) -> None:
    import numpy as np
    import pyarrow as pa

    before = column.drop_null().to_numpy()
    after = column.take(pa.array(numbers)).drop_null().to_numpy()
    if not before.size:
        return
    figure, axes = _figure(7.5, 3.2)
    bins = np.geomspace(max(before.min(), 1), before.max() + 1, 40)
    for values, colour, label in ((before, BEFORE, "pool"), (after, AFTER, "chosen")):
        if values.size:
            weights = np.full(values.size, 100 / values.size)
            axes.hist(values, bins, weights=weights, color=colour, alpha=0.75, label=label)
    axes.set_xscale("log")
    axes.set_xlabel("tokens of the reasoning trace (log scale)")
    axes.set_ylabel("% of rows")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path)
