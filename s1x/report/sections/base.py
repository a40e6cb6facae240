"""The base model beside the fine-tuned one, same budgets (the article's third warning)."""

from __future__ import annotations

from s1x.curve import difference
from s1x.errors import UserError
from s1x.report import paper
from s1x.report.charts import Bars, Part
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Section
from s1x.report.sections.curves import colour, ordered_benchmarks
from s1x.report.tables import Interval, Table

LEAD = (
    "How much of the result was there before fine-tuning? The base model answers the same problems "
    "under the same budgets in the same template, and once more directly, without thinking. "
    "Differences are paired by problem."
)
COLUMNS = (
    *("benchmark", "setting", "base %", "fine-tuned %", "gain"),
    *("base thinking tokens", "fine-tuned thinking tokens", "n"),
)


def build(inputs: Inputs) -> Section | None:
    """A chart and rows for each benchmark on which a base model was measured."""
    rows: list[tuple[object, ...]] = []
    charts = []
    for benchmark in ordered_benchmarks(inputs):
        base = [s for s in inputs.on(benchmark) if s.role == "base"]
        tuned = [s for s in inputs.on(benchmark) if s.role != "base" and not s.direct]
        if base and tuned:
            rows += _rows(base, tuned[0])
            charts.append(_chart(inputs, benchmark, [*base, tuned[0]]))
    if not rows:
        return None
    digits = {"base thinking tokens": 1, "fine-tuned thinking tokens": 1}
    table = Table("base_and_fine_tuned", "Same budgets, both models", COLUMNS, tuple(rows), digits)
    items: list[Bars | Table] = [*charts, table]
    if reference := _papers(inputs):
        items.append(reference)
    return Section("base", "Base against fine-tuned", LEAD, tuple(items), "Base model")


def _rows(base: list[Series], tuned: Series) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for series in base:
        for cell in series.cells:
            other = tuned.natural if series.direct else tuned.cell(cell.setting)
            if other is None:
                continue
            setting = "direct answer / natural" if series.direct else cell.setting
            try:
                gain = difference(other, cell)
            except UserError:
                continue
            rows.append(
                (
                    *(series.benchmark, setting),
                    *(Interval(gain.right_accuracy_percent), Interval(gain.left_accuracy_percent)),
                    Interval(
                        gain.difference_points, gain.low_points, gain.high_points, signed=True
                    ),
                    *(float(cell.thinking_tokens.mean()), float(other.thinking_tokens.mean())),
                    gain.num_problems,
                )
            )
    return rows


def _chart(inputs: Inputs, benchmark: str, series: list[Series]) -> Bars:
    thinking = [s for s in series if not s.direct]
    settings = list(dict.fromkeys(c.setting for s in thinking for c in s.cells))
    bars = (["direct answer"] if len(thinking) < len(series) else []) + settings
    parts = []
    for role, name in (("base", "base"), ("fine_tuned", "fine-tuned")):
        values: dict[str, tuple[float | None, float | None, float | None]] = {}
        for s in (s for s in series if (s.role == "base") == (role == "base")):
            for p in s.curve.points:
                where = "direct answer" if s.direct else p.setting
                values[where] = (
                    p.accuracy_percent,
                    p.interval_low_percent,
                    p.interval_high_percent,
                )
        columns = [tuple(values.get(bar, (None,) * 3)[i] for bar in bars) for i in range(3)]
        tone = role if role == "base" else colour(inputs, thinking[-1])
        parts.append(Part(name, tone, *columns))
    return Bars(
        f"base_{benchmark}", benchmark, "accuracy (%)", tuple(bars), tuple(parts), x_max=100.0
    )


def _papers(inputs: Inputs) -> Table | None:
    if not any(paper.benchmark_key(b) for b in inputs.benchmarks):
        return None
    rows = tuple((name, *values) for name, values in paper.MODELS.items())
    columns = ("model", "AIME24 %", "MATH500 %", "GPQA Diamond %")
    digits = dict.fromkeys(columns[1:], 1)
    return Table("paper_models", "Published (paper, Tables 1 and 5)", columns, rows, digits)
