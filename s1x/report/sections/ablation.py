"""Several runs side by side: paired differences to one of them, as in the paper's Table 2."""

from __future__ import annotations

from s1x import metrics
from s1x.errors import UserError
from s1x.metrics import Cell, Difference
from s1x.report import paper
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Section
from s1x.report.sections.curves import ordered_benchmarks
from s1x.report.tables import Interval, Table

LEAD = (
    "Each run against {reference}, on the problems that both answered. Intervals are 95% paired "
    "bootstrap intervals of the difference (10,000 resamples): one that excludes 0 is marked."
)
#: runs without a setting in common are compared at the best setting of each
OWN_BEST = "best setting"
COLUMNS = (
    *("benchmark", "setting", "run", "accuracy %", "thinking tokens"),
    *("difference to reference", "clear", "n"),
)


def build(inputs: Inputs) -> Section | None:
    """A table a benchmark and setting that the runs share; None for a single run."""
    tuned = [s for s in inputs.series if s.role != "base" and not s.direct]
    if len(tuned) < 2 or len({(s.run, s.policy) for s in tuned}) < 2:
        return None
    reference = _reference(inputs, tuned)
    rows: list[tuple[object, ...]] = []
    clear: set[int] = set()
    for benchmark in ordered_benchmarks(inputs):
        for row, is_clear in _rows(
            inputs, [s for s in tuned if s.benchmark == benchmark], reference
        ):
            if is_clear:
                clear.add(len(rows))
            rows.append(row)
    if not rows:
        return None
    items: list[Table | str] = [
        Table(
            "ablation",
            "Paired differences",
            COLUMNS,
            tuple(rows),
            {"thinking tokens": 1},
            frozenset(clear),
        )
    ]
    if any(paper.benchmark_key(b) for b in inputs.benchmarks):
        items.append(_papers())
    return Section(
        "ablation", "Runs compared", LEAD.format(reference=reference), tuple(items), "Runs compared"
    )


def _reference(inputs: Inputs, tuned: list[Series]) -> str:
    """The run that others are compared with: the context's, else the first."""
    wanted = inputs.context.get("reference")
    labels = [s.run for s in tuned]
    return str(wanted) if wanted in labels else labels[0]


def _rows(
    inputs: Inputs, series: list[Series], reference: str
) -> list[tuple[tuple[object, ...], bool]]:
    base = next((s for s in series if s.run == reference), None)
    if base is None:
        return []
    shared = [c for c in base.cells if any(s.cell(c.setting) for s in series if s is not base)]
    cells = {c.setting: c for c in shared} or {OWN_BEST: base.best}
    rows = []
    for setting, cell in cells.items():
        for s in series:
            other = s.best if setting == OWN_BEST else s.cell(setting)
            if other is None:
                continue
            found = None if s is base else _difference(other, cell)
            named = other.setting if setting == OWN_BEST else setting
            rows.append((_row(inputs, s, named, other, found), bool(found and found.clear)))
    return rows


def _difference(left: Cell, right: Cell) -> Difference | None:
    try:
        return metrics.difference(left, right)
    except UserError:
        return None


def _row(
    inputs: Inputs, series: Series, setting: str, cell: Cell, found: Difference | None
) -> tuple[object, ...]:
    point = next(p for p in series.curve.points if p.point == cell.point)
    accuracy = Interval(
        point.accuracy_percent, point.interval_low_percent, point.interval_high_percent
    )
    gap = (
        Interval(found.difference_points, found.low_points, found.high_points, signed=True)
        if found
        else Interval(None)
    )
    name = inputs.name(series)
    verdict = "" if found is None else ("clear" if found.clear else "not told apart")
    counts = found.num_problems if found else point.num_problems
    tokens = point.mean_thinking_tokens
    return (series.benchmark, setting, name, accuracy, tokens, gap, verdict, counts)


def _papers() -> Table:
    rows = tuple((name, *values) for name, values in paper.TABLE_2.items())
    columns = ("selection", "AIME24 %", "MATH500 %", "GPQA Diamond %")
    return Table(
        *("paper_table_2", "The paper's Table 2: s1-32B trained on other selections"),
        columns,
        rows,
        dict.fromkeys(columns[1:], 1),
    )
