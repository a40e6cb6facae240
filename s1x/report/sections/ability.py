"""Control, Scaling and Performance (paper, section 3.2), beside the paper's Table 3."""

from __future__ import annotations

from s1x.report import paper
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Section
from s1x.report.tables import Interval, Table

LEAD = (
    "Control: percent of the points with a limit whose mean thinking tokens keep it. Performance: "
    "the best accuracy of any point, which is likely to be a lucky one; its interval allows for "
    "the choice. "
    "Scaling: mean slope over all pairs of points, in points of accuracy per doubling of thinking "
    "tokens (the unit of the paper's Table 3) and per 1,000 tokens."
)
COLUMNS = (
    *("benchmark", "model", "policy", "control %", "performance %"),
    *("scaling per doubling", "scaling per 1,000 tokens", "points", "n"),
)


def build(inputs: Inputs) -> Section | None:
    """Our table and the paper's."""
    thinking = [s for b in inputs.benchmarks for s in inputs.on(b) if not s.direct]
    if not thinking:
        return None
    ours = Table(
        "metrics",
        "Ours, with 95% intervals",
        COLUMNS,
        tuple(_row(inputs, series) for series in thinking),
        strong=frozenset(i for i, s in enumerate(thinking) if s is inputs.main),
    )
    return Section(
        "metrics", "Control, scaling, performance", LEAD, (ours, _papers(thinking)), "Metrics"
    )


def _row(inputs: Inputs, series: Series) -> tuple[object, ...]:
    curve = series.curve
    best, doubling = curve.performance_percent, curve.scaling_per_doubling
    thousand = curve.scaling_per_thousand_tokens
    return (
        *(series.benchmark, inputs.name(series), series.policy.replace("_", " ")),
        curve.control_percent.value,
        Interval(best.value, best.low, best.high),
        Interval(doubling.value, doubling.low, doubling.high),
        Interval(thousand.value, thousand.low, thousand.high, digits=0),
        *(len(curve.points), curve.num_problems),
    )


def _papers(series: list[Series]) -> Table:
    methods = {_method(s) for s in series}
    rows = tuple(
        (m.name, m.control_percent, m.performance_percent, m.scaling_per_doubling, m.num_runs)
        for m in paper.TABLE_3
    )
    return Table(
        "paper_table_3",
        "The paper's Table 3: s1-32B on AIME24",
        ("method", "control %", "performance %", "scaling per doubling", "runs"),
        rows,
        digits={"performance %": 1},
        strong=frozenset(i for i, m in enumerate(paper.TABLE_3) if m.name in methods),
        note="Another model on other questions: compare the shape of the numbers, not their size. "
        "Marked: the method measured here.",
    )


def _method(series: Series) -> str | None:
    settings = series.settings(series.cells[-1].point)
    forced = series.policy == "budget_forcing" or bool(settings.get("force"))
    found = paper.method(series.policy, forced)
    return found.name if found else None
