"""The selection funnel, and what the chosen sets of several runs have in common and what not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from s1x.report import paper
from s1x.report.charts import RUN_HUES, Chart, Part, bars
from s1x.report.inputs import Inputs, Run
from s1x.report.lines import Line, Mark, lines
from s1x.report.parts import Section, Table

LEAD = "From the pool to the rows that the model was trained on: what each step kept and dropped."
POOL, OTHER = "pool", "other"
MOST_BARS = 12
#: bins of the trace lengths per doubling
BINS_PER_DOUBLING = 2


def build(inputs: Inputs) -> Section | None:
    """A funnel per selection (equal ones once), then what differs between the chosen sets."""
    funnels: dict[str, Mapping[str, Any]] = {}
    folders: dict[str, Path] = {}
    for run in inputs.runs:
        if run.funnel and run.funnel not in funnels.values():
            funnels[run.label] = run.funnel
            if run.selection:
                folders[run.label if len(inputs.runs) > 1 else "chosen"] = run.selection
    if not funnels:
        return None
    items: list[Chart | Table | str] = []
    tables: list[Table] = []
    for label, funnel in funnels.items():
        name = label if len(funnels) > 1 else ""
        items.append(_funnel(funnel, name))
        tables.append(_table(funnel, name))
    items += [*pool_and_chosen(folders), what_differs(inputs), *tables]
    steps = " → ".join(f"{count:,} ({step})" for step, count in paper.FUNNEL.items())
    items.append(f"The paper's funnel: {steps}.")
    return Section("funnel", "From the pool to the chosen set", LEAD, tuple(items), "Selection")


def steps_of(funnel: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps of a funnel.json: step, rows_in, rows_out, reasons, wall_seconds."""
    return [dict(step) for step in funnel.get("steps") or []]


def _funnel(funnel: Mapping[str, Any], label: str) -> Chart:
    steps = steps_of(funnel)
    kept = Part("kept", "blue", tuple(float(s["rows_out"]) for s in steps))
    dropped = tuple(float(s["rows_in"] - s["rows_out"]) for s in steps)
    return bars(
        "_".join(filter(None, ("funnel", label))),
        ": ".join(filter(None, ("Selection funnel", label))),
        "rows",
        [str(s["step"]) for s in steps],
        [kept, Part("dropped", "silver", dropped)],
        stacked=True,
        notes=[f"{s['rows_in']:,} → {s['rows_out']:,}" for s in steps],
    )


def _table(funnel: Mapping[str, Any], label: str) -> Table:
    rows = []
    for step in steps_of(funnel):
        reasons = sorted((step.get("reasons") or {}).items(), key=lambda item: -int(item[1]))
        rows.append(
            {
                "step": step["step"],
                "rows in": step["rows_in"],
                "rows out": step["rows_out"],
                "dropped": step["rows_in"] - step["rows_out"],
                "reasons": ", ".join(f"{reason}: {count:,}" for reason, count in reasons),
                "seconds": step.get("wall_seconds"),
            }
        )
    title = ": ".join(filter(None, ("Rows at each step", label)))
    return Table("_".join(filter(None, ("funnel", label))), title, rows, {"seconds": 1})


def what_differs(inputs: Inputs) -> Table:
    """Chosen set and training of every run: what may explain a difference besides the recipe."""
    rows = [_facts(run) for run in inputs.runs]
    known = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    digits = {"tokens per trace": 1, "hard questions %": 1, "final loss": 3}
    return Table(
        "chosen_sets",
        "The chosen set and its training" if len(rows) == 1 else "What differs between the runs",
        [{name: row[name] for name in known} for row in rows],
        {**digits, "correct attempts %": 1},
        note="Selections also differ in tokens and in the share of hard questions: part of a gain "
        "may be theirs and not the recipe's.",
        folded=False,
    )


