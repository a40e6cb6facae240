"""Sections of how a budget was spent: on questions that needed it, in the answer, in seconds."""

from __future__ import annotations

from collections.abc import Iterator

from s1x.curve import latency, spill
from s1x.report.charts import Part, bars
from s1x.report.inputs import Inputs
from s1x.report.lines import Line, Mark, lines
from s1x.report.parts import Item, Row, Table, accuracy

#: field of `PointAllocation` → words and hue; never right is what is left of 100%
SHARES = {
    "right_percent": ("right", "green"),
    "starved_percent": ("starved", "amber"),
    "spoilt_percent": ("spoilt", "rose"),
}
LENGTH = "thinking tokens in % of the natural trace (log scale)"


def allocation(inputs: Inputs) -> Iterator[Item]:
    """Perfect against uniform allocation and each budget's shares; all curves in the table."""
    rows: list[Row] = []
    for series in inputs.thinking:
        found = series.allocation
        if found is None:
            continue
        rows += [
            {
                **{"benchmark": series.benchmark, "model": inputs.name(series)},
                **{"setting": p.setting, "thinking tokens": p.mean_thinking_tokens},
                **{"right %": p.right_percent, "starved %": p.starved_percent},
                **{"spoilt %": p.spoilt_percent, "never right %": found.never_right_percent},
                "overthinking tokens": p.overthinking_tokens,
                "tokens on never right": p.wasted_tokens,
                **{"perfect %": p.perfect_percent, "perfect minus uniform": p.perfect_gain_points},
                "sufficient budget, tokens": found.sufficient_tokens,
                **{"n": found.num_problems, "samples": found.samples_per_problem},
            }
            for p in found.points
        ]
        if series not in inputs.first(inputs.tuned):
            continue
        title, points = f"{series.benchmark}, {inputs.name(series)}", found.points
        uniform, bound = (
            [Mark(p.mean_thinking_tokens, vars(p)[name], p.setting) for p in points]
            for name in ("right_percent", "perfect_percent")
        )
        x_title = "mean thinking tokens per question (log scale)"
        shown = [
            Line("the same budget for each question", "orange", uniform, labelled=True),
            Line("perfect allocation (upper bound)", "green", bound, dashed=True),
        ]
        if points[0].mean_thinking_tokens is not None:
            yield lines(inputs.key("allocation", series), title, x_title, "accuracy (%)", shown)
        parts = [
            Part.of(words, hue, [vars(p)[name].value for p in points])
            for name, (words, hue) in SHARES.items()
        ]
        never = found.never_right_percent.value or 0.0
        yield bars(
            inputs.key("shares", series),
            f"{title}: what each budget did",
            "% of traces",
            [p.setting for p in points],
            [*parts, Part.of("never right", "silver", [never] * len(points))],
            stacked=True,
            notes=[
                f"{p.overthinking_tokens.value:,.0f} tokens too many"
                for p in points
                if p.overthinking_tokens.value is not None
            ],
            x_max=100.0,
            aside=series.benchmark != inputs.benchmarks[0],
        )
    yield Table("allocation", "Allocation at every point", rows)


def spilled(inputs: Inputs) -> Iterator[Item]:
    """Spill beside accuracy, over what a budget left of the natural trace."""
    rows: list[Row] = []
    closings: dict[str, dict[object, Line]] = {}
    for series in inputs.thinking:
        spills: list[Mark] = []
        right: list[Mark] = []
        for cell, point in zip(series.cells, series.curve.points, strict=True):
            found = spill(cell, series.natural)
            if found is None:
                continue
            rows.append(
                {
                    **{"benchmark": series.benchmark, "model": inputs.name(series)},
                    **{"setting": cell.setting, "accuracy %": accuracy(point)},
                    **{"spill %": found.any_percent, "delimiter %": found.delimiter_percent},
                    **{"wait word %": found.wait_percent, "answer cut %": found.answer_cut_percent},
                    "signs after a natural end %": found.natural_percent,
                    "length, % of natural": found.length_percent,
                    "closed by force": found.num_closed,
                }
            )
            if found.length_percent:
                spills.append(Mark(found.length_percent, found.any_percent, cell.setting))
                right.append(Mark(found.length_percent, accuracy(point), cell.setting))
        if series in inputs.tuned and spills:
            how, name = series.settings(series.cells[0]).get("closing"), inputs.name(series)
            line = Line(name, inputs.hue(series), spills, labelled=series is inputs.main)
            closings.setdefault(series.benchmark, {}).setdefault(how, line)
        if series in inputs.first(inputs.tuned) and len(spills) > 1:
            yield lines(
                inputs.key("spill", series),
                f"{series.benchmark}, {inputs.name(series)}",
                LENGTH,
                "% of traces",
                [
                    Line("spill of those closed", "purple", spills, labelled=True),
                    Line("accuracy of all traces", "orange", right),
                ],
            )
    for benchmark, shown in closings.items():
        if len(shown) > 1:
            title, y_title = f"{benchmark}: spill by closing", "% of the traces that were closed"
            yield lines(f"closing_{benchmark}", title, LENGTH, y_title, [*shown.values()])
    yield Table("spill", "Spill at every point", rows)


def seconds(inputs: Inputs) -> Iterator[Item]:
    """Accuracy over median seconds, one chart a benchmark; the three latencies in the table."""
    rows: list[Row] = []
    for benchmark in inputs.benchmarks:
        shown: list[Line] = []
        for series in (s for s in inputs.on(benchmark) if not s.direct):
            marks: list[Mark] = []
            for cell, point in zip(series.cells, series.curve.points, strict=True):
                found = latency(cell)
                if found is None:
                    continue
                rows.append(
                    {
                        **{"benchmark": benchmark, "model": inputs.name(series)},
                        **{"setting": cell.setting, "accuracy %": accuracy(point)},
                        **{
                            n.replace("num_timed", "timed_traces").replace("_", " "): v
                            for n, v in vars(found).items()
                        },
                    }
                )
                marks.append(Mark(found.total_median_seconds, accuracy(point), cell.setting))
            labelled, hue = series is inputs.main, inputs.hue(series)
            shown += [Line(inputs.name(series), hue, marks, labelled=labelled)] * (len(marks) > 1)
        if shown:
            x_title = "median seconds per trace (log scale)"
            yield lines(f"seconds_{benchmark}", benchmark, x_title, "accuracy (%)", shown)
    yield Table("seconds", "Seconds at every point", rows)
