"""Sections of every curve: its points, its metrics, its seeds, the base model, domains."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import mean, stdev

from s1x.curve import Estimate, Point, by_domain, difference_if_any
from s1x.report import paper
from s1x.report.charts import WIDE, WIDTH, Chart, Part, bars
from s1x.report.inputs import Inputs, Series
from s1x.report.lines import Line, Mark, lines, published
from s1x.report.parts import Item, Row, Table, accuracy

#: a setting's key in a sentence
SETTING = re.compile(r"\b[a-z_]+\.[a-z_]{3,}\b")
SEED = re.compile(r"(^|, )seed=\d+")
#: column of the table of points → field of `Point`
POINT_COLUMNS = {
    "accuracy of graded %": "accuracy_graded_percent",
    "thinking tokens": "mean_thinking_tokens",
    "answer tokens": "mean_answer_tokens",
    "forced tokens": "mean_forced_tokens",
    "cut %": "cut_percent",
    "truncated %": "truncated_percent",
    "loop %": "loop_percent",
    "answers cut %": "answers_cut_percent",
    "unanswered %": "unanswered_percent",
    "ungraded %": "ungraded_percent",
    "n": "num_problems",
    "samples": "samples_per_problem",
}
SMALLEST_DOMAIN = 5
PLACES = {True: "in-domain", None: "not stated", False: "out-of-domain"}
MOST_NAMES = 8
#: a table so long is folded
LONG = 16


def curves(inputs: Inputs) -> Iterator[Item]:
    """Accuracy over thinking tokens, one chart and one table a benchmark; the first opens it."""
    for index, benchmark in enumerate(inputs.benchmarks):
        if any(p.mean_thinking_tokens is not None for _, p in _points(inputs, benchmark)):
            yield _chart(inputs, benchmark, WIDTH if index else WIDE)
        yield from _without_tokens(inputs, benchmark)
    yield from _warnings(inputs)
    note = (
        "“cut”: the budget ended thinking; “truncated”: the context was full; “loop”: either, in "
        "thinking that repeats itself word for word; “answers cut”: the answer came to "
        "budget.max_answer_tokens. Ungraded answers count as not right."
    )
    for benchmark in inputs.benchmarks:
        rows: list[Row] = [
            {
                **{"model": inputs.name(series), "setting": p.setting, "accuracy %": accuracy(p)},
                **{column: vars(p)[name] for column, name in POINT_COLUMNS.items()},
            }
            for series in inputs.on(benchmark)
            for p in series.curve.points
        ]
        yield Table(f"points_{benchmark}", f"All points on {benchmark}", rows, note=note)


def _points(inputs: Inputs, benchmark: str) -> Iterator[tuple[Series, Point]]:
    return ((series, p) for series in inputs.on(benchmark) for p in series.curve.points)


def _without_tokens(inputs: Inputs, benchmark: str) -> Iterator[Chart]:
    """Bars of the points whose thinking tokens were not recorded, where there are any."""
    found = [(s, p) for s, p in _points(inputs, benchmark) if p.mean_thinking_tokens is None]
    if found:
        names = [f"{inputs.name(series)}: {point.setting}" for series, point in found]
        part = Part("accuracy", "orange", [accuracy(point) for _, point in found])
        title = f"{benchmark}: thinking tokens not recorded"
        yield bars(f"accuracy_{benchmark}", title, "accuracy (%)", names, [part], x_max=100.0)


def _warnings(inputs: Inputs) -> Iterator[str]:
    """What a reader of the numbers must know.

    Words that differ in their numbers only, or that name the same setting, are said once.
    """
    said: dict[str, dict[str, str]] = defaultdict(dict)
    for series in inputs.series:
        curve = f"{series.benchmark}, {inputs.name(series)}"
        for words in [*series.curve.warnings, *(series.info.get("warnings") or [])]:
            setting = SETTING.search(words)
            same = setting[0] if setting else re.sub(r"\d+", "N", words)
            said[same].setdefault(curve, f"{curve}: {words}.")
    for first, *others in (sentences.values() for sentences in said.values()):
        number = f"{len(others)} other curve{'s' if len(others) > 1 else ''}"
        yield first + (f" The same is true of {number}." if others else "")


def _chart(inputs: Inputs, benchmark: str, width: int) -> Chart:
    """All curves on a benchmark, answers without thinking as levels, the paper's points in grey.

    Runs that differ only in their seed are one line, their mean.
    """
    groups = groups_of_seeds(inputs, benchmark)
    shown = [_mean_line(inputs, name, group) for name, group in groups]
    averaged = [series for _, group in groups for series in group]
    for series in (s for s in inputs.on(benchmark) if s not in averaged):
        name, hue = inputs.name(series), inputs.hue(series)
        points = [p for p in series.curve.points if p.accuracy_percent is not None]
        if thinking := [mark(p) for p in points if p.mean_thinking_tokens]:
            labelled = series is inputs.main or (series.role != "base" and len(inputs.runs) == 1)
            shown.append(Line(name, hue, thinking, series.role == "base", labelled))
        without = [mark(p) for p in points if p.mean_thinking_tokens == 0]
        shown += [Line(name, hue, [level], level=True) for level in without]
    if reference := paper.curve(benchmark):
        shown.append(published("s1-32B", reference))
    x_title = "mean thinking tokens (log scale)"
    return lines(f"curve_{benchmark}", benchmark, x_title, "accuracy (%)", shown, width)


def mark(point: Point) -> Mark:
    """A curve's point with the words of its tooltip."""
    cut = point.answers_cut_percent
    numbers = {
        "{:,.1f} thinking tokens": point.mean_thinking_tokens,
        "{:,.1f} answer tokens": point.mean_answer_tokens,
        "thinking cut {:.0f}%": point.cut_percent,
        "thinking truncated {:.0f}%": point.truncated_percent,
        "thinking in a loop {:.0f}%": point.loop_percent or None,
    }
    details = (
        f"{point.num_correct} of {point.num_problems * point.samples_per_problem} correct",
        *(words.format(number) for words, number in numbers.items() if number is not None),
        f"unanswered {point.unanswered_percent:.0f}%, ungraded {point.ungraded_percent:.0f}%",
        *([f"answers cut {cut:.0f}%"] if cut else []),
    )
    return Mark(point.mean_thinking_tokens, accuracy(point), point.setting, details)


