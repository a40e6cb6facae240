"""The table that ends a run on the console, from a summary alone: nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]
#: what curves have in common that are compared with each other
KIND = ("benchmark", "model_role", "prompt_format")


def console_table(summary: Json, width: int = 78, brief: bool = False) -> str:
    """The main curve as a table of plain text, with the base model beside it where it was measured.

    Args:
        summary: what `run` returned, or a summary.json that was read.
        width: columns of the terminal; the bars use what the numbers leave.
        brief: only the points, for a job whose sweep ends in a table of its own.
    """
    if summary.get("main_curve") is None:
        return "No curve was measured."
    curves = summary["curves"]
    main = curves[summary["main_curve"]]
    base = [  # in the main curve's run, or shared with it
        c
        for c in curves
        if (c["benchmark"], c["model_role"]) == (main["benchmark"], "base")
        and main["model_role"] != "base"
        and main["run"] in c["runs"]
    ]
    same = {p["setting"]: p for c in base if c["prompt_format"] != "direct" for p in c["points"]}
    points = [_line(point, same, width) for point in main["points"]]
    if brief:
        return "\n".join(points)
    others = [c for c in curves if c is not main and all(c[k] == main[k] for k in KIND)]
    direct = [p for c in base if c["prompt_format"] == "direct" for p in c["points"]]
    return "\n".join(
        [
            f"{main['benchmark']}, {main['name']} ({main['model']}, {main['policy']}, "
            f"n = {main['num_problems']} x {main['samples_per_problem']})",
            f"{'setting':<18}{'tokens':>9}{'accuracy %':>12}{'95% interval':>16}"
            + (f"{'base %':>9}" if same else ""),
            *points,
            _metrics(main),
            *(f"{other['name']}: {_metrics(other)}" for other in others),
            *(f"Base model answering directly: {_number(p['accuracy_percent'])}%" for p in direct),
        ]
    )


def _line(point: Json, same: Mapping[str, Json], width: int) -> str:
    low, high = point["interval_percent"]
    interval = f"{_number(low)} to {_number(high)}" if low is not None else "—"
    text = (
        f"{point['setting']:<18}{_number(point['mean_thinking_tokens'], ',.1f'):>9}"
        f"{_number(point['accuracy_percent']):>12}{interval:>16}"
    )
    if same:
        other = same.get(point["setting"])
        text += f"{_number(other['accuracy_percent']) if other else '—':>9}"
    room = max(0, width - len(text) - 2)
    bar = "█" * round((point["accuracy_percent"] or 0.0) / 100 * room)
    return f"{text}  {bar}".rstrip()


def _metrics(curve: Json) -> str:
    best = curve["performance_percent"]
    control = _number(curve["control_percent"]["value"], ".0f", "%")
    slope = _number(curve["scaling_per_doubling"]["value"], "+.1f")
    text = f"Control {control}, Scaling {slope} points per doubling, Performance "
    text += _number(best["value"], ".1f", "%")
    if (best.get("best_of") or 1) < 2 or best["low"] is None or best["value"] is None:
        return text
    return f"{text} (best of {best['best_of']} points, {best['low']:.1f} to {best['high']:.1f})"


def _number(value: float | None, digits: str = ".1f", unit: str = "") -> str:
    return "—" if value is None else f"{value:{digits}}{unit}"
