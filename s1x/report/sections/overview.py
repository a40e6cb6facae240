"""The report's first lines: what was found, what it does not show, what was run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import mean

from s1x.curve import Point
from s1x.report.inputs import NATURAL_SETTING, Inputs, Series
from s1x.report.parts import Row, Table, brief
from s1x.report.sections.curves import groups_of_seeds


@dataclass(frozen=True)
class Head:
    """What stands above the sections, and in the last one (`facts`, `stages`)."""

    title: str
    finding: str
    subtitle: str
    words: str
    notes: list[str]
    facts: dict[str, str]
    stages: Table | None


def head(inputs: Inputs) -> Head:
    """The title is the main result."""
    context = inputs.context
    title = str(context.get("title") or context.get("name") or "Test-time scaling")
    models = dict.fromkeys(s.cells[0].model for s in inputs.series)
    counts = {b: max(s.curve.num_problems for s in inputs.on(b)) for b in inputs.benchmarks}
    benchmarks = ", ".join(f"{name} (n = {count})" for name, count in counts.items())
    return Head(
        title=title,
        finding=f"{brief(title, 40)}: {_finding(inputs)}",
        subtitle=f"{', '.join(models)} on {benchmarks}",
        words=" ".join(_settings_words(inputs, inputs.main)) if inputs.main else "",
        notes=_notes(inputs),
        facts=_facts(inputs),
        stages=_stages(inputs),
    )


def _finding(inputs: Inputs) -> str:
    """The main result in a sentence."""
    if inputs.main is None:
        return "no curve with thinking was measured"
    seeds = groups_of_seeds(inputs, inputs.main.benchmark)
    if len(inputs.rivals) < 2:
        return _change(inputs.main)
    if seeds and len(seeds[0][1]) == len(inputs.rivals):
        return _mean_of(seeds[0][1])
    return _best_of(inputs)


def _ends(series: Series) -> tuple[Point, Point] | None:
    """The points with the fewest and the most thinking tokens; where unknown, first and last."""
    points = [p for p in series.curve.points if p.accuracy_percent is not None]
    if all(p.mean_thinking_tokens is not None for p in points):
        points = sorted(points, key=lambda p: p.mean_thinking_tokens or 0.0)
    return (points[0], points[-1]) if len(points) > 1 else None


def _top(series: Series) -> float:
    return series.point(series.best).accuracy_percent or 0.0


def _change(series: Series) -> str:
    where = f"accuracy on {brief(series.benchmark)}"
    ends = _ends(series)
    if ends is None:
        point = series.point(series.best)
        value = "unknown" if point.accuracy_percent is None else f"{point.accuracy_percent:.1f}%"
        spent = point.mean_thinking_tokens
        tokens = "" if spent is None else f" with {spent:,.0f} thinking tokens"
        return f"{where} is {value}{tokens}"
    first, last = ends
    values = f"from {first.accuracy_percent:.1f}% to {last.accuracy_percent:.1f}%"
    if first.mean_thinking_tokens is None or last.mean_thinking_tokens is None:
        return f"{where} goes {values} ({first.setting} to {last.setting})"
    tokens = f"({first.mean_thinking_tokens:,.0f} to {last.mean_thinking_tokens:,.0f})"
    slope = series.curve.scaling_per_doubling
    for verb, sure in (("rises", (slope.low or 0) > 0), ("falls", (slope.high or 0) < 0)):
        if sure:
            return f"{where} {verb} {values} with thinking tokens {tokens}"
    return f"{where} does not change significantly with thinking tokens {tokens}: {values}"


def _best_of(inputs: Inputs) -> str:
    ranked = sorted(inputs.rivals, key=_top, reverse=True)
    top, last = ranked[0], ranked[-1]
    return (
        f"{brief(inputs.name(top))} is best of {len(ranked)} curves on "
        f"{brief(top.benchmark)}, {_top(top):.1f}% at {top.best.setting}; "
        f"{brief(inputs.name(last))} reaches {_top(last):.1f}%"
    )


def _mean_of(seeds: list[Series]) -> str:
    pairs = [ends for series in seeds if (ends := _ends(series))]
    if not pairs:
        best = [_top(series) for series in seeds]
        spread = f"{min(best):.1f} to {max(best):.1f}"
        return f"{mean(best):.1f}% on average of {len(best)} seeds, {spread}"
    first, last = ([pair[i].accuracy_percent or 0.0 for pair in pairs] for i in (0, 1))
    return (
        f"accuracy on {brief(seeds[0].benchmark)} goes from {mean(first):.1f}% to "
        f"{mean(last):.1f}% with thinking tokens on average of {len(pairs)} seeds "
        f"({min(last):.1f} to {max(last):.1f} at the end)"
    )


def _settings_words(inputs: Inputs, main: Series) -> Iterator[str]:
    """What the labels of the curve's points mean."""
    settings = [main.settings(cell) for cell in main.cells]
    if any(s.get("max_thinking_tokens") for s in settings):
        yield "“max N”: thinking is cut after N tokens."
    if main.cell(NATURAL_SETTING):
        yield "“natural”: the model ends its thinking itself."
    for string in [s.get("wait_string") for s in settings if s.get("num_waits")][:1]:
        appended = f", “{string}” appended instead" if string else ""
        yield f"“{string or 'no string'} x k”: its end is suppressed k times{appended}."
    seeds = groups_of_seeds(inputs, main.benchmark)
    yield "Bands hold the seeds' spread." if seeds else "Bands are 95% intervals."


