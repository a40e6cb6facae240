"""The table that ends a run on the console, from a summary alone: nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def console_table(summary: Mapping[str, Any], width: int = 78, brief: bool = False) -> str:
    """The main curve as a table of plain text, with the base model beside it where it was measured.

    Args:
        summary: what `run` returned, or a summary.json that was read.
        width: columns of the terminal; the bars use what the numbers leave.
        brief: only the points, for a job whose sweep ends in a table of its own.
    """
    if summary.get("main_curve") is None:
        return "No curve was measured."
    curves: Sequence[Mapping[str, Any]] = summary["curves"]
    main = curves[summary["main_curve"]]
    base = [] if main["model_role"] == "base" else [c for c in curves if _is_base_of(c, main)]
    same = {p["setting"]: p for c in base if c["prompt_format"] != "direct" for p in c["points"]}
    lines = [
        f"{main['benchmark']}, {main['name']} ({main['model']}, {main['policy']}, "
        f"n = {main['num_problems']} x {main['samples_per_problem']})",
        f"{'setting':<18}{'tokens':>9}{'accuracy %':>12}{'95% interval':>16}"
        + (f"{'base %':>9}" if same else ""),
    ]
    lines += [_line(point, same, width) for point in main["points"]]
    if brief:
        return "\n".join(lines[2:])
    lines.append(_metrics(main))
    lines += [f"{other['name']}: {_metrics(other)}" for other in curves if _rival(other, main)]
    lines += [
        f"Base model answering directly: {_number(p['accuracy_percent'])}%"
        for c in base
        if c["prompt_format"] == "direct"
        for p in c["points"]
    ]
    return "\n".join(lines)


def _is_base_of(curve: Mapping[str, Any], main: Mapping[str, Any]) -> bool:
    """Whether it is the base model's curve in the main curve's run (or one that the run shares)."""
    same = curve["benchmark"] == main["benchmark"] and curve["model_role"] == "base"
    return same and main["run"] in curve["runs"]


def _rival(curve: Mapping[str, Any], main: Mapping[str, Any]) -> bool:
    """Whether it is another run's or policy's curve of the same kind as the main one."""
    kind = ("benchmark", "model_role", "prompt_format")
    return curve is not main and all(curve[name] == main[name] for name in kind)


def _line(point: Mapping[str, Any], same: Mapping[str, Mapping[str, Any]], width: int) -> str:
    low, high = point["interval_percent"]
    interval = f"{_number(low)} to {_number(high)}" if low is not None else "—"
    text = (
        f"{point['setting']:<18}{point['mean_thinking_tokens']:>9,.1f}"
        f"{_number(point['accuracy_percent']):>12}{interval:>16}"
    )
    if same:
        other = same.get(point["setting"])
        text += f"{_number(other['accuracy_percent']) if other else '—':>9}"
    room = max(0, width - len(text) - 2)
    bar = "█" * round((point["accuracy_percent"] or 0.0) / 100 * room)
    return f"{text}  {bar}".rstrip()


def _metrics(curve: Mapping[str, Any]) -> str:
    control, best = (curve[f"{name}_percent"]["value"] for name in ("control", "performance"))
    kept = "—" if control is None else f"{control:.0f}%"
    scaling = curve["scaling_per_doubling"]["value"]
    slope = "—" if scaling is None else f"{scaling:+.1f}"
    top = "—" if best is None else f"{best:.1f}%{_best_of(curve['performance_percent'])}"
    return f"Control {kept}, Scaling {slope} points per doubling, Performance {top}"


def _best_of(best: Mapping[str, Any]) -> str:
    """Words that a value is the best of many, and how far that is known."""
    if (best.get("best_of") or 1) < 2 or best["low"] is None:
        return ""
    return f" (best of {best['best_of']} points, {best['low']:.1f} to {best['high']:.1f})"


def _number(value: float | None, digits: int = 1) -> str:
    return "—" if value is None else f"{value:.{digits}f}"
