"""The report's first lines: what was found, what it does not show, what was run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import mean
from typing import Any

from s1x.curve import Point
from s1x.report.inputs import NATURAL_SETTING, Inputs, Series
from s1x.report.parts import Table, brief
from s1x.report.sections.seeds import groups_of_seeds


def head(inputs: Inputs) -> dict[str, Any]:
    """What stands above the sections, by the names of the page's template."""
    context, main = inputs.context, inputs.main
    title = str(context.get("title") or context.get("name") or "Test-time scaling")
    models = dict.fromkeys(s.cells[0].model for s in inputs.series)
    subtitle = f"{', '.join(models)} on {', '.join(_counted(inputs, b) for b in inputs.benchmarks)}"
    return {
        "title": title,
        "finding": f"{brief(title, 40)}: {finding(inputs)}",
        "subtitle": subtitle,
        "words": " ".join(_settings_words(inputs, main)) if main else "",
        "notes": notes(inputs),
        "facts": _facts(inputs),
        "stages": _stages_table(inputs),
    }


def finding(inputs: Inputs) -> str:
    """The main result in a sentence."""
    main = inputs.main
    rivals = [s for s in inputs.tuned if main and s.benchmark == main.benchmark]
    if main is None:
        return "no curve with thinking was measured"
    seeds = groups_of_seeds(inputs, main.benchmark)
    if len(rivals) > 1 and seeds and len(seeds[0][1]) == len(rivals):
        return _seeds_finding(seeds[0][1])
    if len(rivals) > 1:
        return _best_of(inputs, rivals)
    return _change(main)


def _ends(series: Series) -> tuple[Point, Point] | None:
    """The points with the fewest and the most thinking tokens."""
    known = [p for p in series.curve.points if p.accuracy_percent is not None]
    ordered = sorted(known, key=lambda p: p.mean_thinking_tokens)
    return (ordered[0], ordered[-1]) if len(ordered) > 1 else None


def _change(series: Series) -> str:
    ends = _ends(series)
    if ends is None:
        point = series.point(series.best)
        value = "unknown" if point.accuracy_percent is None else f"{point.accuracy_percent:.1f}%"
        tokens = f"{point.mean_thinking_tokens:,.0f} thinking tokens"
        return f"accuracy on {brief(series.benchmark)} is {value} with {tokens}"
    first, last = ends
    where = f"accuracy on {brief(series.benchmark)}"
    values = f"from {first.accuracy_percent:.1f}% to {last.accuracy_percent:.1f}%"
    tokens = f"({first.mean_thinking_tokens:,.0f} to {last.mean_thinking_tokens:,.0f})"
    slope = series.curve.scaling_per_doubling
    for verb, sure in (
        ("rises", slope.low is not None and slope.low > 0),
        ("falls", slope.high is not None and slope.high < 0),
    ):
        if sure:
            return f"{where} {verb} {values} with thinking tokens {tokens}"
    return f"{where} does not change significantly with thinking tokens {tokens}: {values}"


def _best_of(inputs: Inputs, rivals: list[Series]) -> str:
    def best(series: Series) -> float:
        return series.point(series.best).accuracy_percent or 0.0

    ranked = sorted(rivals, key=best, reverse=True)
    top, last = ranked[0], ranked[-1]
    return (
        f"{brief(inputs.name(top))} is best of {len(ranked)} curves on "
        f"{brief(top.benchmark)}, {best(top):.1f}% at {top.best.setting}; "
        f"{brief(inputs.name(last))} reaches {best(last):.1f}%"
    )


def _seeds_finding(members: list[Series]) -> str:
    pairs = [ends for series in members if (ends := _ends(series))]
    if not pairs:
        best = [s.point(s.best).accuracy_percent or 0.0 for s in members]
        spread = f"{min(best):.1f} to {max(best):.1f}"
        return f"{mean(best):.1f}% on average of {len(best)} seeds, {spread}"
    first, last = ([pair[i].accuracy_percent or 0.0 for pair in pairs] for i in (0, 1))
    return (
        f"accuracy on {brief(members[0].benchmark)} goes from {mean(first):.1f}% to "
        f"{mean(last):.1f}% with thinking tokens on average of {len(pairs)} seeds "
        f"({min(last):.1f} to {max(last):.1f} at the end)"
    )


def _settings_words(inputs: Inputs, main: Series) -> Iterator[str]:
    """What the labels of the curve's points mean."""
    settings = [main.settings(cell.point) for cell in main.cells]
    if any(s.get("max_thinking_tokens") for s in settings):
        yield "“max N”: thinking is cut after N tokens."
    if main.cell(NATURAL_SETTING):
        yield "“natural”: the model ends its thinking itself."
    waits = [s for s in settings if s.get("num_waits")]
    if waits:
        string = waits[0].get("wait_string")
        appended = f", “{string}” appended instead" if string else ""
        yield f"“{string or 'no string'} x k”: its end is suppressed k times{appended}."
    seeds = groups_of_seeds(inputs, main.benchmark)
    yield "Bands hold the seeds' spread." if seeds else "Bands are 95% intervals."


def notes(inputs: Inputs) -> list[str]:
    """What models and benchmarks ask a report to say, the first words of each before the rest."""
    lists: list[list[str]] = []
    for series in inputs.series:
        lists += [list(series.info.get("model_notes") or []), list(series.about.get("notes") or [])]
    first = [words[0] for words in lists if words]
    rest = [text for words in lists for text in words[1:]]
    return list(dict.fromkeys([*first, *rest, *(inputs.context.get("notes") or [])]))


def _facts(inputs: Inputs) -> list[tuple[str, str]]:
    """What was run, as name and value."""
    context, main = inputs.context, inputs.main
    policies = dict.fromkeys(s.policy for s in inputs.thinking)
    runs = [run.label for run in inputs.runs] if len(inputs.runs) > 1 else []
    found: list[tuple[str, Any]] = [
        ("runs", ", ".join(runs)),
        ("scale", context.get("scale")),
        ("seed", context.get("seed")),
        ("budget policy", ", ".join(policies)),
        ("sampling", _sampling(main) if main else None),
        ("engine", _engine(main) if main else None),
        ("command", context.get("command")),
    ]
    return [(name, str(value)) for name, value in found if value not in (None, "")]


def _counted(inputs: Inputs, benchmark: str) -> str:
    return f"{benchmark} (n = {max(s.curve.num_problems for s in inputs.on(benchmark))})"


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


def _stages_table(inputs: Inputs) -> Table | None:
    """Each stage with its fingerprint, seconds and whether it was reused."""
    rows = [
        {
            "stage": s.get("stage"),
            "what": s.get("label") or "",
            "fingerprint": s.get("fingerprint") or "",
            "seconds in this run": s.get("wall_seconds"),
            "made": "reused" if s.get("reused") else "built",
        }
        for s in inputs.context.get("stages") or []
    ]
    title = "Stages and fingerprints"
    return Table("stages", title, rows, {"seconds in this run": 1}) if rows else None
