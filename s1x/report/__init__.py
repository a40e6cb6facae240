"""Reports that people read and summaries that scripts read, from evaluation rows only.

    from s1x import report
    report.run(context, evaluations, selection, training, folder)

Trackers (`none`, `wandb`, `tensorboard`) are this package's options. They are imported at every
start and the drawer is not: hence the imports inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from s1x.report.console import console_table

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
            (sentences to add), `prices`, `main_benchmark`, `tokenizers` (model name → folder),
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
    from s1x.report.inputs import read
    from s1x.report.write import write

    return write(read(context, evaluations, selection, training), folder)
