"""The selection funnel, and what the chosen sets of several runs have in common and what not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s1x.report import distributions, paper
from s1x.report.charts import Bars, Lines, Part
from s1x.report.inputs import Inputs, Run
from s1x.report.parts import Section
from s1x.report.tables import Table

LEAD = "From the pool to the rows that the model was trained on: what each step kept and dropped."


def build(inputs: Inputs) -> Section | None:
    """A funnel a selection (equal ones once), then the table of what differs."""
    funnels: dict[str, Mapping[str, Any]] = {}
    folders: dict[str, Path] = {}
    for run in inputs.runs:
        if run.funnel and run.funnel not in funnels.values():
            funnels[run.label] = run.funnel
            if run.selection:
                folders[run.label if len(inputs.runs) > 1 else "chosen"] = run.selection
    if not funnels:
        return None
    items: list[Bars | Lines | Table | str] = []
    for label, funnel in funnels.items():
        many = len(funnels) > 1
        items += [_chart(funnel, label if many else ""), _table(funnel, label if many else "")]
    items += distributions.charts(folders)
    items.append(what_differs(inputs))
    steps = " → ".join(f"{count:,} ({step})" for step, count in paper.FUNNEL.items())
    items.append(f"The paper's funnel: {steps}.")
    return Section("funnel", "From the pool to the chosen set", LEAD, tuple(items), "Selection")


def steps_of(funnel: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps of a funnel.json: step, rows_in, rows_out, reasons, wall_seconds."""
    return [dict(step) for step in funnel.get("steps") or []]


def _chart(funnel: Mapping[str, Any], label: str) -> Bars:
    steps = steps_of(funnel)
    kept = tuple(float(s["rows_out"]) for s in steps)
    dropped = tuple(float(s["rows_in"] - s["rows_out"]) for s in steps)
    return Bars(
        "funnel" + _suffix(label),
        "Selection funnel" + (f": {label}" if label else ""),
        "rows",
        tuple(str(s["step"]) for s in steps),
        (Part("kept", "kept", kept), Part("dropped", "dropped", dropped)),
        stacked=True,
        notes=tuple(f"{s['rows_in']:,} → {s['rows_out']:,}" for s in steps),
    )


def _table(funnel: Mapping[str, Any], label: str) -> Table:
    rows = []
    for step in steps_of(funnel):
        reasons = sorted((step.get("reasons") or {}).items(), key=lambda item: -int(item[1]))
        text = ", ".join(f"{reason}: {count:,}" for reason, count in reasons)
        dropped = step["rows_in"] - step["rows_out"]
        seconds = step.get("wall_seconds")
        rows.append((step["step"], step["rows_in"], step["rows_out"], dropped, text, seconds))
    columns = ("step", "rows in", "rows out", "dropped", "reasons", "seconds")
    title = "Rows at each step" + (f": {label}" if label else "")
    return Table("funnel" + _suffix(label), title, columns, tuple(rows), {"seconds": 1})


def _suffix(label: str) -> str:
    return "_" + "".join(c if c.isalnum() else "_" for c in label) if label else ""


def what_differs(inputs: Inputs) -> Table:
    """Chosen set and training of every run: what may explain a difference besides the recipe."""
    columns = (
        *("run", "rows", "trace tokens", "tokens a trace", "hard questions %"),
        *("domains", "correct attempts %"),
        *("training steps", "training tokens", "final loss"),
    )
    rows = tuple(_facts(run) for run in inputs.runs)
    used = [i for i in range(len(columns)) if i == 0 or any(row[i] is not None for row in rows)]
    digits = {"tokens a trace": 1, "hard questions %": 1, "final loss": 3, "correct attempts %": 1}
    return Table(
        "chosen_sets",
        "The chosen set and its training" if len(rows) == 1 else "What differs between the runs",
        tuple(columns[i] for i in used),
        tuple(tuple(row[i] for i in used) for row in rows),
        digits,
        note="Selections also differ in tokens and in the share of hard questions: part of a gain "
        "may be theirs and not the recipe's.",
    )


def _facts(run: Run) -> tuple[Any, ...]:
    funnel, training = run.funnel or {}, run.training or {}
    rows, tokens = funnel.get("rows_chosen"), funnel.get("trace_tokens_chosen")
    return (
        *(run.label, rows, tokens, tokens / rows if rows and tokens else None),
        _percent(funnel.get("share_hard")),
        funnel.get("num_domains"),
        _percent(funnel.get("share_attempts_correct")),
        training.get("steps"),
        training.get("tokens"),
        training.get("final_loss"),
    )


def _percent(share: Any) -> float | None:
    return None if share is None else 100.0 * float(share)
