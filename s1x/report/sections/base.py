"""The base model beside the fine-tuned one, same budgets (the article's third warning)."""

from __future__ import annotations

from typing import Any

from s1x.curve import difference
from s1x.errors import UserError
from s1x.report import paper
from s1x.report.inputs import Inputs, Series
from s1x.report.parts import Section, Table, interval

LEAD = (
    "How much of the result was there before fine-tuning? The base model answers the same problems "
    "under the same budgets in the same template, and once more directly, without thinking. "
    "Differences are paired by problem."
)


def build(inputs: Inputs) -> Section | None:
    """Rows for each fine-tuned model whose base model was measured."""
    pairs = [
        (base, tuned)
        for tuned in inputs.thinking
        for base in inputs.on(tuned.benchmark)
        if tuned.role != "base" and base.role == "base" and tuned.run in inputs.runs_of(base)
    ]
    rows = [row for base, tuned in pairs for row in _rows(inputs, base, tuned)]
    if not rows:
        return None
    tokens = dict.fromkeys(("base thinking tokens", "fine-tuned thinking tokens"), 1)
    digits = {**tokens, "base %": 1, "fine-tuned %": 1}
    title = "Same budgets, both models"
    table = Table(
        "base_and_fine_tuned", title, rows, digits, signed=("gain",), folded=len(rows) > 16
    )
    items = (table, *_papers(inputs))
    return Section("base", "Base against fine-tuned", LEAD, items, "Base model")


def _rows(inputs: Inputs, base: Series, tuned: Series) -> list[dict[str, Any]]:
    rows = []
    for cell in base.cells:
        other = tuned.natural if base.direct else tuned.cell(cell.setting)
        try:
            gain = difference(other, cell) if other else None
        except UserError:
            continue
        if gain is None or other is None:
            continue
        rows.append(
            {
                "benchmark": base.benchmark,
                **({"run": tuned.run} if len(inputs.runs) > 1 else {}),
                "setting": "direct answer / natural" if base.direct else cell.setting,
                "base %": gain.right_accuracy_percent,
                "fine-tuned %": gain.left_accuracy_percent,
                **interval("gain", gain.difference_points, gain.low_points, gain.high_points),
                "base thinking tokens": float(cell.thinking_tokens.mean()),
                "fine-tuned thinking tokens": float(other.thinking_tokens.mean()),
                "n": gain.num_problems,
            }
        )
    return rows


def _papers(inputs: Inputs) -> list[Table]:
    if not any(paper.benchmark_key(name) for name in inputs.benchmarks):
        return []
    title = "Published (paper, Tables 1 and 5)"
    rows = paper.rows(paper.MODELS, "model")
    return [Table("paper_models", title, rows, dict.fromkeys(rows[0], 1))]
