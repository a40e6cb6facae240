"""Test-time scaling curves: accuracy over thinking tokens, one chart and one table a benchmark."""

from __future__ import annotations

from s1x.curve import Point
from s1x.report import paper
from s1x.report.charts import Level, Line, Lines, Mark
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Section
from s1x.report.tables import Interval, Table

LEAD = (
    "Accuracy against mean thinking tokens, one point a budget; forced tokens count. Bands and "
    "bars are 95% intervals (Wilson's, with problems as the unit). All points of a curve answer "
    "the same problems from the same traces, so they move together: a step between neighbours "
    "is known better than the bands suggest."
)


def build(inputs: Inputs) -> Section:
    """The curves of every benchmark."""
    items: list[Lines | Table | str] = []
    ordered = ordered_benchmarks(inputs)
    items += [chart(inputs, benchmark) for benchmark in ordered]
    for benchmark in ordered:
        warnings = sorted({w for s in inputs.on(benchmark) for w in s.curve.warnings})
        items += [f"{benchmark}: {words}." for words in warnings]
    items += [points_table(inputs, benchmark) for benchmark in ordered]
    return Section("curves", "Test-time scaling", LEAD, tuple(items), "Curves")


def ordered_benchmarks(inputs: Inputs) -> list[str]:
    """The main benchmark first."""
    main = inputs.main.benchmark if inputs.main else None
    return sorted(inputs.benchmarks, key=lambda name: name != main)


def colour(inputs: Inputs, series: Series) -> str:
    """One colour a role in a single run, one a run where there are several."""
    if series.role == "base":
        return "base"
    tuned = [(s.run, s.policy) for s in inputs.series if s.role != "base"]
    order = list(dict.fromkeys(tuned))
    return "fine_tuned" if len(order) == 1 else f"c{order.index((series.run, series.policy)) % 8}"


def chart(inputs: Inputs, benchmark: str) -> Lines:
    """All curves on a benchmark, answers without thinking as levels, the paper's points in grey."""
    lines, levels = [], []
    for series in inputs.on(benchmark):
        name, tone = inputs.name(series), colour(inputs, series)
        for point in series.curve.points:
            if point.mean_thinking_tokens <= 0 and point.accuracy_percent is not None:
                low, high = point.interval_low_percent, point.interval_high_percent
                levels.append(Level(name, tone, point.accuracy_percent, low, high))
        marks = tuple(mark(p) for p in series.curve.points if p.mean_thinking_tokens > 0)
        if marks:
            labelled = series is inputs.main or (series.role != "base" and len(inputs.runs) == 1)
            lines.append(Line(name, tone, marks, series.role == "base", labelled))
    if reference := paper.curve(benchmark):
        marks = tuple(Mark(x, y, label="published") for x, y in reference)
        lines.append(Line("s1-32B (paper)", "grey", marks, dashed=True))
    return Lines(
        f"curve_{benchmark}",
        benchmark,
        "mean thinking tokens (log scale)",
        "accuracy (%)",
        tuple(lines),
        tuple(levels),
    )


def mark(point: Point) -> Mark:
    """A curve's point with the words of its tooltip."""
    details = (
        f"{point.num_correct} of {point.num_graded} correct "
        f"({point.num_problems} problems x {point.samples_per_problem})",
        f"{point.mean_thinking_tokens:,.1f} thinking tokens",
        f"{point.mean_answer_tokens:,.1f} answer tokens",
        f"cut {point.cut_percent:.0f}%, truncated {point.truncated_percent:.0f}%, "
        f"unanswered {point.unanswered_percent:.0f}%, ungraded {point.ungraded_percent:.0f}%",
    )
    return Mark(
        point.mean_thinking_tokens,
        point.accuracy_percent,
        point.interval_low_percent,
        point.interval_high_percent,
        point.setting,
        details,
    )


def points_table(inputs: Inputs, benchmark: str) -> Table:
    """Every point of every curve on a benchmark."""
    rows = []
    for series in inputs.on(benchmark):
        for p in series.curve.points:
            accuracy = Interval(p.accuracy_percent, p.interval_low_percent, p.interval_high_percent)
            rows.append(
                (
                    *(inputs.name(series), p.setting, accuracy),
                    *(p.mean_thinking_tokens, p.mean_answer_tokens, p.mean_forced_tokens),
                    *(p.cut_percent, p.truncated_percent, p.unanswered_percent),
                    *(p.ungraded_percent, p.accuracy_graded_percent, p.answers_cut_percent),
                    *(p.num_problems, p.samples_per_problem),
                )
            )
    columns = (
        *("model", "setting", "accuracy %", "thinking tokens", "answer tokens", "forced tokens"),
        *("cut %", "truncated %", "unanswered %", "ungraded %"),
        *("accuracy of graded %", "answers cut %", "n", "samples"),
    )
    digits = {"thinking tokens": 1, "answer tokens": 1, "forced tokens": 1}
    digits |= {"cut %": 1, "truncated %": 1, "unanswered %": 1, "ungraded %": 1}
    digits |= {"accuracy of graded %": 1, "answers cut %": 1}
    title, folded = f"All points on {benchmark}", benchmark != ordered_benchmarks(inputs)[0]
    return Table(f"points_{benchmark}", title, columns, tuple(rows), digits, folded=folded)
