"""The select stage: a pool and a recipe in, the chosen rows and the whole story of the choice
out."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x import costs
from s1x.console import say
from s1x.errors import SettingError, UserError
from s1x.selection.recipe import Recipe
from s1x.selection.step import Context, Drops, Rows, Step, TokenCounter
from s1x.selection.table import PoolTable

if TYPE_CHECKING:
    from s1x.benchmark.problem import Problem
    from s1x.model.model import Model
    from s1x.selection.table import Numbers

POOL_STEP = "pool"
"""The funnel's first step: rows that could be read."""


@dataclass
class Choice:
    """What the steps decided: the rows left, and where and why the others went."""

    rows: Numbers
    funnel: list[dict[str, Any]]
    step_of: Any
    """Index into `funnel` of the step that dropped a row, -1 for a chosen one; one a pool row."""
    reason_of: Any
    reasons: list[str]
    details: dict[int, str] = field(default_factory=dict)


def run(
    pool_folder: Path,
    recipe: Recipe,
    benchmarks: Mapping[str, Sequence[Problem]],
    seed: int,
    folder: Path,
    tokenizer_source: str | Model | TokenCounter | None = None,
) -> dict[str, Any]:
    """Chooses rows of a pool and writes them down with the funnel, the card and the pictures.

    Args:
        pool_folder: Parquet parts with the columns of `s1x.pool.columns`.
        recipe: the steps.
        benchmarks: the run's problems by benchmark, for decontamination and domain weights.
        seed: of every draw. Same seed, same pool, same rows, on any machine.
        folder: gets chosen.parquet, s1k.parquet, dropped.parquet, funnel.json, README.md, pictures
            and costs.json.
        tokenizer_source: model, model folder or hub id whose tokenizer counts the traces that have
            no count; or a function from texts to counts.

    Returns:
        What funnel.json holds.

    Raises:
        UserError: a column that a step needs and the pool lacks, or more rows wanted than are left.
    """
    from s1x.selection import card, pictures, write

    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    table = PoolTable(pool_folder)
    context = Context(seed, recipe.size, benchmarks, tokenizer_source)
    choice = choose(table, recipe.built(), context)
    _fill_trace_tokens(table, choice.rows, context)
    write.chosen(table, choice.rows, folder / "chosen.parquet")
    write.published(table, choice.rows, folder / "s1k.parquet")
    write.dropped(table, choice, folder / "dropped.parquet")
    summary = _summary(table, choice, recipe, context)
    say("funnel: " + " → ".join(f"{e['step']} {e['rows_out']:,}" for e in choice.funnel))
    _dump(folder / "funnel.json", summary)
    (folder / "README.md").write_text(card.text(table, summary, recipe), encoding="utf-8")
    pictures.draw(table, choice.rows, summary, folder)
    costs.write(folder, [costs.entry("select", recipe.name, time.perf_counter() - start)])
    return summary


def choose(table: PoolTable, steps: Sequence[tuple[str, Step]], context: Context) -> Choice:
    """Runs the steps one after another; touches no file but the pool's.

    Raises:
        UserError: from a step, or when no row is left.
    """
    import numpy as np

    numbers = np.arange(table.num_rows)
    funnel = [_pool_step(table)]
    choice = Choice(
        numbers,
        funnel,
        np.full(table.num_rows, -1, np.int16),
        np.full(table.num_rows, -1, np.int16),
        [],
    )
    for place, (name, step) in enumerate(steps):
        start = time.perf_counter()
        rows = Rows(table, choice.rows, context, f"{place} {name}")
        try:
            drops = step(rows)
        except SettingError as error:
            raise error.under(f"selection.steps[{place}]") from None
        _apply(choice, drops, name, time.perf_counter() - start)
        if not len(choice.rows):
            raise UserError(
                f"selection: no row of the pool's {table.num_rows} is left after the step {name} "
                f"({_why(funnel)}); loosen it by +selection.override.{name}, "
                "or choose another recipe"
            )
    _cut(choice, steps, context)
    return choice


def _apply(choice: Choice, drops: Drops, name: str, wall_seconds: float) -> None:
    import numpy as np

    gone = choice.rows[~drops.kept()]
    entry: dict[str, Any] = {
        "step": name,
        "rows_in": len(choice.rows),
        "rows_out": len(choice.rows) - len(gone),
        "reasons": drops.counts(),
        "wall_seconds": wall_seconds,
    }
    if drops.report:
        entry["report"] = drops.report
    base = len(choice.reasons)
    choice.reasons += drops.reasons
    choice.step_of[gone] = len(choice.funnel)
    choice.reason_of[gone] = drops.codes[~drops.kept()] + np.int16(base)
    for place, text in drops.details.items():
        choice.details[int(choice.rows[place])] = text
    choice.rows = choice.rows[drops.kept()]
    choice.funnel.append(entry)


def _cut(choice: Choice, steps: Sequence[tuple[str, Step]], context: Context) -> None:
    """A recipe with a size and no choosing step cannot keep its word."""
    if context.size in (None, len(choice.rows)) or any(step.chooses for _, step in steps):
        return
    raise SettingError(
        "selection.size",
        f"null in a recipe without a drawing step ({len(choice.rows)} rows are left)",
        context.size,
        "or add a step random, longest or domain_draw",
    )


def _why(funnel: list[dict[str, Any]]) -> str:
    last = funnel[-1]["reasons"]
    return ", ".join(f"{count} {reason}" for reason, count in last.items())


def _pool_step(table: PoolTable) -> dict[str, Any]:
    counts = table.counts()
    return {
        "step": POOL_STEP,
        "rows_in": int(counts.get("rows_read", table.num_rows)),
        "rows_out": table.num_rows,
        "reasons": {f"unreadable: {k}": v for k, v in counts.get("bad_reasons", {}).items()},
        "wall_seconds": 0.0,
    }


def _fill_trace_tokens(table: PoolTable, numbers: Numbers, context: Context) -> None:
    """Counts what the chosen rows still lack, where there is a tokenizer to count with."""
    if context.tokenizer_source is not None and "reasoning_trace" in table.names:
        Rows(table, numbers, context, "chosen").trace_tokens()


def _summary(table: PoolTable, choice: Choice, recipe: Recipe, context: Context) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    taken = pa.array(choice.rows)
    tokens = levels = None
    if "trace_tokens" in table.names:
        tokens = pc.sum(table.column("trace_tokens").take(taken)).as_py()
    if "level" in table.names:
        levels = table.column("level").take(taken).to_pylist()
    known = [level for level in levels or [] if level is not None]
    return {
        "recipe": recipe.described(),
        "seed": context.seed,
        "pool": table.counts().get("name", ""),
        "steps": choice.funnel,
        "rows_pool": table.num_rows,
        "rows_chosen": len(choice.rows),
        "trace_tokens_chosen": tokens,
        "share_hard": known.count("hard") / len(known) if known else None,
        "share_attempts_correct": _share_correct(table, taken),
        "num_domains": _num_domains(table, taken),
        "notes": context.notes,
    }


def _share_correct(table: PoolTable, taken: Any) -> float | None:
    import pyarrow.compute as pc

    if "attempt_is_correct" not in table.names:
        return None
    mean = pc.mean(table.column("attempt_is_correct").take(taken)).as_py()
    return None if mean is None else float(mean)


def _num_domains(table: PoolTable, taken: Any) -> int | None:
    if "domain" not in table.names:
        return None
    return len(set(table.column("domain").take(taken).to_pylist()) - {None})


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
