"""Small tables of evaluation rows for the tests of metrics and graders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from s1x.rows import schema

DEFAULTS: dict[str, Any] = {
    "benchmark": "demo",
    "domain": "d",
    "level": None,
    "model": "m",
    "model_role": "fine_tuned",
    "prompt_format": "thinking",
    "policy": "budget_forcing",
    "point": 0,
    "setting": "natural",
    "sample": 0,
    "question": "q",
    "reference_answer": "1",
    "prompt_tokens": 10,
    "token_ids": [1],
    "forced_mask": [False],
    "thinking_tokens": 100,
    "answer_tokens": 5,
    "forced_tokens": 0,
    "thinking_text": "",
    "answer_text": "",
    "end_reason": "natural",
    "answer_cut": None,
    "num_waits": 0,
    "num_tries": 1,
    "interim_token_counts": None,
    "interim_answers": None,
    "interim_verdicts": None,
    "extracted_answer": "1",
    "extraction_rule": "boxed",
    "verdict": "correct",
    "ungraded_reason": None,
    "wall_seconds": 0.1,
}


def table_of(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """A table with the whole schema; columns that a row does not name have the default."""
    table = pa.Table.from_pylist([{**DEFAULTS, **row} for row in rows], schema=schema())
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def answered(verdicts: Sequence[bool], **columns: Any) -> list[dict[str, Any]]:
    """One row per problem, correct or wrong."""
    return [
        {"problem_id": f"{i:04d}", "verdict": "correct" if v else "wrong", **columns}
        for i, v in enumerate(verdicts)
    ]
