"""Sequential and parallel scaling on one axis: total tokens per question."""

from __future__ import annotations

from typing import Any

from s1x.curve import SampleCount, sample_counts
from s1x.report import paper
from s1x.report.charts import Chart
from s1x.report.inputs import Inputs, Series
from s1x.report.lines import Line, Mark, lines
from s1x.report.parts import Section, Table, estimate

LEAD = (
    "Thinking longer (sequential: more budget in one trace) against thinking again (parallel: k "
    "samples of the natural setting and a vote), by all tokens per question, answers included. "
    "Every k comes from one set of samples."
)
KINDS = {
    "majority_percent": ("majority of k", "purple"),
    "shortest_majority_percent": ("shortest-majority of k", "cyan"),
    "pass_percent": ("pass@k (any of k is right)", "green"),
}
COLUMNS = {"average %": "average_percent", "majority %": "majority_percent"}
COLUMNS |= {"shortest-majority %": "shortest_majority_percent", "pass@k %": "pass_percent"}


def build(inputs: Inputs) -> Section | None:
    """Charts and a table for every curve with several samples per problem."""
    rows, charts = [], []
    for series in _most_samples(inputs.thinking):
        counts = sample_counts(series.natural)
        rows += [_row(inputs, series, count) for count in counts]
        if series in inputs.tuned and counts:
            charts.append(_chart(inputs, series, counts))
    if not rows:
        return None
    table = Table("samples", "At every k", rows, {"total tokens": 1})
    return Section("parallel", "Sequential and parallel", LEAD, (*charts, table), "Parallel")


def _most_samples(found: tuple[Series, ...]) -> list[Series]:
    """Curves with several samples; of those of one model the one with the most.

    Fewer samples of a problem are the first of the more, so a smaller job shows nothing new.
    """
    most: dict[tuple[object, ...], Series] = {}
    for series in found:
        key = (*series.cells[0].key, series.info.get("model_fingerprint"), series.info.get("seed"))
        count = series.natural.samples_per_problem
        if count > max(1, most[key].natural.samples_per_problem if key in most else 1):
            most[key] = series
    return list(most.values())


def _chart(inputs: Inputs, series: Series, counts: list[SampleCount]) -> Chart:
    sequential = tuple(
        Mark(
            p.mean_total_tokens,
            p.accuracy_percent,
            p.interval_low_percent,
            p.interval_high_percent,
            p.setting,
        )
        for p in series.curve.points
    )
    shown = [Line("sequential", "orange", sequential, labelled=True)]
    for column, (name, hue) in KINDS.items():
        found = [(c, vars(c)[column]) for c in counts]
        marks = tuple(
            Mark(c.mean_total_tokens, e.value, e.low, e.high, f"k = {c.k}") for c, e in found
        )
        shown.append(Line(name, hue, marks, dashed=column == "pass_percent"))
    if paper.benchmark_key(series.benchmark) == "gpqa_diamond":
        marks = tuple(Mark(x, y, label="published") for x, y in paper.MAJORITY_GPQA)
        shown.append(Line("majority, Qwen2.5-32B-Instruct (paper)", "grey", marks, dashed=True))
    return lines(
        f"parallel_{series.benchmark}{inputs.suffix(series)}",
        f"{series.benchmark}, {inputs.name(series)}",
        "total tokens per question (log scale)",
        "accuracy (%)",
        shown,
    )


def _row(inputs: Inputs, series: Series, count: SampleCount) -> dict[str, Any]:
    row = {"benchmark": series.benchmark, "model": inputs.name(series), "k": count.k}
    row["total tokens"] = count.mean_total_tokens
    for name, column in COLUMNS.items():
        row |= estimate(name, vars(count)[column])
    return {**row, "n": count.num_problems}
