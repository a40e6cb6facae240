"""`stages=[select]`: a pool and a recipe in, the chosen rows and the story of the choice out."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import polars as pl

from s1x import costs
from s1x.artifact import Artifact
from s1x.benchmark.problem import Problem, content_hash
from s1x.console import say
from s1x.errors import SettingError, UserError
from s1x.model.model import Model
from s1x.pool.stage import PoolStage
from s1x.selection import write
from s1x.selection.recipe import Recipe
from s1x.selection.step import Context, Drops, Rows, Step, TokenCounter
from s1x.selection.table import PoolTable
from s1x.selection.tokens import count_traces
from s1x.stages import ArtifactStage, Run


class SelectStage(ArtifactStage):
    """The chosen rows with their funnel and card."""

    name = "select"
    makes_first = ("pool",)

    @classmethod
    def check(cls, run: Run) -> None:
        """The benchmarks to decontaminate against can be read."""
        list(run.not_trained_on)  # read now

    @property
    def label(self) -> str:
        """The recipe's name."""
        return f"selection {self.run.choice('selection')}"

    def _annotated(self) -> Artifact | None:
        """The annotated pool, where this run or an earlier one with these settings made it."""
        return self.run.maybe("annotate") if self.run.config.annotate.used() else None

    def inputs(self) -> dict[str, Any]:
        """Pool, recipe, tokenizer, what is decontaminated against, seed."""
        config, annotated = self.run.config, self._annotated()
        return {
            **PoolStage(self.run).inputs(),
            "annotated": annotated.fingerprint if annotated else None,
            "recipe": config.selection.fingerprint(),
            "tokenizer": config.model.fingerprint(),
            "decontaminate": {n: content_hash(p) for n, p in self.run.not_trained_on.items()},
            "seed": config.root.seed,
        }

    def build(self, folder: Path) -> None:
        """Runs the recipe."""
        config = self.run.config
        pool = self._annotated() or self.run.one("pool")
        against = self.run.not_trained_on
        seed = config.root.seed
        run(pool.folder, config.selection, against, seed, folder, config.model)

    def finish(self, artifact: Artifact) -> None:
        """Uploads it where the recipe says so."""
        recipe = self.run.config.selection
        if recipe.push_to_hub:
            page = write.push(artifact.folder, recipe.push_to_hub, recipe.private)
            say(f"{self.label}: uploaded to {page}")


class FunnelStep(TypedDict, total=False):
    """One line of the funnel: how many rows went in and out, and why the others went."""

    step: str
    rows_in: int
    rows_out: int
    reasons: dict[str, int]
    wall_seconds: float
    report: dict[str, object]


@dataclass
class Choice:
    """What the steps decided: the rows left (sorted numbers), and where the others went."""

    rows: pl.Series
    funnel: list[FunnelStep]
    dropped: list[pl.DataFrame] = field(default_factory=list)
    """Of each step: row, reason, detail, step."""

    def apply(self, name: str, drops: Drops, wall_seconds: float) -> None:
        """Takes a step's rows out and writes the step down."""
        row = pl.col("row").cast(pl.UInt32)
        gone = drops.frame.select(row, "reason", "detail", step=pl.lit(name))
        counts = gone["reason"].value_counts().sort("count", "reason", descending=[True, False])
        entry: FunnelStep = {
            "step": name,
            "rows_in": len(self.rows),
            "rows_out": len(self.rows) - gone.height,
            "reasons": dict(counts.iter_rows()),
            "wall_seconds": wall_seconds,
        }
        if drops.report:
            entry["report"] = drops.report
        self.funnel.append(entry)
        self.dropped.append(gone)
        self.rows = self.rows.filter(~self.rows.is_in(gone["row"].implode()))


