"""Traces of a run for a tracker's table: some rows of the evaluations, evenly thinned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from s1x.report.tracker import Folders

#: columns of a table of traces
TRACE_COLUMNS = (
    *("benchmark", "problem_id", "model_role", "prompt_format", "setting", "sample", "verdict"),
    *("end_reason", "thinking_tokens", "num_waits", "question", "reference_answer"),
    *("extracted_answer", "thinking_text", "answer_text"),
)


def trace_rows(folders: Folders, most: int) -> Iterator[dict[str, Any]]:
    """Rows of the evaluations with `TRACE_COLUMNS`, evenly thinned to `most`."""
    evaluated = folders.get("evaluate") or []
    places = [evaluated] if isinstance(evaluated, Path) else evaluated
    files = [place / "rows.parquet" for place in places if (place / "rows.parquet").is_file()]
    for file in files if most else []:
        rows = pl.scan_parquet(file, glob=False).select(TRACE_COLUMNS)
        height = rows.select(pl.len()).collect().item()
        step = max(1, -(-height // max(1, most // len(files))))
        yield from rows.gather_every(step).collect().iter_rows(named=True)
