"""Answer flips: what one more "Wait" did to the answers, mended or spoilt."""

from __future__ import annotations

import itertools

from s1x.curve import Cell, Flips, flips, flips_between
from s1x.report.charts import Bars, Part
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Section
from s1x.report.sections.curves import ordered_benchmarks
from s1x.report.tables import Table

LEAD = (
    "The same traces before and after more forced thinking. A Wait helps on balance when it mends "
    "more answers than it spoils; later work found that it can also swing right answers to wrong "
    "(arXiv 2507.14419, 2506.04210), so both directions are counted."
)
KINDS = ("stayed_right", "wrong_to_right", "right_to_wrong", "stayed_wrong")
COLUMNS = (
    *("benchmark", "model", "step", "wrong → right", "right → wrong", "net"),
    *("stayed right", "stayed wrong", "answer changed", "samples"),
)


def build(inputs: Inputs) -> Section | None:
    """Flips between neighbouring points whose number of waits grows, of every thinking curve."""
    rows, charts = [], []
    for benchmark in ordered_benchmarks(inputs):
        for series in (s for s in inputs.on(benchmark) if not s.direct):
            steps = wait_steps(series)
            rows += [(benchmark, inputs.name(series), *_row(name, f)) for name, f in steps]
            if steps and series.role != "base":
                charts.append(_chart(inputs, series, steps))
    if not rows:
        return None
    table = Table("flips", "Answer flips", COLUMNS, tuple(rows))
    return Section("flips", "Answer flips at each Wait", LEAD, (*charts, table), "Flips")


def wait_steps(series: Series) -> list[tuple[str, Flips]]:
    """Named flips: between points where waits were added, else between answers asked on the way."""
    cells = [series.natural, *(c for c in series.cells if num_waits(series, c) > 0)]
    cells = list({id(c): c for c in cells}.values())
    if len(cells) > 1:
        pairs = itertools.pairwise(cells)
        return [(f"{a.setting} → {b.setting}", flips_between(a, b)) for a, b in pairs]
    found = flips(series.cells[-1])
    return [(f"answer {f.step} → {f.step + 1}", f) for f in found]


def num_waits(series: Series, cell: Cell) -> int:
    """Waits that a point's setting asks for."""
    return int(series.settings(cell.point).get("num_waits") or 0)


def _row(name: str, f: Flips) -> tuple[object, ...]:
    total = f.wrong_to_right + f.right_to_wrong + f.stayed_right + f.stayed_wrong
    net = f.wrong_to_right - f.right_to_wrong
    counts = (f.wrong_to_right, f.right_to_wrong, net, f.stayed_right, f.stayed_wrong)
    return (name, *counts, f.changed, total)


def _chart(inputs: Inputs, series: Series, steps: list[tuple[str, Flips]]) -> Bars:
    parts = tuple(
        Part(kind.replace("_", " "), kind, tuple(float(getattr(f, kind)) for _, f in steps))
        for kind in KINDS
    )
    where = f"_{series.run}" if len(inputs.runs) > 1 else ""
    return Bars(
        f"flips_{series.benchmark}{where}",
        f"{series.benchmark}, {inputs.name(series)}: answers before and after",
        "samples",
        tuple(name for name, _ in steps),
        parts,
        stacked=True,
        notes=tuple(f"+{f.wrong_to_right} −{f.right_to_wrong}" for _, f in steps),
    )
