"""Several runs side by side: paired differences to one of them, as in the paper's Table 2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from s1x.curve import Cell, Difference, difference
from s1x.errors import UserError
from s1x.report import paper
from s1x.report.charts import Chart, Gap, forest
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Section, Table, accuracy, brief, interval

LEAD = (
    "Each run against {reference}, on the problems that both answered. Intervals are 95% intervals "
    "of the difference, paired by problem; one that excludes 0 is significant. Runs that share no "
    "setting, or spend the budget in another way, are compared at the best of each."
)
SIGNIFICANT = {True: "significant", False: "not significant"}


def reference_of(inputs: Inputs) -> str:
    """The run that others are compared with: the context's, else the first."""
    wanted, labels = inputs.context.get("reference"), [s.run for s in inputs.tuned]
    return str(wanted) if wanted in labels else labels[0]


@dataclass(frozen=True)
class Compared:
    """A run at a setting beside the reference; the reference's own row has no difference."""

    series: Series
    setting: str
    cell: Cell
    found: Difference | None = None


def build(inputs: Inputs) -> Section | None:
    """A table of the settings that the runs share; None for a single run."""
    tuned = [s for s in inputs.tuned if s.role != "base"]
    if len({(s.run, s.policy) for s in tuned}) < 2:
        return None
    reference = reference_of(inputs)
    rows: list[dict[str, Any]] = []
    charts: list[Chart] = []
    words: list[str] = []
    strong: set[int] = set()
    for benchmark in inputs.benchmarks:
        mine = [s for s in tuned if s.benchmark == benchmark]
        compared = compare(mine, reference)
        strong |= {len(rows) + i for i, c in enumerate(compared) if c.found and c.found.clear}
        rows += [_row(inputs, c) for c in compared]
        charts += _forest(inputs, benchmark, reference, compared)
        words += crossings(mine, reference)
    if not rows:
        return None
    digits = {"thinking tokens": 1}
    signed = ("difference to reference",)
    table = Table("ablation", "Paired differences", rows, digits, frozenset(strong), signed)
    published = []
    if any(paper.benchmark_key(b) for b in inputs.benchmarks):
        title = "The paper's Table 2: s1-32B trained on other selections"
        theirs = paper.rows(paper.TABLE_2, "selection")
        published = [Table("paper_table_2", title, theirs, dict.fromkeys(theirs[0], 1))]
    lead = LEAD.format(reference=reference)
    items: tuple[Chart | Table | str, ...] = (*charts, *words, table, *published)
    return Section("ablation", "Runs compared", lead, items, "Runs compared")


def compare(series: list[Series], reference: str) -> list[Compared]:
    """Every run at each setting that it shares with the reference, else both at their best.

    Settings of different policies are different things, whatever their names.
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
            rows.append(Compared(base, cell.setting, cell))
            rows += [Compared(s, cell.setting, o, _difference(o, cell)) for s, o in found]
            alone = [s for s in alone if not any(s is other for other, _ in found)]
    if alone:
        rows.append(Compared(base, base.best.setting, base.best))
        rows += [Compared(s, s.best.setting, s.best, _difference(s.best, base.best)) for s in alone]
    return rows


def _difference(left: Cell, right: Cell) -> Difference | None:
    try:
        return difference(left, right)
    except UserError:
        return None


def crossings(series: list[Series], reference: str) -> list[str]:
    """Where the order of two runs turns with the budget: a ranking holds for a budget only."""
    base = next((s for s in series if s.run == reference), None)
    found: dict[int, list[str]] = {}
    for other in series if base else []:
        turn = None if base is None or other is base else _turn(other, base)
        if turn is not None:
            found.setdefault(turn, []).append(brief(other.run))
    return [
        f"{series[0].benchmark}: below some {tokens:,} thinking tokens {' and '.join(names)} "
        f"{'is' if len(names) == 1 else 'are'} more accurate than {brief(reference)}, above less."
        for tokens, names in sorted(found.items())
    ]


def _turn(other: Series, base: Series) -> int | None:
    """Thinking tokens from which the base's curve stays above the other's, which led before."""
    shared = [(other.point(o), base.point(c)) for c in base.cells if (o := other.cell(c.setting))]
    steps = sorted(
        (math.sqrt(a.mean_thinking_tokens * b.mean_thinking_tokens), gap)
        for a, b in shared
        if (gap := (a.accuracy_percent or 0.0) - (b.accuracy_percent or 0.0))
    )
    last = max((i for i, (_, gap) in enumerate(steps) if gap > 0), default=-1)
    before = sum(gap for _, gap in steps[: last + 1])
    if not 0 <= last < len(steps) - 1 or before <= 0:
        return None
    (x0, y0), (x1, y1) = steps[last], steps[last + 1]
    return round(x0 + (x1 - x0) * y0 / (y0 - y1))


def _forest(
    inputs: Inputs, benchmark: str, reference: str, compared: list[Compared]
) -> list[Chart]:
    """The differences on a benchmark: at natural length, at the reference's best, best to best."""
    if not compared:
        return []
    base = compared[0].series
    wanted = (base.natural.setting, base.best.setting)
    shown = [
        c
        for c in compared
        if c.setting in wanted or c.series.policy != base.policy or not base.cell(c.setting)
    ]
    settings = list(dict.fromkeys(c.setting for c in shown if c.found))
    runs = {(c.series.run, c.series.policy) for c in shown if c.found}
    one_each = len({run for run, _ in runs}) == len(runs)
    gaps = [
        Gap(
            (c.series.run if one_each else inputs.name(c.series))
            + (f": {c.setting}" if len(settings) > 1 else ""),
            *(c.found.difference_points, c.found.low_points, c.found.high_points, c.found.clear),
        )
        for c in shown
        if c.found
    ]
    at = f", {settings[0]}" if len(settings) == 1 else ""
    title = f"{benchmark}{at}: difference to {reference}"
    return [forest(f"differences_{benchmark}", title, "points of accuracy", gaps)] if gaps else []


def _row(inputs: Inputs, compared: Compared) -> dict[str, Any]:
    series, found = compared.series, compared.found
    point = series.point(compared.cell)
    gap = (found.difference_points, found.low_points, found.high_points) if found else (None,)
    return {
        "benchmark": series.benchmark,
        "setting": compared.setting,
        "run": inputs.name(series),
        **accuracy("accuracy %", point),
        "thinking tokens": point.mean_thinking_tokens,
        **interval("difference to reference", *gap),
        "significance": SIGNIFICANT[found.clear] if found else "",
        "n": found.num_problems if found else point.num_problems,
    }
