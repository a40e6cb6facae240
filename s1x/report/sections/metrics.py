"""Control, Scaling and Performance (paper, section 3.2), beside the paper's Table 3."""

from __future__ import annotations

from typing import Any

from s1x.report import paper
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Section, Table, estimate

LEAD = (
    "Control: percent of the points with a limit whose mean thinking tokens keep it. Performance: "
    "the best accuracy of any point, which is likely to be a lucky one; its interval allows for "
    "the choice. Scaling: mean slope over all pairs of points, in points of accuracy per doubling "
    "of thinking tokens (the unit of the paper's Table 3) and per 1,000 tokens."
)


def build(inputs: Inputs) -> Section | None:
    """Our table and the paper's."""
    if not inputs.thinking:
        return None
    strong = frozenset(i for i, s in enumerate(inputs.thinking) if s is inputs.main)
    rows = [_row(inputs, series) for series in inputs.thinking]
    digits = {"scaling per 1,000 tokens": 0}
    ours = Table("metrics", "Measured", rows, digits, strong, folded=False)
    items = (ours, _papers(inputs.thinking))
    return Section("metrics", "Control, scaling, performance", LEAD, items, "Metrics")


def _row(inputs: Inputs, series: Series) -> dict[str, Any]:
    curve = series.curve
    best_of = curve.performance_percent.best_of or len(curve.points)
    return {
        "benchmark": series.benchmark,
        "model": inputs.name(series),
        "policy": series.policy.replace("_", " "),
        "control %": curve.control_percent.value,
        **estimate("performance %", curve.performance_percent),
        "best of": f"{best_of} points",
        **estimate("scaling per doubling", curve.scaling_per_doubling),
        **estimate("scaling per 1,000 tokens", curve.scaling_per_thousand_tokens),
        "n": curve.num_problems,
    }


def _papers(series: tuple[Series, ...]) -> Table:
    methods = {_method(s) for s in series}
    rows = [
        {
            "method": m.name,
            "control %": m.control_percent,
            "performance %": m.performance_percent,
            "scaling per doubling": m.scaling_per_doubling,
            "runs": m.num_runs,
        }
        for m in paper.TABLE_3
    ]
    return Table(
        "paper_table_3",
        "The paper's Table 3: s1-32B on AIME24",
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
