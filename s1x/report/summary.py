"""summary.json: the report's numbers for scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from s1x.report.inputs import Inputs, Run, Series
from s1x.report.sections.compare import crossings, reference_of
from s1x.report.sections.costs import ledger, sft_share_percent, total
from s1x.report.sections.selection import steps_of

VERSION = 1


def summary(inputs: Inputs, notes: Sequence[str], finding: str) -> dict[str, Any]:
    """Everything a script may want, as JSON-able values; unknown is null.

    Args:
        inputs: the runs.
        notes: what must be said of the runs wherever they are shown.
        finding: the main result in a sentence.
    """
    context = inputs.context
    entries = ledger(inputs)
    main = inputs.main
    rivals = [s for s in inputs.tuned if main and s.benchmark == main.benchmark]
    return {
        "version": VERSION,
        "title": context.get("title") or context.get("name"),
        "scale": context.get("scale"),
        "seed": context.get("seed"),
        "command": context.get("command"),
        "finding": finding,
        "turns": crossings(rivals, reference_of(inputs)) if len(inputs.runs) > 1 else [],
        "notes": list(notes),
        "stages": [dict(stage) for stage in context.get("stages") or []],
        "funnel": _funnel(inputs.runs[0]) if len(inputs.runs) == 1 else None,
        "runs": [_run(run) for run in inputs.runs],
        "main_curve": inputs.series.index(main) if main else None,
        "curves": [_curve(inputs, series) for series in inputs.series],
        "costs": {
            "wall_seconds": total(entries, "wall_seconds"),
            "gpu_hours": total(entries, "gpu_hours"),
            "usd": total(entries, "usd"),
            "sft_share_percent": sft_share_percent(entries),
        },
        "warnings": sorted({w for s in inputs.series for w in s.info.get("warnings") or []}),
    }


def _run(run: Run) -> dict[str, Any]:
    funnel = run.funnel or {}
    return {
        "label": run.label,
        "settings": dict(run.settings),
        "funnel": _funnel(run),
        "rows_chosen": funnel.get("rows_chosen"),
        "trace_tokens_chosen": funnel.get("trace_tokens_chosen"),
        "share_hard": funnel.get("share_hard"),
    }


def _funnel(run: Run) -> list[dict[str, Any]] | None:
    if run.funnel is None:
        return None
    names = ("step", "rows_in", "rows_out")
    return [{name: step.get(name) for name in names} for step in steps_of(run.funnel)]


def _curve(inputs: Inputs, series: Series) -> dict[str, Any]:
    curve = series.curve.to_dict()
    kept = (
        *("model", "model_role", "prompt_format", "policy", "num_problems", "samples_per_problem"),
        *("warnings", "control_percent", "scaling_per_doubling", "scaling_per_thousand_tokens"),
        "performance_percent",
    )
    return {
        "name": inputs.name(series),
        "run": series.run,
        "runs": inputs.runs_of(series),
        "benchmark": series.benchmark,
        "in_domain": series.about.get("in_domain"),
        "points": [_point(point) for point in curve["points"]],
        **{name: curve[name] for name in kept},
    }


def _point(point: Mapping[str, Any]) -> dict[str, Any]:
    first = ("setting", "mean_thinking_tokens", "accuracy_percent")
    made = {name: point[name] for name in first}
    made["interval_percent"] = [point["interval_low_percent"], point["interval_high_percent"]]
    made |= {"n": point["num_problems"], "samples": point["samples_per_problem"]}
    rest = ("point", "interval_low_percent", "interval_high_percent", *first)
    return made | {k: v for k, v in point.items() if k not in rest}
