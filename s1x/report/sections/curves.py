"""Test-time scaling curves: accuracy over thinking tokens, one chart and one table a benchmark."""

from __future__ import annotations

import re

from s1x.curve import Point
from s1x.report import paper
from s1x.report.charts import WIDE, WIDTH, Chart
from s1x.report.inputs import Inputs
from s1x.report.lines import Line, Mark, lines
from s1x.report.parts import Section, Table, accuracy
from s1x.report.sections.seeds import groups_of_seeds, mean_line

LEAD = (
    "Accuracy against mean thinking tokens, one point per budget; forced tokens count. Bands are "
    "95% intervals (Wilson's, with problems as the unit). All points of a curve answer the same "
    "problems from the same traces, so a step between neighbours is known better than the bands "
    "suggest."
)

#: a setting's key in a sentence
SETTING = re.compile(r"\b[a-z_]+\.[a-z_]{3,}\b")


def build(inputs: Inputs) -> Section:
    """The curves of every benchmark; the first chart opens the report."""
    charts = [chart(inputs, b, i == 0) for i, b in enumerate(inputs.benchmarks)]
    tables = [points_table(inputs, benchmark) for benchmark in inputs.benchmarks]
    items: tuple[Chart | Table | str, ...] = (*charts, *_warnings(inputs), *tables)
    return Section("curves", "Test-time scaling", LEAD, items, "Curves")


def _warnings(inputs: Inputs) -> list[str]:
    """What a reader of the numbers must know.

    Words that differ in their numbers only, or that name the same setting, are said once.
    """
    said: dict[str, dict[str, str]] = {}
    for series in inputs.series:
        curve = f"{series.benchmark}, {inputs.name(series)}"
        for words in [*series.curve.warnings, *(series.info.get("warnings") or [])]:
            setting = SETTING.search(words)
            same = setting[0] if setting else re.sub(r"\d+", "N", words)
            said.setdefault(same, {}).setdefault(curve, f"{curve}: {words}.")
    found = []
    for sentences in said.values():
        first, *others = sentences.values()
        curves = f"{len(others)} other curve{'s' if len(others) > 1 else ''}"
        found.append(first + (f" The same is true of {curves}." if others else ""))
    return found


def chart(inputs: Inputs, benchmark: str, opens: bool = False) -> Chart:
    """All curves on a benchmark, answers without thinking as levels, the paper's points in grey.

    Runs that differ only in their seed are one line, their mean.
    """
    groups = groups_of_seeds(inputs, benchmark)
    shown = [mean_line(inputs, name, group) for name, group in groups]
    averaged = [series for _, group in groups for series in group]
    for series in (s for s in inputs.on(benchmark) if s not in averaged):
        name, hue = inputs.name(series), inputs.hue(series)
        points = [p for p in series.curve.points if p.accuracy_percent is not None]
        thinking = tuple(mark(p) for p in points if p.mean_thinking_tokens > 0)
        if thinking:
            labelled = series is inputs.main or (series.role != "base" and len(inputs.runs) == 1)
            shown.append(Line(name, hue, thinking, series.role == "base", labelled))
        for point in (p for p in points if p.mean_thinking_tokens <= 0):
            shown.append(Line(name, hue, (mark(point),), level=True))
    if reference := paper.curve(benchmark):
        marks = tuple(Mark(x, y, label="published") for x, y in reference)
        shown.append(Line("s1-32B (paper)", "grey", marks, dashed=True))
    return lines(
        f"curve_{benchmark}",
        benchmark,
        "mean thinking tokens (log scale)",
        "accuracy (%)",
        shown,
        WIDE if opens else WIDTH,
    )


def mark(point: Point) -> Mark:
    """A curve's point with the words of its tooltip."""
    cut = point.answers_cut_percent
    details = (
        f"{point.num_correct} of {point.num_problems * point.samples_per_problem} correct",
        f"{point.mean_thinking_tokens:,.1f} thinking tokens",
        f"{point.mean_answer_tokens:,.1f} answer tokens",
        f"thinking cut {point.cut_percent:.0f}%, truncated {point.truncated_percent:.0f}%",
        f"unanswered {point.unanswered_percent:.0f}%, ungraded {point.ungraded_percent:.0f}%",
        *([f"answers cut {cut:.0f}%"] if cut else []),
    )
    low, high = point.interval_low_percent, point.interval_high_percent
    value = point.accuracy_percent
    return Mark(point.mean_thinking_tokens, value, low, high, point.setting, details)


def points_table(inputs: Inputs, benchmark: str) -> Table:
    """Every point of every curve on a benchmark."""
    rows = [
        {
            "model": inputs.name(series),
            "setting": p.setting,
            **accuracy("accuracy %", p),
            "accuracy of graded %": p.accuracy_graded_percent,
            "thinking tokens": p.mean_thinking_tokens,
            "answer tokens": p.mean_answer_tokens,
            "forced tokens": p.mean_forced_tokens,
            "cut %": p.cut_percent,
            "truncated %": p.truncated_percent,
            "answers cut %": p.answers_cut_percent,
            "unanswered %": p.unanswered_percent,
            "ungraded %": p.ungraded_percent,
            "n": p.num_problems,
            "samples": p.samples_per_problem,
        }
        for series in inputs.on(benchmark)
        for p in series.curve.points
    ]
    whole = ("model", "setting", "n", "samples", "accuracy %")
    digits = {name: 1 for name in rows[0] if name not in whole}
    note = (
        "“cut”: the budget ended thinking; “truncated”: the context was full; “answers cut”: the "
        "answer came to budget.max_answer_tokens. Ungraded answers count as not right."
    )
    return Table(f"points_{benchmark}", f"All points on {benchmark}", rows, digits, note=note)
