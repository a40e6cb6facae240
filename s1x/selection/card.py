"""The dataset card: what was chosen from what, how, and what can be said of it."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from s1x.selection.recipe import Recipe
from s1x.selection.table import PoolTable

FRONT = """---
configs:
- config_name: default
  data_files: chosen.parquet
- config_name: s1K
  data_files: s1k.parquet
- config_name: dropped
  data_files: dropped.parquet
tags:
- test-time-scaling
- reasoning
---
"""


def text(table: PoolTable, summary: dict[str, Any], recipe: Recipe) -> str:
    """The card as Markdown; its front matter makes `datasets.load_dataset(folder)` work."""
    parts = [
        FRONT
        + f"# {recipe.name}: {summary['rows_chosen']:,} of {summary['rows_pool']:,} questions",
        _facts(summary),
        "## Funnel\n\n" + funnel_table(summary["steps"]),
        "## Recipe\n\n```yaml\n" + _recipe_yaml(summary) + "```",
        _notes(summary),
        _overlaps(summary),
        "## Sources and licences\n\n" + _licences(table),
        "## Files\n\n" + FILES,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


FILES = """- `chosen.parquet`: the chosen rows; `row` is the row's number in the pool
- `s1k.parquet`: the same rows in the columns that s1K was published in
- `dropped.parquet`: every other row, with the step that dropped it, the reason and what was found
- `funnel.json`: the funnel and the recipe for scripts

```python
from datasets import load_dataset

chosen = load_dataset("path/to/this/folder", split="train")
s1k = load_dataset("path/to/this/folder", "s1K", split="train")
```"""


def funnel_table(steps: list[dict[str, Any]]) -> str:
    """The funnel as a Markdown table."""
    lines = ["| step | rows in | rows out | dropped, and why |", "|---|---:|---:|---|"]
    for step in steps:
        why = "; ".join(f"{count:,} {reason}" for reason, count in step["reasons"].items())
        lines.append(
            f"| {step['step']} | {step['rows_in']:,} | {step['rows_out']:,} | {why or '–'} |"
        )
    return "\n".join(lines)


def _facts(summary: dict[str, Any]) -> str:
    tokens, rows = summary["trace_tokens_chosen"], summary["rows_chosen"]
    facts = [
        f"Chosen by s1x with the recipe `{summary['recipe']['name']}`, seed {summary['seed']}."
    ]
    if summary["pool"]:
        facts.append(f"Pool: `{summary['pool']}`.")
    if tokens is not None:
        facts.append(f"Reasoning traces: {tokens:,} tokens, {tokens / rows:,.0f} per row.")
    if summary["num_domains"] is not None:
        facts.append(f"Domains: {summary['num_domains']}.")
    if summary["share_attempts_correct"] is not None:
        facts.append(f"Attempts known to be right: {summary['share_attempts_correct']:.1%}.")
    if summary["share_hard"] is not None:
        facts.append(f"Hard questions: {summary['share_hard']:.1%}.")
    return " ".join(facts)


def _recipe_yaml(summary: dict[str, Any]) -> str:
    recipe = summary["recipe"]
    lines = [f"size: {json.dumps(recipe['size'])}", "steps:"]
    for step in recipe["steps"]:
        lines.append(f"  - step: {step['step']}")
        for key, value in step.items():
            if key != "step":
                lines.append(f"    {key}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _notes(summary: dict[str, Any]) -> str:
    notes = summary["notes"]
    return "## Notes\n\n" + "\n".join(f"- {note}" for note in notes) if notes else ""


def _overlaps(summary: dict[str, Any]) -> str:
    """The n-grams that the pool shares with the benchmarks, so that people can judge the rule."""
    for step in summary["steps"]:
        shared = step.get("report", {}).get("shared_ngrams")
        if shared:
            lines = ["| n-gram | rows | counted |", "|---|---:|---|"]
            for entry in shared[:20]:
                words = entry["ngram"].replace("|", "\\|").replace("`", "'")
                lines.append(
                    f"| `{words}` | {entry['rows']} | {'yes' if entry['counted'] else 'no'} |"
                )
            return "## Phrases shared with the benchmarks\n\n" + "\n".join(lines)
    return ""


def _licences(table: PoolTable) -> str:
    lines = [f"Licence of the pool: {table.counts().get('license') or 'not given'}."]
    names = [n for n in ("source", "license") if n in table.schema.names]
    if names:
        groups = table.lazy(names).group_by(names).agg(rows=pl.len())
        most = groups.sort("rows", *names, descending=[True, *(False for _ in names)]).head(40)
        lines += [
            "",
            "| " + " | ".join([*names, "rows in the pool"]) + " |",
            "|---" * (len(names) + 1) + "|",
        ]
        for *values, count in most.collect().iter_rows():
            lines.append("| " + " | ".join([*map(str, values), f"{count:,}"]) + " |")
    return "\n".join(lines)