# -- runs that differ only in their seed -----------------------------------------------------------


def seeds(inputs: Inputs) -> Iterator[Item]:
    """Mean and spread of every recipe that was run with several seeds."""
    rows: list[Row] = [
        {
            "benchmark": benchmark,
            **({"run": name} if name else {}),
            "setting": setting,
            "thinking tokens": _mean_tokens(points),
            "mean %": mean(values),
            "standard deviation": stdev(values),
            "lowest %": min(values),
            "highest %": max(values),
            "seeds": len(values),
        }
        for benchmark in inputs.benchmarks
        for name, group in groups_of_seeds(inputs, benchmark)
        for setting, points, values in _settings(group)
    ]
    yield Table("seeds", "Mean and spread over seeds", rows, folded=False)


def groups_of_seeds(inputs: Inputs, benchmark: str) -> list[tuple[str, list[Series]]]:
    """Name and curves of each recipe that was run with several seeds, largest first."""
    groups: dict[tuple[str, ...], list[Series]] = defaultdict(list)
    settings = {run.label: sorted({**run.settings, "seed": 0}.items()) for run in inputs.runs}
    for series in inputs.tuned:
        if series.benchmark == benchmark and SEED.search(series.run):
            same = (SEED.sub("", series.run), str(settings.get(series.run)))
            groups[(*same, series.policy, series.role)].append(series)
    found = [(key[0].strip(", "), group) for key, group in groups.items() if len(group) > 1]
    return sorted(found, key=lambda item: -len(item[1]))


def _mean_line(inputs: Inputs, name: str, group: list[Series]) -> Line:
    """The mean curve over the seeds; its band goes from the lowest to the highest."""
    marks = [
        Mark(
            _mean_tokens(points),
            Estimate(mean(values), min(values), max(values)),
            setting,
        )
        for setting, points, values in _settings(group)
    ]
    words = ", ".join(filter(None, (name, f"mean of {len(group)} seeds, lowest to highest")))
    return Line(words, inputs.hue(group[0]), marks, labelled=inputs.main in group)


def _mean_tokens(points: Sequence[Point]) -> float | None:
    known = [p.mean_thinking_tokens for p in points if p.mean_thinking_tokens is not None]
    return mean(known) if len(known) == len(points) else None


def _settings(group: list[Series]) -> Iterator[tuple[str, list[Point], list[float]]]:
    """Settings that all seeds have, with their points and accuracies."""
    for setting in (cell.setting for cell in group[0].cells):
        points = [s.point(cell) for s in group if (cell := s.cell(setting))]
        if len(points) == len(group):
            yield setting, points, [p.accuracy_percent or 0.0 for p in points]


# -- metrics, base model, domains ------------------------------------------------------------------


