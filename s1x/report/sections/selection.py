"""The selection funnel, and what the chosen sets of several runs have in common and what not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import cycle
from pathlib import Path

import polars as pl

from s1x.curve import Estimate
from s1x.report import paper
from s1x.report.charts import RUN_HUES, Chart, Part, bars
from s1x.report.inputs import Inputs, Json, Run
from s1x.report.lines import Line, Mark, lines
from s1x.report.parts import Item, Row, Table

POOL, OTHER = "pool", "other"
MOST_BARS = 12
#: bins of the trace lengths per doubling
BINS_PER_DOUBLING = 2


def funnel(inputs: Inputs) -> Iterator[Item]:
    """A funnel per selection (equal ones once), then what differs between the chosen sets."""
    runs: list[Run] = []
    for run in inputs.runs:
        if run.funnel and not any(run.funnel == other.funnel for other in runs):
            runs.append(run)
    if not runs:
        return
    names = {id(run): run.label if len(runs) > 1 else "" for run in runs}
    yield from (_chart(steps_of(run.funnel), names[id(run)]) for run in runs)
    alone = len(inputs.runs) == 1
    folders = {"chosen" if alone else run.label: run.selection for run in runs if run.selection}
    yield from pool_and_chosen(folders)
    yield _what_differs(inputs)
    yield from (_table(steps_of(run.funnel), names[id(run)]) for run in runs)
    steps = " → ".join(f"{count:,} ({step})" for step, count in paper.FUNNEL.items())
    yield f"The paper's funnel: {steps}."


def steps_of(funnel: Json | None) -> list[Json]:
    """The steps of a funnel.json: step, rows_in, rows_out, reasons, wall_seconds."""
    return (funnel or {}).get("steps") or []


def _chart(steps: list[Json], label: str) -> Chart:
    return bars(
        f"funnel_{label}".removesuffix("_"),
        f"Selection funnel: {label}".removesuffix(": "),
        "rows",
        [str(s["step"]) for s in steps],
        [
            Part.of("kept", "blue", [s["rows_out"] for s in steps]),
            Part.of("dropped", "silver", [s["rows_in"] - s["rows_out"] for s in steps]),
        ],
        stacked=True,
        notes=[f"{s['rows_in']:,} → {s['rows_out']:,}" for s in steps],
    )


def _table(steps: list[Json], label: str) -> Table:
    rows: list[Row] = []
    for step in steps:
        reasons = sorted((step.get("reasons") or {}).items(), key=lambda item: -int(item[1]))
        row: Row = {
            **{"step": step["step"], "rows in": step["rows_in"], "rows out": step["rows_out"]},
            "dropped": step["rows_in"] - step["rows_out"],
            "reasons": ", ".join(f"{reason}: {count:,}" for reason, count in reasons),
            "seconds": step.get("wall_seconds"),
        }
        rows.append(row)
    title = f"Rows at each step: {label}".removesuffix(": ")
    return Table(f"funnel_{label}".removesuffix("_"), title, rows)


def _what_differs(inputs: Inputs) -> Table:
    """Chosen set and training of every run: what may explain a difference besides the recipe."""
    rows = [_facts(run) for run in inputs.runs]
    known = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    return Table(
        "chosen_sets",
        "The chosen set and its training" if len(rows) == 1 else "What differs between the runs",
        [{name: row[name] for name in known} for row in rows],
        note="Selections also differ in tokens and in the share of hard questions: part of a gain "
        "may be theirs and not the recipe's.",
        folded=False,
    )


def _facts(run: Run) -> Row:
    funnel, training = run.funnel or {}, run.training or {}
    rows, tokens = funnel.get("rows_chosen"), funnel.get("trace_tokens_chosen")
    hard, correct = funnel.get("share_hard"), funnel.get("share_attempts_correct")
    return {
        **{"run": run.label, "rows": rows, "trace tokens": tokens},
        "tokens per trace": tokens / rows if rows and tokens else None,
        "hard questions %": None if hard is None else 100.0 * hard,
        "domains": funnel.get("num_domains"),
        "correct attempts %": None if correct is None else 100.0 * correct,
        "training steps": training.get("steps"),
        "training tokens": training.get("tokens"),
        "final loss": training.get("final_loss"),
    }


# -- domain, source and trace length of the pool and of what was chosen from it --------------------


def pool_and_chosen(folders: Mapping[str, Path]) -> Iterator[Chart]:
    """A chart for each of domain, source and trace length that the selections know.

    Args:
        folders: name → folder of a selection (`chosen.parquet`, `dropped.parquet`). The pool is
            drawn once, as the first of them saw it.
    """
    hues = dict(zip(folders, cycle(RUN_HUES))) | {POOL: "grey"}
    for column in ("domain", "source"):
        if values := _values(folders, column):
            yield _shares(column, values, hues)
    counted = _values(folders, "trace_tokens").items()
    lengths = {name: (known := v.drop_nulls()).filter(known > 0) for name, v in counted}
    if lengths and all(len(v) for v in lengths.values()):
        yield _lengths(lengths, hues)


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


def _shares(column: str, values: Mapping[str, pl.Series], hues: Mapping[str, str]) -> Chart:
    """Share of rows by value, the pool's most frequent first."""
    named = {n: v.cast(pl.String).fill_null("unknown") for n, v in values.items()}
    shown = named[POOL].value_counts(sort=True).head(MOST_BARS)[column].to_list()
    if any(not v.is_in(shown).all() for v in named.values()):
        shown.append(OTHER)
    parts = []
    for name, all_ in named.items():
        counts = all_.set(~all_.is_in(shown), OTHER).value_counts()
        share = dict(counts.iter_rows())
        heights = [100.0 * share.get(bar, 0) / max(1, len(all_)) for bar in shown]
        parts.append(Part.of(name, hues[name], heights))
    title = f"Rows by {column}, before and after"
    return bars(f"chosen_{column}", title, "% of rows", shown, parts)


def _lengths(values: Mapping[str, pl.Series], hues: Mapping[str, str]) -> Chart:
    """Share of rows by trace length, in bins of half a doubling."""
    bins = {
        name: (v.log(2) * BINS_PER_DOUBLING).floor().cast(pl.Int64) for name, v in values.items()
    }
    every = pl.concat(bins.values())
    shown = []
    for name, numbers in bins.items():
        counts = dict(numbers.value_counts().iter_rows())
        marks = []
        for number in range(int(every.min()), int(every.max()) + 1):  # type: ignore[arg-type]
            low, high = (2 ** ((number + k) / BINS_PER_DOUBLING) for k in (0, 1))
            words = f"{low:,.0f} to {high:,.0f} tokens"
            share = 100.0 * counts.get(number, 0) / len(numbers)
            marks.append(Mark(math.sqrt(low * high), Estimate(share), words))
        shown.append(Line(name, hues[name], marks, dashed=name == POOL))
    title = "Rows by length of the reasoning trace, before and after"
    x_title = "tokens of the trace (log scale)"
    return lines("chosen_trace_tokens", title, x_title, "% of rows", shown)
