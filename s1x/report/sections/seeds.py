"""Runs that differ only in their seed: mean and spread of each setting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from statistics import mean, stdev
from typing import Any

from s1x.report.inputs import Inputs, Series
from s1x.report.lines import Line, Mark
from s1x.report.parts import Section, Table

LEAD = (
    "Runs that differ in nothing but the seed. A difference between two recipes that is smaller "
    "than this spread may be the seed's."
)
SEED = re.compile(r"(^|, )seed=\d+")


def groups_of_seeds(inputs: Inputs, benchmark: str) -> list[tuple[str, list[Series]]]:
    """Name and curves of each recipe that was run with several seeds, largest first."""
    groups: dict[tuple[Any, ...], list[Series]] = {}
    settings = {run.label: _without_seed(run.settings) for run in inputs.runs}
    for series in (s for s in inputs.tuned if s.benchmark == benchmark):
        same = (SEED.sub("", series.run), str(settings.get(series.run)), series.policy)
        if SEED.search(series.run):
            groups.setdefault((same, series.role), []).append(series)
    found = [(key[0][0].strip(", "), group) for key, group in groups.items() if len(group) > 1]
    return sorted(found, key=lambda item: -len(item[1]))


def _without_seed(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in sorted(settings.items()) if key != "seed"}


def mean_line(inputs: Inputs, name: str, group: list[Series]) -> Line:
    """The mean curve over the seeds; its band goes from the lowest to the highest."""
    rows = [_row("", "", setting, group) for setting in _settings(group)]
    marks = tuple(
        Mark(r["thinking tokens"], r["mean %"], r["lowest %"], r["highest %"], r["setting"])
        for r in rows
    )
    words = ", ".join(filter(None, (name, f"mean of {len(group)} seeds, lowest to highest")))
    return Line(words, inputs.hue(group[0]), marks, labelled=inputs.main in group)


def build(inputs: Inputs) -> Section | None:
    """Mean and spread of every recipe that was run with several seeds; None without such runs."""
    rows = [
        _row(benchmark, name, setting, group)
        for benchmark in inputs.benchmarks
        for name, group in groups_of_seeds(inputs, benchmark)
        for setting in _settings(group)
    ]
    if not rows:
        return None
    digits = dict.fromkeys(("mean %", "lowest %", "highest %", "standard deviation"), 1)
    digits["thinking tokens"] = 1
    table = Table("seeds", "Mean and spread over seeds", rows, digits, folded=False)
    return Section("seeds", "Seeds", LEAD, (table,))


def _settings(group: list[Series]) -> list[str]:
    """Settings that all seeds have."""
    return [c.setting for c in group[0].cells if all(s.cell(c.setting) for s in group)]


def _row(benchmark: str, name: str, setting: str, group: list[Series]) -> dict[str, Any]:
    points = [series.point(cell) for series in group if (cell := series.cell(setting))]
    values = [p.accuracy_percent or 0.0 for p in points]
    return {
        "benchmark": benchmark,
        **({"run": name} if name else {}),
        "setting": setting,
        "thinking tokens": mean(p.mean_thinking_tokens for p in points),
        "mean %": mean(values),
        "standard deviation": stdev(values),
        "lowest %": min(values),
        "highest %": max(values),
        "seeds": len(values),
    }