def metrics(inputs: Inputs) -> Iterator[Item]:
    """Control, Scaling and Performance (paper, section 3.2), beside the paper's Table 3."""
    rows: list[Row] = []
    methods: set[str | None] = set()
    for series in inputs.thinking:
        curve, settings = series.curve, series.settings(series.cells[-1])
        methods.add(paper.METHODS.get(series.policy, (None, None))[bool(settings.get("force"))])
        best_of = curve.performance_percent.best_of or len(curve.points)
        row: Row = {
            **{"benchmark": series.benchmark, "model": inputs.name(series)},
            "policy": series.policy.replace("_", " "),
            "control %": curve.control_percent.value,
            "performance %": curve.performance_percent,
            "best of": f"{best_of} points",
            "scaling per doubling": curve.scaling_per_doubling,
            "scaling per 1,000 tokens": curve.scaling_per_thousand_tokens,
            "n": curve.num_problems,
        }
        rows.append(row)
    if not rows:
        return
    strong = {i for i, s in enumerate(inputs.thinking) if s is inputs.main}
    yield Table("metrics", "Measured", rows, strong, folded=False)
    yield Table(
        "paper_table_3",
        "The paper's Table 3: s1-32B on AIME24",
        paper.rows(paper.TABLE_3, "method", paper.METRICS),
        {i for i, name in enumerate(paper.TABLE_3) if name in methods},
        note="Another model on other questions: compare the shape of the numbers, not their size. "
        "Marked: the method measured here.",
    )


def base(inputs: Inputs) -> Iterator[Item]:
    """The base model beside the fine-tuned one, same budgets (the article's third warning)."""
    rows = [
        row
        for tuned in inputs.thinking
        for other in inputs.on(tuned.benchmark)
        if tuned.role != "base" and other.role == "base" and tuned.run in inputs.runs_of(other)
        for row in _gains(inputs, other, tuned)
    ]
    if rows:
        title = "Same budgets, both models"
        yield Table("base_and_fine_tuned", title, rows, folded=len(rows) > LONG)
        published = paper.rows(paper.MODELS, "model")
        if any(paper.benchmark_key(name) for name in inputs.benchmarks):
            yield Table("paper_models", "Published (paper, Tables 1 and 5)", published)


def _gains(inputs: Inputs, base: Series, tuned: Series) -> Iterator[Row]:
    for cell in base.cells:
        other = tuned.natural if base.direct else tuned.cell(cell.setting)
        gain = difference_if_any(other, cell)
        if gain is None or other is None:
            continue
        yield {
            "benchmark": base.benchmark,
            **({"run": tuned.run} if len(inputs.runs) > 1 else {}),
            "setting": "direct answer / natural" if base.direct else cell.setting,
            "base %": gain.right_accuracy_percent,
            "fine-tuned %": gain.left_accuracy_percent,
            "gain": gain.gap,
            "base thinking tokens": base.point(cell).mean_thinking_tokens,
            "fine-tuned thinking tokens": tuned.point(other).mean_thinking_tokens,
            "n": gain.num_problems,
        }


def domains(inputs: Inputs) -> Iterator[Item]:
    """In-domain against out-of-domain accuracy (the article's second warning)."""
    order = list(PLACES.values())
    shown = sorted(inputs.first(inputs.tuned), key=lambda series: order.index(_place(series)))
    if len(shown) > 1:
        names = [f"{s.benchmark} ({_place(s)})" for s in shown]
        parts = [
            Part("natural", "green", [accuracy(s.point(s.natural)) for s in shown]),
            Part("best setting", "orange", [accuracy(s.point(s.best)) for s in shown]),
        ]
        yield bars("domains", "By benchmark", "accuracy (%)", names, parts, x_max=100.0)
    if shown:
        rows = [_domain_row(inputs, series) for series in shown]
        yield Table("in_and_out_of_domain", "By benchmark", rows)
    if rows := [row for series in shown for row in _domain_rows(series)]:
        note = f"Domains with fewer than {SMALLEST_DOMAIN} problems are left out."
        yield Table("domains", "By domain", rows, note=note)


def _place(series: Series) -> str:
    inside = series.about.get("in_domain")
    return PLACES[inside if isinstance(inside, bool) else None]


def _domain_row(inputs: Inputs, series: Series) -> Row:
    base = [b for b in inputs.on(series.benchmark) if b.role == "base" and b is not series]
    direct = next((b.point(b.natural) for b in base if b.direct), None)
    same = next((b.point(b.natural) for b in base if not b.direct), None)
    fields = series.about.get("domain_names") or []
    more = " …" if len(fields) > MOST_NAMES else ""
    return {
        "benchmark": series.benchmark,
        "place": _place(series),
        "domains": ", ".join(map(str, fields[:MOST_NAMES])) + more,
        "base, direct %": accuracy(direct),
        "base, natural %": accuracy(same),
        "natural %": accuracy(series.point(series.natural)),
        "best %": accuracy(series.point(series.best)),
        "best setting": series.best.setting,
    }


def _domain_rows(series: Series) -> Sequence[Row]:
    best = {found.domain: found.accuracy_percent for found in by_domain(series.best)}
    rows: list[Row] = [
        {
            **{"benchmark": series.benchmark, "domain": found.domain},
            "natural %": found.accuracy_percent,
            "best %": best.get(found.domain),
            "thinking tokens": found.mean_thinking_tokens,
            "n": found.num_problems,
        }
        for found in by_domain(series.natural)
        if found.num_problems >= SMALLEST_DOMAIN
    ]
    return rows if len(rows) > 1 else []