def _notes(inputs: Inputs) -> list[str]:
    """What models and benchmarks ask a report to say, the first words of each before the rest."""
    lists: list[list[str]] = []
    for series in inputs.series:
        lists += [series.info.get("model_notes") or [], series.about.get("notes") or []]
    first = [text for words in lists for text in words[:1]]
    rest = [text for words in lists for text in words[1:]]
    return list(dict.fromkeys([*first, *rest, *(inputs.context.get("notes") or [])]))


def _facts(inputs: Inputs) -> dict[str, str]:
    """What was run, as name and value."""
    context, main = inputs.context, inputs.main
    found = {
        "runs": ", ".join(run.label for run in inputs.runs) if len(inputs.runs) > 1 else "",
        "scale": context.get("scale"),
        "seed": context.get("seed"),
        "budget policy": ", ".join(dict.fromkeys(s.policy for s in inputs.thinking)),
        "sampling": _sampling(main) if main else None,
        "engine": _engine(main) if main else None,
        "command": context.get("command"),
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def _sampling(series: Series) -> str | None:
    sampling = series.info.get("sampling")
    if not isinstance(sampling, Mapping):
        return None
    words = [f"temperature {sampling.get('temperature')}"]
    if sampling.get("temperature"):
        words.append(f"top_p {sampling.get('top_p')}")
    count = series.curve.samples_per_problem
    return ", ".join([*words, f"{count} sample{'s' if count > 1 else ''} per problem"])


def _engine(series: Series) -> str | None:
    engine = series.info.get("engine")
    if isinstance(engine, Mapping):
        where = [str(engine[key]) for key in ("device", "dtype") if engine.get(key)]
        return ", ".join([str(engine.get("engine") or "not named"), *where])
    return str(engine) if engine else None


def _stages(inputs: Inputs) -> Table | None:
    """Each stage with its fingerprint, seconds and whether it was reused."""
    rows: list[Row] = [
        {
            **{"stage": s.get("stage"), "what": s.get("label") or ""},
            "fingerprint": s.get("fingerprint") or "",
            "seconds in this run": s.get("wall_seconds"),
            "made": "reused" if s.get("reused") else "built",
        }
        for s in inputs.context.get("stages") or []
    ]
    return Table("stages", "Stages and fingerprints", rows) if rows else None