def run(
    pool_folder: Path,
    recipe: Recipe,
    benchmarks: Mapping[str, Sequence[Problem]],
    seed: int,
    folder: Path,
    tokenizer_source: Model | TokenCounter | None = None,
) -> dict[str, object]:
    """Chooses rows of a pool and writes them down with the funnel and the card.

    Args:
        pool_folder: Parquet parts with the columns of `s1x.pool.columns`.
        recipe: the steps.
        benchmarks: the run's problems by benchmark, for decontamination and domain weights.
        seed: of every draw. Same seed, same pool, same rows, on any machine.
        folder: gets chosen.parquet, s1k.parquet, dropped.parquet, funnel.json, README.md and
            costs.json.
        tokenizer_source: model whose tokenizer counts the traces that have no count; or a function
            from texts to counts.

    Returns:
        What funnel.json holds.

    Raises:
        UserError: a column that a step needs and the pool lacks, or more rows wanted than are left.
    """
    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    table = PoolTable(pool_folder)
    context = Context(seed, recipe.size, benchmarks, tokenizer_source)
    choice = choose(table, recipe.built(), context)
    if context.tokenizer_source is not None and "reasoning_trace" in table.names:
        count_traces(Rows(table, choice.rows, context, "chosen"))
    write.chosen(table, choice.rows, folder / "chosen.parquet")
    write.published(table, choice.rows, folder / "s1k.parquet")
    write.dropped(table, pl.concat(choice.dropped), folder / "dropped.parquet")
    summary: dict[str, object] = {
        "recipe": recipe.described(),
        "seed": seed,
        "pool": table.counts().get("name", ""),
        "steps": choice.funnel,
        "rows_pool": table.num_rows,
        "rows_chosen": len(choice.rows),
        **_facts(table, choice.rows),
        "notes": context.notes,
    }
    say("funnel: " + " → ".join(f"{e['step']} {e['rows_out']:,}" for e in choice.funnel))
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    (folder / "funnel.json").write_text(text, encoding="utf-8")
    write.card(table, summary, folder / "README.md")
    costs.write(folder, [costs.entry("select", recipe.name, time.perf_counter() - start)])
    return summary


def choose(table: PoolTable, steps: Sequence[tuple[str, Step]], context: Context) -> Choice:
    """Runs the steps one after another; touches no file but the pool's.

    Raises:
        UserError: from a step, or when no row is left.
    """
    counts = table.counts()
    unreadable = {f"unreadable: {k}": n for k, n in counts.get("bad_reasons", {}).items()}
    readable: FunnelStep = {
        "step": "pool",
        "rows_in": counts.get("rows_read", table.num_rows),
        "rows_out": table.num_rows,
        "reasons": unreadable,
        "wall_seconds": 0.0,
    }
    choice = Choice(pl.int_range(table.num_rows, dtype=pl.UInt32, eager=True), [readable])
    for place, (name, step) in enumerate(steps):
        start = time.perf_counter()
        try:
            drops = step(Rows(table, choice.rows, context, f"{place} {name}"))
        except SettingError as error:
            raise error.under(f"selection.steps[{place}]") from None
        choice.apply(name, drops, time.perf_counter() - start)
        if choice.rows.is_empty():
            why = ", ".join(f"{n} {reason}" for reason, n in choice.funnel[-1]["reasons"].items())
            raise UserError(
                f"selection: no row of the pool's {table.num_rows} is left after the step {name} "
                f"({why}); loosen it by +selection.override.{name}, or choose another recipe"
            )
    if context.size not in (None, len(choice.rows)) and not any(s.chooses for _, s in steps):
        raise SettingError(
            "selection.size",
            f"null in a recipe without a drawing step ({len(choice.rows)} rows are left)",
            context.size,
            "or add a step random, longest or domain_draw",
        )
    return choice


def _facts(table: PoolTable, rows: pl.Series) -> dict[str, object]:
    """What the chosen rows are like; None: the pool does not say."""
    tokens, right = pl.col("trace_tokens"), pl.col("attempt_is_correct").cast(pl.Boolean)
    facts = {
        "trace_tokens_chosen": pl.when(tokens.count() > 0).then(tokens.sum()),
        "share_hard": (pl.col("level").drop_nulls() == "hard").mean(),
        "share_attempts_correct": right.mean(),
        "num_domains": pl.col("domain").drop_nulls().n_unique(),
    }
    told = {k: e for k, e in facts.items() if e.meta.root_names()[0] in table.names}
    columns = [expression.meta.root_names()[0] for expression in told.values()]
    known = table.lazy(columns, rows).select(**told).collect()
    return {name: known[name].item() if name in told else None for name in facts}
