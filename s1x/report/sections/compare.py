"""Several runs side by side: paired differences to one of them, as in the paper's Table 2."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from s1x.curve import Cell, Difference, difference_if_any
from s1x.report import paper
from s1x.report.charts import Chart, forest
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Item, Row, Table, accuracy, brief


@dataclass(frozen=True)
class Compared:
    """A run at a setting beside the reference; the reference's own row has no difference."""

    series: Series
    cell: Cell
    found: Difference | None = None


def ablation(inputs: Inputs) -> Iterator[Item]:
    """A table of the settings that the runs share; nothing for a single run.

    Base models take part only beside others' imported ones: a run has its base model's own section.
    """
    imported = any(s.role == "imported" for s in inputs.thinking)
    tuned = [s for s in inputs.thinking if s.role != "base" or imported]
    if len({(s.run, s.policy) for s in tuned}) < 2:
        return
    rows: list[Row] = []
    words: list[str] = []
    strong: set[int] = set()
    for benchmark in inputs.benchmarks:
        mine = [s for s in tuned if s.benchmark == benchmark]
        compared = list(compare(mine, inputs.reference))
        strong |= {len(rows) + i for i, c in enumerate(compared) if c.found and c.found.clear}
        rows += [_row(inputs, c) for c in compared]
        words += crossings(mine, inputs.reference)
        yield from _forest(inputs, compared)
    if not rows:
        return
    yield from words
    yield Table("ablation", "Paired differences", rows, strong)
    if any(paper.benchmark_key(b) for b in inputs.benchmarks):
        title = "The paper's Table 2: s1-32B trained on other selections"
        yield Table("paper_table_2", title, paper.rows(paper.TABLE_2, "selection"))


def compare(series: Sequence[Series], reference: str) -> Iterator[Compared]:
    """Every run at each setting that it shares with the reference, else both at their best.

    Settings of different policies are different things, whatever their names.
    """
    base = next((s for s in series if s.run == reference), None)
    if base is None:
        return
    alone = others = [s for s in series if s is not base]
    for cell in base.cells:
        same = [(s, s.cell(cell.setting)) for s in others if s.policy == base.policy]
        found = [(s, other) for s, other in same if other is not None]
        if found:
            yield Compared(base, cell)
            yield from (Compared(s, other, difference_if_any(other, cell)) for s, other in found)
            alone = [s for s in alone if not any(s is other for other, _ in found)]
    if alone:
        yield Compared(base, base.best)
        yield from (Compared(s, s.best, difference_if_any(s.best, base.best)) for s in alone)


def crossings(series: Sequence[Series], reference: str) -> list[str]:
    """Where the order of two runs turns with the budget: a ranking holds for a budget only."""
    found: dict[int, list[str]] = defaultdict(list)
    for base in [s for s in series if s.run == reference][:1]:
        for other in series:
            if other is not base and (turn := _turn(other, base)) is not None:
                found[turn].append(brief(other.run))
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
        if a.mean_thinking_tokens is not None
        and b.mean_thinking_tokens is not None
        and (gap := (a.accuracy_percent or 0.0) - (b.accuracy_percent or 0.0))
    )
    last = max((i for i, (_, gap) in enumerate(steps) if gap > 0), default=-1)
    before = sum(gap for _, gap in steps[: last + 1])
    if not 0 <= last < len(steps) - 1 or before <= 0:
        return None
    (x0, y0), (x1, y1) = steps[last], steps[last + 1]
    return round(x0 + (x1 - x0) * y0 / (y0 - y1))


def _forest(inputs: Inputs, compared: Sequence[Compared]) -> Iterator[Chart]:
    """The differences on a benchmark: at natural length, at the reference's best, best to best."""
    shown: list[tuple[Compared, Difference]] = []
    for c in compared:
        base, setting = compared[0].series, c.cell.setting
        alone = c.series.policy != base.policy or not base.cell(setting)
        if c.found and (alone or setting in (base.natural.setting, base.best.setting)):
            shown.append((c, c.found))
    if not shown:
        return
    settings = {c.cell.setting for c, _ in shown}
    runs = {(c.series.run, c.series.policy) for c, _ in shown}
    one_each = len({run for run, _ in runs}) == len(runs)
    gaps = [
        (
            (c.series.run if one_each else inputs.name(c.series))
            + (f": {c.cell.setting}" if len(settings) > 1 else ""),
            *(found.gap, found.clear),
        )
        for c, found in shown
    ]
    benchmark = compared[0].series.benchmark
    at = f", {min(settings)}" if len(settings) == 1 else ""
    title = f"{benchmark}{at}: difference to {inputs.reference}"
    yield forest(f"differences_{benchmark}", title, "points of accuracy", gaps)


def _row(inputs: Inputs, compared: Compared) -> Row:
    series, found = compared.series, compared.found
    point = series.point(compared.cell)
    return {
        **{"benchmark": series.benchmark, "setting": compared.cell.setting},
        "run": inputs.name(series),
        "accuracy %": accuracy(point),
        "thinking tokens": point.mean_thinking_tokens,
        "difference to reference": found.gap if found else None,
        "significance": ("significant" if found.clear else "not significant") if found else "",
        "n": found.num_problems if found else point.num_problems,
    }
