"""Sequential and parallel scaling on one axis: total tokens of a question."""

from __future__ import annotations

from s1x.curve import SampleCount, sample_counts
from s1x.report import paper
from s1x.report.charts import Line, Lines, Mark
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Section
from s1x.report.sections.curves import ordered_benchmarks
from s1x.report.tables import Interval, Table

LEAD = (
    "Thinking longer (sequential: more budget in one trace) against thinking again (parallel: k "
    "samples of the natural setting and a vote), by all tokens that a question costs, answers "
    "included. Every k comes from one set of samples."
)
KINDS = (
    ("majority", "majority of k", "c1"),
    ("shortest_majority", "shortest-majority of k", "c4"),
    ("pass", "pass@k (any of k is right)", "c2"),
)
COLUMNS = (
    *("benchmark", "model", "k", "total tokens", "average %"),
    *("majority %", "shortest-majority %", "pass@k %", "n"),
)


def build(inputs: Inputs) -> Section | None:
    """Charts and a table for every curve with several samples a problem."""
    rows, charts = [], []
    for benchmark in ordered_benchmarks(inputs):
        for series in _most_samples(inputs.on(benchmark)):
            counts = sample_counts(series.natural)
            rows += [_row(inputs, series, count) for count in counts]
            if series.role != "base":
                charts.append(_chart(inputs, series, counts))
    if not rows:
        return None
    table = Table("samples", "At every k", COLUMNS, tuple(rows), {"total tokens": 1})
    return Section("parallel", "Sequential and parallel", LEAD, (*charts, table), "Parallel")


def _most_samples(found: list[Series]) -> list[Series]:
    """Thinking curves with several samples; of those of one model the one with the most.

    Fewer samples of a problem are the first of the more, so a smaller job shows nothing new.
    """
    most: dict[tuple[object, ...], Series] = {}
    for series in found:
        key = (*series.cells[0].key, series.info.get("model_fingerprint"), series.info.get("seed"))
        count = series.natural.samples_per_problem
        if series.direct or count < 2:
            continue
        if key not in most or count > most[key].natural.samples_per_problem:
            most[key] = series
    return list(most.values())


def _chart(inputs: Inputs, series: Series, counts: list[SampleCount]) -> Lines:
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
    lines = [Line("sequential", "fine_tuned", sequential, labelled=True)]
    for kind, name, tone in KINDS:
        estimates = [(c, getattr(c, f"{kind}_percent")) for c in counts]
        marks = tuple(
            Mark(c.mean_total_tokens, e.value, e.low, e.high, f"k = {c.k}") for c, e in estimates
        )
        lines.append(Line(name, tone, marks, dashed=kind == "pass"))
    if paper.benchmark_key(series.benchmark) == "gpqa_diamond":
        marks = tuple(Mark(x, y, label="published") for x, y in paper.MAJORITY_GPQA)
        lines.append(Line("majority, Qwen2.5-32B-Instruct (paper)", "grey", marks, dashed=True))
    where = f"_{series.run}" if len(inputs.runs) > 1 else ""
    return Lines(
        f"parallel_{series.benchmark}{where}",
        f"{series.benchmark}, {inputs.name(series)}",
        "total tokens a question (log scale)",
        "accuracy (%)",
        tuple(lines),
    )


def _row(inputs: Inputs, series: Series, count: SampleCount) -> tuple[object, ...]:
    kinds = ("average", "majority", "shortest_majority", "pass")
    estimates = [getattr(count, f"{kind}_percent") for kind in kinds]
    values = [Interval(e.value, e.low, e.high) for e in estimates]
    name = inputs.name(series)
    return (series.benchmark, name, count.k, count.mean_total_tokens, *values, count.num_problems)
