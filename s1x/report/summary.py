"""summary.json: the report's numbers for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from s1x.curve import Result, latency, spill
from s1x.report.inputs import Inputs, Json, Run, Series
from s1x.report.sections.compare import crossings
from s1x.report.sections.costs import ledger, sft_share_percent, total
from s1x.report.sections.selection import steps_of

VERSION = 1
CONTEXT = ("scale", "seed", "command")
OF_RUN = ("rows_chosen", "trace_tokens_chosen", "share_hard")
OF_CURVE = (
    *("model", "model_role", "prompt_format", "policy", "num_problems", "samples_per_problem"),
    *("warnings", "control_percent", "scaling_per_doubling", "scaling_per_thousand_tokens"),
    "performance_percent",
)
FIRST = ("setting", "mean_thinking_tokens", "accuracy_percent")
#: fields of a point that have another name or place
RENAMED = ("point", "interval_low_percent", "interval_high_percent", *FIRST)


def summary(inputs: Inputs, notes: Sequence[str], finding: str) -> dict[str, Any]:
    """Everything a script may want, as JSON-able values; unknown is null.

    Args:
        inputs: the runs.
        notes: what must be said of the runs wherever they are shown.
        finding: the main result in a sentence.
    """
    context, entries, main = inputs.context, ledger(inputs), inputs.main
    return {
        "version": VERSION,
        "title": context.get("title") or context.get("name"),
        **{name: context.get(name) for name in CONTEXT},
        "finding": finding,
        "turns": crossings(inputs.rivals, inputs.reference) if len(inputs.runs) > 1 else [],
        "notes": list(notes),
        "stages": [dict(stage) for stage in context.get("stages") or []],
        "funnel": _funnel(inputs.runs[0]) if len(inputs.runs) == 1 else None,
        "runs": [
            {
                **{"label": run.label, "settings": dict(run.settings), "funnel": _funnel(run)},
                **{name: (run.funnel or {}).get(name) for name in OF_RUN},
            }
            for run in inputs.runs
        ],
        "main_curve": inputs.series.index(main) if main else None,
        "curves": [_curve(inputs, series) for series in inputs.series],
        "costs": {
            **{unit: total(entries, unit) for unit in ("wall_seconds", "gpu_hours", "usd")},
            "sft_share_percent": sft_share_percent(entries),
        },
        "warnings": sorted({w for s in inputs.series for w in s.info.get("warnings") or []}),
    }


def _funnel(run: Run) -> list[Json] | None:
    names = ("step", "rows_in", "rows_out")
    steps: list[Json] = [{name: step.get(name) for name in names} for step in steps_of(run.funnel)]
    return None if run.funnel is None else steps


def _curve(inputs: Inputs, series: Series) -> Json:
    curve = series.curve.to_dict()
    return {
        "name": inputs.name(series),
        "run": series.run,
        "runs": inputs.runs_of(series),
        "benchmark": series.benchmark,
        "in_domain": series.about.get("in_domain"),
        "points": [
            {
                **_point(point),
                "spill": _or_null(spill(cell, series.natural)),
                "latency": _or_null(latency(cell)),
            }
            for point, cell in zip(curve["points"], series.cells, strict=True)
        ],
        **{name: curve[name] for name in OF_CURVE},
        "allocation": _or_null(series.allocation),
    }


def _or_null(found: Result | None) -> Json | None:
    return found.to_dict() if found else None


def _point(point: Json) -> Json:
    return {
        **{name: point[name] for name in FIRST},
        "interval_percent": [point["interval_low_percent"], point["interval_high_percent"]],
        **{"n": point["num_problems"], "samples": point["samples_per_problem"]},
        **{name: value for name, value in point.items() if name not in RENAMED},
    }
