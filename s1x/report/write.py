"""The report stage: one HTML file, summary.json, figures and tables, from evaluation rows only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from s1x.report.charts import Chart, save
from s1x.report.inputs import Inputs
from s1x.report.page import ASSETS, page
from s1x.report.parts import Item, Section, Table, file_name
from s1x.report.sections import (
    compare,
    costs,
    curves,
    reproduction,
    search,
    selection,
    spending,
    traces,
)
from s1x.report.sections.overview import head
from s1x.report.summary import summary
from s1x.report.traces import blocks, entries

#: section → its charts, tables and sentences in order; `assets/words.yaml` has its words and place
BUILDERS: dict[str, Callable[[Inputs], Iterator[Item]]] = {
    "reproduction": reproduction.reproduction,
    **{"curves": curves.curves, "seeds": curves.seeds, "ablation": compare.ablation},
    **{"metrics": curves.metrics, "base": curves.base, "flips": traces.flips},
    **{"budget": traces.budget, "allocation": spending.allocation},
    **{"spill": spending.spilled, "latency": spending.seconds},
    **{"search": search.search, "parallel": traces.parallel, "domains": curves.domains},
    **{"funnel": selection.funnel, "costs": costs.costs},
}


def write(inputs: Inputs, folder: Path) -> dict[str, Any]:
    """Writes everything into the folder; returns the summary."""
    found = entries(inputs)
    made = list(sections(inputs, found))
    items = [item for section in made for item in section.items]
    opening = head(inputs)
    for part in ("figures", "tables"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    pictures: dict[str, str] = {}
    for chart in (item for item in items if isinstance(item, Chart)):
        pictures[chart.key] = chart.svg()
        save(pictures[chart.key], folder / "figures", file_name(chart.key))
    text = page(opening, made, blocks(inputs, found), pictures)
    (folder / "report.html").write_text(text, encoding="utf-8")
    for table in [*items, opening.stages]:
        if isinstance(table, Table):
            path = folder / "tables" / f"{file_name(table.key)}.csv"
            path.write_text(table.to_csv(), encoding="utf-8")
    told = summary(inputs, opening.notes, opening.finding)
    content = json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "summary.json").write_text(content + "\n", encoding="utf-8")
    return told


def sections(inputs: Inputs, found: pl.DataFrame) -> Iterator[Section]:
    """The sections that have something to show, and the ten traces."""
    words = yaml.safe_load((ASSETS / "words.yaml").read_text(encoding="utf-8"))
    for key, (title, short, lead) in ((key, said.values()) for key, said in words.items()):
        made = BUILDERS[key](inputs) if key in BUILDERS else traces.reading(inputs, found)
        items = [item for item in made if not isinstance(item, Table) or item.rows]
        if items or key not in BUILDERS:
            lead = lead.replace("{reference}", inputs.reference)
            yield Section(key, title, short, lead, items)
