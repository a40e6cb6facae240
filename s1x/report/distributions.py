"""Domain, source and trace length of the pool and of what was chosen from it, as charts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s1x.report.charts import Bars, Line, Lines, Mark, Part

POOL = "pool"
MOST_BARS = 12
OTHER = "other"
UNKNOWN = "unknown"
#: bins of the trace lengths, as parts of a doubling
BINS_PER_DOUBLING = 2


def charts(folders: Mapping[str, Path]) -> list[Bars | Lines]:
    """A chart for each of domain, source and trace length that the selections know.

    Args:
        folders: name → folder of a selection (`chosen.parquet`, `dropped.parquet`). The pool is
            drawn once, as the first of them saw it.
    """
    made: list[Bars | Lines] = []
    for column in ("domain", "source"):
        if values := _values(folders, column):
            made.append(_shares(column, values))
    if values := _values(folders, "trace_tokens"):
        made += _lengths(values)
    return made


def _values(folders: Mapping[str, Path], column: str) -> dict[str, list[Any]]:
    """Set name → values, the pool's first; empty where the column or the files are missing."""
    found: dict[str, list[Any]] = {}
    for name, folder in folders.items():
        chosen, dropped = (_column(folder / f"{n}.parquet", column) for n in ("chosen", "dropped"))
        if chosen is None or dropped is None:
            return {}
        found.setdefault(POOL, chosen + dropped)
        found[name] = chosen
    return found


def _column(file: Path, column: str) -> list[Any] | None:
    import pyarrow.parquet as pq

    if not file.is_file() or column not in pq.ParquetFile(file).schema_arrow.names:
        return None
    values: list[Any] = pq.read_table(file, columns=[column]).column(column).to_pylist()
    return values


def _colour(name: str, index: int, count: int) -> str:
    if name == POOL:
        return "grey"
    return "fine_tuned" if count == 2 else f"c{(index - 1) % 8}"


def _shares(column: str, values: Mapping[str, list[Any]]) -> Bars:
    """Share of rows by value, the pool's most frequent first."""
    shown = [value for value, _ in Counter(values[POOL]).most_common(MOST_BARS)]
    known = set(shown)
    more = any(value not in known for all_ in values.values() for value in all_)
    parts = []
    for index, (name, all_) in enumerate(values.items()):
        counts = Counter(value if value in known else OTHER for value in all_)
        bars = [*shown, *([OTHER] if more else [])]
        shares = tuple(100.0 * counts[bar] / max(1, len(all_)) for bar in bars)
        parts.append(Part(name, _colour(name, index, len(values)), shares))
    names = [UNKNOWN if value is None else str(value) for value in shown]
    return Bars(
        f"chosen_{column}",
        f"Rows by {column}, before and after",
        "% of rows",
        (*names, *([OTHER] if more else [])),
        tuple(parts),
    )


def _lengths(values: Mapping[str, list[Any]]) -> list[Lines]:
    """Share of rows by trace length, in bins of half a doubling."""
    known = {name: [v for v in all_ if v] for name, all_ in values.items()}
    if not all(known.values()):
        return []
    bins = {name: Counter(_bin(v) for v in all_) for name, all_ in known.items()}
    low, high = (f(f(counts) for counts in bins.values()) for f in (min, max))
    lines = []
    for index, (name, counts) in enumerate(bins.items()):
        marks = []
        for number in range(low, high + 1):
            edges = [2 ** ((number + k) / BINS_PER_DOUBLING) for k in (0, 1)]
            words = f"{edges[0]:,.0f} to {edges[1]:,.0f} tokens"
            share = 100.0 * counts[number] / len(known[name])
            marks.append(Mark(math.sqrt(edges[0] * edges[1]), share, label=words, details=(words,)))
        tone = _colour(name, index, len(bins))
        lines.append(Line(name, tone, tuple(marks), dashed=name == POOL))
    return [
        Lines(
            "chosen_trace_tokens",
            "Rows by length of the reasoning trace, before and after",
            "tokens of the trace (log scale)",
            "% of rows",
            tuple(lines),
        )
    ]


def _bin(tokens: float) -> int:
    return math.floor(math.log2(tokens) * BINS_PER_DOUBLING)
