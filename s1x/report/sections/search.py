"""Searches over many traces beside single ones, on one axis of all tokens (paper, section 6.2)."""

from __future__ import annotations

from collections.abc import Iterator

from s1x.curve import Estimate, Point, difference_if_any
from s1x.curve.cells import Cell
from s1x.report import paper
from s1x.report.inputs import Inputs, Series
from s1x.report.lines import Line, Mark, lines, published
from s1x.report.parts import Item, Row, Table, accuracy


def search(inputs: Inputs) -> Iterator[Item]:
    """A chart and a table a benchmark, where a policy has run many traces."""
    for benchmark in inputs.benchmarks:
        shown = [s for s in inputs.on(benchmark) if s.role != "base" and not s.direct]
        if not any(_is_search(point) for s in shown for point in s.curve.points):
            continue
        drawn = [Line(_name(inputs, s), inputs.hue(s), _marks(s)) for s in shown]
        if paper.benchmark_key(benchmark) == "aime24":
            drawn += [published(name, points) for name, points in paper.PARALLEL_AIME24.items()]
        title = "mean tokens of all traces and the scorer (log scale)"
        yield lines(f"search_{benchmark}", benchmark, title, "accuracy (%)", drawn)
        rows = [row for series in shown for row in _rows(inputs, shown, series)]
        note = (
            "“against the majority”: the difference to the majority of as many traces, paired by "
            "problem; a single trace is compared with the majority of one."
        )
        yield Table(f"search_{benchmark}", f"Many traces on {benchmark}", rows, note=note)


def _is_search(point: Point) -> bool:
    return (point.mean_num_traces or 1.0) > (point.mean_num_tries or 1.0)


def _name(inputs: Inputs, series: Series) -> str:
    name, policy = inputs.name(series), series.policy.replace("_", " ")
    return name if policy in name.replace("_", " ") else f"{name}, {policy}"


def _marks(series: Series) -> list[Mark]:
    return [
        Mark(
            point.mean_all_tokens,
            accuracy(point),
            point.setting,
            (
                f"{point.mean_num_traces or 1:,.1f} traces",
                f"{point.mean_generated_tokens or 0:,.0f} tokens generated",
                f"{point.mean_scorer_tokens or 0:,.0f} tokens scored",
            ),
        )
        for point in series.curve.points
    ]


def _rows(inputs: Inputs, shown: list[Series], series: Series) -> Iterator[Row]:
    for cell in series.cells:
        point = series.point(cell)
        yield {
            **{"model": _name(inputs, series), "setting": point.setting},
            "accuracy %": accuracy(point),
            "against the majority": _against_majority(shown, series, cell),
            "all tokens": point.mean_all_tokens,
            "generated tokens": point.mean_generated_tokens,
            "scorer tokens": point.mean_scorer_tokens,
            "traces": point.mean_num_traces,
            "n": point.num_problems,
        }


def _against_majority(shown: list[Series], series: Series, cell: Cell) -> Estimate | None:
    """The paired difference to the majority of as many traces."""
    size = series.settings(cell).get("num_traces", 1)
    for other in shown:
        if other.policy == "majority_vote" and other is not series:
            same = (c for c in other.cells if other.settings(c).get("num_traces") == size)
            if (found := difference_if_any(cell, next(same, None))) is not None:
                return found.gap
    return None
