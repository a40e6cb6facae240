"""The funnel and the distributions before and after, as PNG."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s1x.selection.table import Numbers, PoolTable

BEFORE, AFTER = "#b8c4d6", "#d1495b"
MAX_BARS = 25
LONGEST_LABEL = 48


def draw(table: PoolTable, numbers: Numbers, summary: dict[str, Any], folder: Path) -> None:
    """Writes funnel.png, and domains.png, sources.png, trace_tokens.png as far as the pool has
    them."""
    _funnel(summary["steps"], folder / "funnel.png")
    for column, name in (("domain", "domains"), ("source", "sources")):
        if column in table.names:
            _shares(table.column(column), numbers, column, folder / f"{name}.png")
    if "reasoning_trace" in table.schema.names:
        _lengths(table, numbers, folder / "trace_tokens.png")


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
        gone = step["rows_in"] - step["rows_out"]
        text = f" {step['rows_out']:,}" + (f"  (−{gone:,})" if gone else "")
        axes.text(max(step["rows_in"], 1), place, text, va="center", fontsize=8)
    axes.set_yticks(range(len(steps)), names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(left=1, right=max(step["rows_in"] for step in steps) * 8)
    axes.set_xlabel("rows that go into a step and come out of it (log scale)")
    _legend(axes)
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
    labels = ["unknown" if value is None else _short(str(value)) for value in shown]
    axes.set_yticks(range(len(shown)), [label.replace("$", r"\$") for label in labels], fontsize=8)
    axes.invert_yaxis()
    more = f" (the {MAX_BARS} largest of {len(before)})" if len(before) > MAX_BARS else ""
    axes.set_xlabel(f"% of rows by {name}{more}")
    _legend(axes)
    figure.savefig(path)


def _short(label: str) -> str:
    """Long names cut in their middle: those of one place differ at the end."""
    return label if len(label) <= LONGEST_LABEL else f"{label[:16]}…{label[17 - LONGEST_LABEL :]}"


def _legend(axes: Any) -> None:
    """Above the bars, where it hides none."""
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))


def _lengths(table: PoolTable, numbers: Numbers, path: Path) -> None:
    import numpy as np
    import pyarrow as pa
    from matplotlib.ticker import StrMethodFormatter

    column, unit = _trace_lengths(table)
    before = column.drop_null().to_numpy()
    after = column.take(pa.array(numbers)).drop_null().to_numpy()
    if not before.size:
        return
    figure, axes = _figure(7.5, 3.2)
    bins = np.unique(np.geomspace(max(before.min(), 1), before.max() + 1, 40).round())
    for values, colour, label in ((before, BEFORE, "pool"), (after, AFTER, "chosen")):
        if values.size:
            weights = np.full(values.size, 100 / values.size)
            axes.hist(values, bins, weights=weights, color=colour, alpha=0.75, label=label)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel(f"{unit} of the reasoning trace (log scale)")
    axes.set_ylabel("% of rows")
    _legend(axes)
    figure.savefig(path)


def _trace_lengths(table: PoolTable) -> tuple[Any, str]:
    """Each row's trace length and its unit: tokens where the whole pool's are known, for which a
    selection alone counts no trace; else characters."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if "trace_tokens" in table.names:
        tokens = table.column("trace_tokens")
        if tokens.null_count <= table.null_count("reasoning_trace"):
            return tokens, "tokens"
    traces = (batch.column(0) for _, batch in table.scan(["reasoning_trace"]))
    return pa.chunked_array(pc.utf8_length(t) for t in traces).combine_chunks(), "characters"
