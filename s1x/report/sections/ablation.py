"""Several runs side by side: paired differences to one of them, as in the paper's Table 2."""

from __future__ import annotations

from s1x.curve import Cell, Difference, difference
from s1x.errors import UserError
from s1x.report import paper
from s1x.report.charts import Forest, Gap
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Section
from s1x.report.sections.curves import ordered_benchmarks
from s1x.report.tables import Interval, Table

LEAD = (
    "Each run against {reference}, on the problems that both answered. Intervals are 95% intervals "
    "of the difference, paired by problem: one that excludes 0 is marked. Runs "
    "that share no setting, or spend the budget in another way, are compared at the best of each."
)
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
    forests: list[Forest] = []
    for benchmark in ordered_benchmarks(inputs):
        compared = _compared([s for s in tuned if s.benchmark == benchmark], reference)
        for series, setting, cell, found in compared:
            if found and found.clear:
                clear.add(len(rows))
            rows.append(_row(inputs, series, setting, cell, found))
        forests += _forest(inputs, benchmark, reference, compared)
    if not rows:
        return None
    items: list[Table | Forest | str] = [
        *forests,
        Table(
            "ablation",
            "Paired differences",
            COLUMNS,
            tuple(rows),
            {"thinking tokens": 1},
            frozenset(clear),
        ),
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


Compared = tuple[Series, str, Cell, Difference | None]


def _compared(series: list[Series], reference: str) -> list[Compared]:
    """Every run at each setting that it shares with the reference, else both at their best.

    Settings of different policies are different things, whatever their names. The reference's own
    row has no difference.
    """
    base = next((s for s in series if s.run == reference), None)
    if base is None:
        return []
    rows: list[Compared] = []
    alone = [s for s in series if s is not base]
    for cell in base.cells:
        same = [(s, s.cell(cell.setting)) for s in series if s.policy == base.policy]
        found = [(s, other) for s, other in same if s is not base and other is not None]
        if found:
            rows.append((base, cell.setting, cell, None))
            rows += [(s, cell.setting, other, _difference(other, cell)) for s, other in found]
            shared = {id(s) for s, _ in found}
            alone = [s for s in alone if id(s) not in shared]
    if alone:
        rows.append((base, base.best.setting, base.best, None))
        rows += [(s, s.best.setting, s.best, _difference(s.best, base.best)) for s in alone]
    return rows


def _forest(
    inputs: Inputs, benchmark: str, reference: str, compared: list[Compared]
) -> list[Forest]:
    """The differences on a benchmark: at natural length, at the reference's best, best to best."""
    if not compared:
        return []
    base = compared[0][0]
    wanted = (base.natural.setting, base.best.setting)
    shown = [
        (series, setting, found)
        for series, setting, _, found in compared
        if found and (setting in wanted or series.policy != base.policy or not base.cell(setting))
    ]
    settings = list(dict.fromkeys(setting for _, setting, _ in shown))
    compared_runs = {(s.run, s.policy) for s, _, _ in shown}
    one_each = len({run for run, _ in compared_runs}) == len(compared_runs)
    gaps = tuple(
        Gap(
            (series.run if one_each else inputs.name(series))
            + (f": {setting}" if len(settings) > 1 else ""),
            *(found.difference_points, found.low_points, found.high_points, found.clear),
        )
        for series, setting, found in shown
    )
    at = f", {settings[0]}" if len(settings) == 1 else ""
    title = f"{benchmark}{at}: difference to {reference}"
    chart = Forest(f"differences_{benchmark}", title, "points of accuracy, 95% interval", gaps)
    return [chart] if gaps else []


def _difference(left: Cell, right: Cell) -> Difference | None:
    try:
        return difference(left, right)
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
