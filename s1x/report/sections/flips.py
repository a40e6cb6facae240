"""Answer flips: what one more "Wait" did to the answers, mended or spoilt."""

from __future__ import annotations

import itertools
from typing import Any

from s1x.curve import Flips, flips_between
from s1x.curve import flips as flips_within
from s1x.report.charts import Chart, Part, bars
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Section, Table, estimate

LEAD = (
    "The same traces before and after more forced thinking. A Wait helps on balance when it mends "
    "more answers than it spoils; later work found that it can also turn right answers wrong "
    "(arXiv 2507.14419, 2506.04210), so both directions are counted."
)
KINDS = {
    "stayed_right": "green",
    "wrong_to_right": "mint",
    "right_to_wrong": "rose",
    "stayed_wrong": "silver",
}


def build(inputs: Inputs) -> Section | None:
    """Flips between neighbouring points whose number of waits grows, of every thinking curve."""
    rows, charts = [], []
    for series in inputs.thinking:
        steps = wait_steps(series)
        rows += [_row(inputs, series, name, found) for name, found in steps]
        if steps and series in inputs.tuned:
            charts.append(_chart(inputs, series, steps))
    if not rows:
        return None
    table = Table("flips", "Answer flips", rows, signed=("net points",))
    return Section("flips", "Answer flips at each Wait", LEAD, (*charts, table), "Flips")


def wait_steps(series: Series) -> list[tuple[str, Flips]]:
    """Named flips: between points where waits were added, else between answers asked on the way."""
    cells = [series.natural, *(c for c in series.cells if series.num_waits(c) > 0)]
    cells = list({id(c): c for c in cells}.values())
    if len(cells) > 1:
        pairs = itertools.pairwise(cells)
        return [(f"{a.setting} → {b.setting}", flips_between(a, b)) for a, b in pairs]
    return [(f"answer {f.step} → {f.step + 1}", f) for f in flips_within(series.cells[-1])]


def _row(inputs: Inputs, series: Series, name: str, f: Flips) -> dict[str, Any]:
    return {
        "benchmark": series.benchmark,
        "model": inputs.name(series),
        "step": name,
        "wrong → right": f.wrong_to_right,
        "right → wrong": f.right_to_wrong,
        **estimate("net points", f.net_points),
        "stayed right": f.stayed_right,
        "stayed wrong": f.stayed_wrong,
        "answer changed": f.changed,
        "samples": f.wrong_to_right + f.right_to_wrong + f.stayed_right + f.stayed_wrong,
    }


def _chart(inputs: Inputs, series: Series, steps: list[tuple[str, Flips]]) -> Chart:
    counted = [vars(found) for _, found in steps]
    parts = [
        Part(kind.replace("_", " "), hue, tuple(float(counts[kind]) for counts in counted))
        for kind, hue in KINDS.items()
    ]
    return bars(
        f"flips_{series.benchmark}{inputs.suffix(series)}",
        f"{series.benchmark}, {inputs.name(series)}: answers before and after",
        "samples",
        [name for name, _ in steps],
        parts,
        stacked=True,
        aside=series.benchmark != inputs.benchmarks[0],
        notes=[f"+{f.wrong_to_right} −{f.right_to_wrong}" for _, f in steps],
    )
