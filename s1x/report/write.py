"""The report stage: one HTML file, summary.json, figures and tables, from evaluation rows only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from s1x.report.inputs import Inputs, read
from s1x.report.parts import Section, file_name
from s1x.report.summary import console_table, summary

__all__ = ["console_table", "run"]


def run(
    context: Mapping[str, Any],
    evaluations: Iterable[Path],
    selection: Path | None,
    training: Path | None,
    folder: Path,
) -> dict[str, Any]:
    """Writes report.html, summary.json, figures/*.png and *.svg, tables/*.csv; returns the summary.

    Args:
        context: what the front end knows. All keys are optional: `name`, `title`, `scale`, `seed`,
            `command`, `stages` (list of stage, label, fingerprint, wall_seconds, reused), `notes`
            (sentences for the top), `prices`, `main_benchmark`, `tokenizers` (model name → folder),
            `cost_folders` (more folders with a costs.json: pool, annotate), `runs` (for a report
            over many: list of label, evaluations, selection, training, settings; the other
            arguments are then not read) and `reference` (label of the run others are compared to).
        evaluations: folders of the evaluate stage.
        selection: folder of the select stage, or None.
        training: folder of the train stage, or None.
        folder: where to write; made if missing.

    Raises:
        UserError: no rows to report on, or a file that is not what its stage writes.
    """
    from s1x.report import plot
    from s1x.report.page import page
    from s1x.report.sections import overview
    from s1x.report.traces import blocks, entries

    inputs = read(context, evaluations, selection, training)
    found = entries(inputs)
    sections = _sections(inputs, found)
    stages = overview.stages_table(inputs)
    notes = [*overview.notes(inputs), *(context.get("notes") or [])]
    text = page(
        overview.title(inputs),
        overview.headline(inputs),
        notes,
        overview.facts(inputs),
        stages,
        sections,
        blocks(inputs, found),
    )
    made = summary(inputs, notes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text(text, encoding="utf-8")
    _write_tables([*sections, *([Section("top", "", "", (stages,))] if stages else [])], folder)
    plot.save([chart for section in sections for chart in section.charts()], folder / "figures")
    content = json.dumps(made, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "summary.json").write_text(content + "\n", encoding="utf-8")
    return made


def _sections(inputs: Inputs, found: Any) -> list[Section]:
    from s1x.report.sections import (
        ability,
        ablation,
        base,
        budget_use,
        costs,
        curves,
        domains,
        flips,
        parallel,
        reading,
        selection,
    )

    builders: list[Callable[[Inputs], Section | None]] = [
        *(curves.build, ability.build, ablation.build, base.build, flips.build),
        *(budget_use.build, parallel.build, domains.build, selection.build, costs.build),
    ]
    made = [section for build in builders if (section := build(inputs)) is not None]
    return [*made, reading.build(inputs, found)]


def _write_tables(sections: Iterable[Section], folder: Path) -> None:
    tables = folder / "tables"
    tables.mkdir(exist_ok=True)
    for section in sections:
        for table in section.tables():
            (tables / f"{file_name(table.key)}.csv").write_text(table.to_csv(), encoding="utf-8")
