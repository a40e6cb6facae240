"""The published weights measured again: the paper's figure, ours with its interval, a verdict."""

from __future__ import annotations

from collections.abc import Iterator

from s1x.curve import Estimate
from s1x.report import paper
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Item, Row, Table, accuracy

#: name of the experiment whose report has the table even before any of its models was run
EXPERIMENT = "paper"
AGREES, DIFFERS, NOT_MEASURED = "agrees", "differs", "not measured"


def reproduction(inputs: Inputs) -> Iterator[Item]:
    """A row for each figure of the models that were run; of all of them in a rehearsal."""
    found = {(s.cells[0].model, s.direct, s.benchmark): s for s in _published_weights(inputs)}
    if not found and inputs.context.get("name") != EXPERIMENT:
        return
    models = {model for model, _, _ in found}
    rows: list[Row] = []
    for figure in paper.FIGURES:
        if models and figure.model not in models:
            continue
        for benchmark, percent in figure.percent.items():
            series = found.get((figure.model, figure.setting is None, benchmark))
            rows.append(_row(figure, benchmark, percent, series))
    measured = [row for row in rows if row["verdict"] != NOT_MEASURED]
    agreeing = [row for row in measured if row["verdict"] == AGREES]
    if measured:
        yield f"{len(agreeing)} of {len(measured)} figures measured agree with the paper."
    else:
        yield "None of the paper's models was run: a rehearsal. These are the figures to compare."
    note = (
        f"“{AGREES}”: the paper's figure, which is one greedy run, lies in our 95% interval. "
        "n below the benchmark's size means that part of it was asked."
    )
    strong = [i for i, row in enumerate(rows) if row["verdict"] == DIFFERS]
    yield Table("reproduction", "The paper and this run", rows, strong, note, folded=False)


def _published_weights(inputs: Inputs) -> Iterator[Series]:
    """Curves of the paper's models as published, on its benchmarks, the first of each last."""
    names = {figure.model for figure in paper.FIGURES}
    for series in reversed(inputs.series):
        as_published = series.role == "base" and series.cells[0].model in names
        if as_published and series.benchmark in paper.CURVES:
            yield series


def _row(figure: paper.Figure, benchmark: str, percent: float, series: Series | None) -> Row:
    cell = series.cell(figure.setting) if series and figure.setting else None
    if series and figure.setting is None:
        cell = series.cells[0]
    point = series.point(cell) if series and cell else None
    ours = accuracy(point)
    return {
        "model": figure.name,
        "benchmark": benchmark,
        "paper %": percent,
        "ours %": ours,
        "verdict": _verdict(percent, ours),
        "thinking tokens": point.mean_thinking_tokens if point else None,
        "n": point.num_problems if point else None,
    }


def _verdict(percent: float, ours: Estimate) -> str:
    if ours.low is None or ours.high is None:
        return NOT_MEASURED
    return AGREES if ours.low <= percent <= ours.high else DIFFERS
