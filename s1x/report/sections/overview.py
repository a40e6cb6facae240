"""The report's first lines: what was run, at which scale, from what, and what it does not show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from s1x.report.inputs import Inputs, Series
from s1x.report.tables import Table

PUZZLES = (
    "The questions are procedural puzzles and the model has about a million parameters. Any gain "
    "from “Wait” here comes from a flaw that was designed into the teacher: its traces sometimes "
    "take a near miss for a hit, and a forced recheck mends that. The base model can already "
    "search; fine-tuning elicits the format. The world shows the mechanism and tests the tool; it "
    "is no evidence about large models.",
    "Part of the gain of the s1K-style selection over a random thousand is that it has more tokens "
    "and more hard questions, and that the teacher was designed to take more care with those; the "
    "section on the chosen set has the numbers.",
)
#: scales that run a tiny model; puzzles tell it too where the scale is not known
SMALL_SCALES = ("laptop", "quick")
LAPTOP = (
    "This is the laptop scale: a rehearsal of the recipe with a tiny model, not the 32B result. "
    "Accuracies say nothing about s1-32B."
)
SMALL_MODEL = (
    "A model of this size is poor at these questions: the run shows that the program works on a "
    "real model, tokenizer and benchmark, not how well the recipe does."
)


def title(inputs: Inputs) -> str:
    """The report's headline."""
    context = inputs.context
    name = context.get("title") or context.get("name")
    return str(name) if name else "Test-time scaling"


def honest_words(inputs: Inputs) -> list[str]:
    """What must be said wherever the curve is shown."""
    puzzles = any(name.startswith("puzzles") for name in inputs.benchmarks)
    if not puzzles and inputs.context.get("scale") not in SMALL_SCALES:
        return []
    return [LAPTOP, *(PUZZLES if puzzles else (SMALL_MODEL,))]


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
