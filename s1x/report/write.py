"""The report stage: one HTML file, summary.json, figures and tables, from evaluation rows only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from s1x.report.charts import save
from s1x.report.inputs import Inputs, read
from s1x.report.page import page
from s1x.report.parts import Section, file_name
from s1x.report.sections import (
    base,
    budget_use,
    compare,
    costs,
    curves,
    domains,
    flips,
    metrics,
    overview,
    parallel,
    reading,
    seeds,
    selection,
)
from s1x.report.summary import summary
from s1x.report.traces import Entry, blocks, entries

BUILDERS: tuple[Callable[[Inputs], Section | None], ...] = (
    *(curves.build, seeds.build, compare.build, metrics.build, base.build, flips.build),
    *(budget_use.build, parallel.build, domains.build, selection.build, costs.build),
)


def write(
    context: Mapping[str, Any],
    evaluations: Iterable[Path],
    selection_folder: Path | None,
    training_folder: Path | None,
    folder: Path,
) -> dict[str, Any]:
    """See `s1x.report.run`."""
    inputs = read(context, evaluations, selection_folder, training_folder)
    found = entries(inputs)
    sections = _sections(inputs, found)
    head = overview.head(inputs)
    made = summary(inputs, head["notes"], head["finding"])
    folder.mkdir(parents=True, exist_ok=True)
    pictures = _write_figures(sections, folder / "figures")
    hero = next((chart for section in sections for chart in section.charts()), None)
    text = page(head, hero, sections, blocks(inputs, found), pictures)
    (folder / "report.html").write_text(text, encoding="utf-8")
    tables = [table for section in sections for table in section.tables()]
    (folder / "tables").mkdir(exist_ok=True)
    for table in [*tables, *filter(None, [head["stages"]])]:
        path = folder / "tables" / f"{file_name(table.key)}.csv"
        path.write_text(table.to_csv(), encoding="utf-8")
    content = json.dumps(made, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "summary.json").write_text(content + "\n", encoding="utf-8")
    return made


def _sections(inputs: Inputs, found: list[Entry]) -> list[Section]:
    made = [section for build in BUILDERS if (section := build(inputs)) is not None]
    return [*made, reading.build(inputs, found)]


def _write_figures(sections: Iterable[Section], folder: Path) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for chart in (chart for section in sections for chart in section.charts()):
        pictures[chart.key] = chart.svg()
        save(pictures[chart.key], folder, file_name(chart.key))
    return pictures
