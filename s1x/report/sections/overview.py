"""The report's first lines: what was run, at which scale, from what, and what it does not show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s1x.report.inputs import Inputs, Series
from s1x.report.tables import Table


def title(inputs: Inputs) -> str:
    """The report's headline."""
    context = inputs.context
    name = context.get("title") or context.get("name")
    return str(name) if name else "Test-time scaling"


def notes(inputs: Inputs) -> list[str]:
    """What models and benchmarks ask a report to say, the first word of each before the rest."""
    lists: list[list[str]] = []
    for series in inputs.series:
        about = series.info.get("benchmark_info") or {}
        lists += [list(series.info.get("model_notes") or []), list(about.get("notes") or [])]
    first = [words[0] for words in lists if words]
    rest = [text for words in lists for text in words[1:]]
    return list(dict.fromkeys([*first, *rest]))


def headline(inputs: Inputs) -> str:
    """The main curve in a sentence."""
    series = inputs.main
    if series is None:
        return ""
    points = {p.point: p for p in series.curve.points}
    first, natural, best = (points[c.point] for c in (series.cells[0], series.natural, series.best))
    steps = list({p.point: p for p in (first, natural, best)}.values())
    words = " → ".join(
        f"{p.accuracy_percent:.1f}% at {p.setting} ({p.mean_thinking_tokens:,.0f} tokens)"
        for p in steps
        if p.accuracy_percent is not None
    )
    base = [s for s in inputs.on(series.benchmark) if s.role == "base" and series.role != "base"]
    said = f"{series.benchmark}, {inputs.name(series)}: {words}."
    for other in base:
        value = other.curve.performance_percent.value
        if value is not None:
            what = "answering directly" if other.direct else "at its best under the same budgets"
            said += f" The base model has {value:.1f}% {what}."
    return said


def facts(inputs: Inputs) -> list[tuple[str, str]]:
    """What was run, as name and value."""
    context = inputs.context
    models = dict.fromkeys(s.cells[0].model for s in inputs.series)
    main = inputs.main
    found: list[tuple[str, Any]] = [
        ("scale", context.get("scale")),
        ("seed", context.get("seed")),
        ("models", ", ".join(models)),
        ("benchmarks", ", ".join(_counted(inputs, b) for b in inputs.benchmarks)),
        (
            "budget policy",
            ", ".join(dict.fromkeys(s.policy for s in inputs.series if not s.direct)),
        ),
        ("sampling", _sampling(main) if main else None),
        ("engine", _engine(main) if main else None),
        ("command", context.get("command")),
    ]
    if len(inputs.runs) > 1:
        found.insert(0, ("runs", ", ".join(run.label for run in inputs.runs)))
    return [(name, str(value)) for name, value in found if value not in (None, "")]


def _counted(inputs: Inputs, benchmark: str) -> str:
    most = max(s.curve.num_problems for s in inputs.on(benchmark))
    return f"{benchmark} (n = {most})"


def _sampling(series: Series) -> str | None:
    sampling = series.info.get("sampling")
    if not isinstance(sampling, Mapping):
        return None
    words = [f"temperature {sampling.get('temperature')}"]
    if sampling.get("temperature"):
        words.append(f"top_p {sampling.get('top_p')}")
    count = series.curve.samples_per_problem
    return ", ".join([*words, f"{count} sample{'s' if count > 1 else ''} a problem"])


def _engine(series: Series) -> str | None:
    engine = series.info.get("engine")
    if isinstance(engine, Mapping):
        where = [str(engine[key]) for key in ("device", "dtype") if engine.get(key)]
        return ", ".join([str(engine.get("engine") or "not named"), *where])
    return str(engine) if engine else None


def stages_table(inputs: Inputs) -> Table | None:
    """Each stage with its fingerprint, seconds and whether it was reused."""
    stages = inputs.context.get("stages") or []
    if not stages:
        return None
    rows = tuple(
        (
            *(s.get("stage"), s.get("label") or "", s.get("fingerprint") or ""),
            *(s.get("wall_seconds"), "reused" if s.get("reused") else "built"),
        )
        for s in stages
    )
    columns = ("stage", "what", "fingerprint", "seconds in this run", "")
    digits = {"seconds in this run": 1}
    return Table("stages", "Stages and fingerprints", columns, rows, digits, folded=True)