def _facts(run: Run) -> dict[str, Any]:
    funnel, training = run.funnel or {}, run.training or {}
    rows, tokens = funnel.get("rows_chosen"), funnel.get("trace_tokens_chosen")
    return {
        "run": run.label,
        "rows": rows,
        "trace tokens": tokens,
        "tokens per trace": tokens / rows if rows and tokens else None,
        "hard questions %": _percent(funnel.get("share_hard")),
        "domains": funnel.get("num_domains"),
        "correct attempts %": _percent(funnel.get("share_attempts_correct")),
        "training steps": training.get("steps"),
        "training tokens": training.get("tokens"),
        "final loss": training.get("final_loss"),
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else 100.0 * float(share)


# -- domain, source and trace length of the pool and of what was chosen from it --------------------


def pool_and_chosen(folders: Mapping[str, Path]) -> list[Chart]:
    """A chart for each of domain, source and trace length that the selections know.

    Args:
        folders: name → folder of a selection (`chosen.parquet`, `dropped.parquet`). The pool is
            drawn once, as the first of them saw it.
    """
    made = []
    for column in ("domain", "source"):
        if values := _values(folders, column):
            made.append(_shares(column, values))
    counted = _values(folders, "trace_tokens").items()
    lengths = {name: (known := v.drop_nulls()).filter(known > 0) for name, v in counted}
    if lengths and all(len(v) for v in lengths.values()):
        made.append(_lengths(lengths))
    return made


def _values(folders: Mapping[str, Path], column: str) -> dict[str, pl.Series]:
    """Set's name → values, the pool's first; empty where the column or the files are missing."""
    found: dict[str, pl.Series] = {}
    for name, folder in folders.items():
        files = [folder / f"{part}.parquet" for part in ("chosen", "dropped")]
        if not all(f.is_file() and column in pl.read_parquet_schema(f) for f in files):
            return {}
        chosen, dropped = (pl.read_parquet(f, columns=[column], glob=False)[column] for f in files)
        found.setdefault(POOL, pl.concat([chosen, dropped], how="vertical"))
        found[name] = chosen
    return found


def _hue(name: str, index: int, count: int) -> str:
    return "grey" if name == POOL else RUN_HUES[(index - 1) % len(RUN_HUES)]


def _shares(column: str, values: Mapping[str, pl.Series]) -> Chart:
    """Share of rows by value, the pool's most frequent first."""
    named = {n: v.cast(pl.String).fill_null("unknown") for n, v in values.items()}
    counts = named[POOL].value_counts(sort=True).head(MOST_BARS)
    shown = counts[column].to_list()
    if any(not v.is_in(shown).all() for v in named.values()):
        shown.append(OTHER)
    parts = []
    for index, (name, all_) in enumerate(named.items()):
        known = all_.to_frame("v").select(
            pl.when(pl.col("v").is_in(shown)).then("v").otherwise(pl.lit(OTHER))
        )
        share = dict(known.to_series().value_counts().iter_rows())
        heights = tuple(100.0 * share.get(bar, 0) / max(1, len(all_)) for bar in shown)
        parts.append(Part(name, _hue(name, index, len(named)), heights))
    title = f"Rows by {column}, before and after"
    return bars(f"chosen_{column}", title, "% of rows", shown, parts)


def _lengths(values: Mapping[str, pl.Series]) -> Chart:
    """Share of rows by trace length, in bins of half a doubling."""
    bins = {
        name: (v.log(2) * BINS_PER_DOUBLING).floor().cast(pl.Int64) for name, v in values.items()
    }
    first = min(int(v.min() or 0) for v in bins.values())  # type: ignore[arg-type]
    last = max(int(v.max() or 0) for v in bins.values())  # type: ignore[arg-type]
    shown = []
    for index, (name, numbers) in enumerate(bins.items()):
        counts = dict(numbers.value_counts().iter_rows())
        marks = []
        for number in range(first, last + 1):
            low, high = (2 ** ((number + k) / BINS_PER_DOUBLING) for k in (0, 1))
            words = f"{low:,.0f} to {high:,.0f} tokens"
            share = 100.0 * counts.get(number, 0) / len(numbers)
            marks.append(Mark(math.sqrt(low * high), share, label=words))
        shown.append(Line(name, _hue(name, index, len(bins)), tuple(marks), dashed=name == POOL))
    title = "Rows by length of the reasoning trace, before and after"
    x_title = "tokens of the trace (log scale)"
    return lines("chosen_trace_tokens", title, x_title, "% of rows", shown)
