"""From traces and verdicts to `rows.parquet` (`s1x.rows`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from s1x.benchmark.grader import Grade, Grader
from s1x.budget.policy import ANSWER, Policy
from s1x.budget.rollout import Trace
from s1x.evaluate.schedule import Answered
from s1x.evaluate.spill import spill
from s1x.model.chat_format import ChatFormat
from s1x.traces.confidence import ENTROPY, LOG_PROB, MEAN_LOG_PROB
from s1x.traces.loops import is_loop

Row = dict[str, Any]
"""The columns of `s1x.rows`."""


def make_rows(
    answered: Sequence[Answered],
    shared: Mapping[str, str],
    points: Sequence[Policy],
    form: ChatFormat,
    grader: Grader,
) -> list[Row]:
    """Rows as `s1x.rows.schema` has them; each different answer is graded once.

    Args:
        answered: the traces.
        shared: the columns that are the same in all rows.
        points: policies of the curve.
        form: decodes.
        grader: judges.
    """
    texts = [_texts(item, form) for item in answered]
    different = {
        (item.problem.problem_id, text): (item.problem, text)
        for item, (_, *answers) in zip(answered, texts, strict=True)
        for text in answers
    }
    grades = dict(zip(different, grader.grade_all(list(different.values())), strict=True))
    rows = []
    for item, (thinking_text, *answers) in zip(answered, texts, strict=True):
        graded = [grades[item.problem.problem_id, text] for text in answers]
        own, point = _row(item, thinking_text, answers[-1], graded), points[item.point]
        own["spill"] = spill(item.trace, form, point.wait_words())
        own["looped"] = is_loop(thinking_text)
        rows.append({**shared, "setting": point.label(), **own})
    return rows


def _texts(item: Answered, form: ChatFormat) -> list[str]:
    """Thinking text, then the answers: those asked for in passing and the final one."""
    trace = item.trace
    ids = [trace.thinking_ids, *(probe for _, probe in trace.probes), trace.answer_ids]
    return [form.decode(piece) for piece in ids]


def _row(item: Answered, thinking_text: str, answer_text: str, graded: list[Grade]) -> Row:
    trace, problem, final = item.trace, item.problem, graded[-1]
    outcome, asked = trace.outcome, bool(trace.probes)
    thinking_tokens = len(trace.thinking_ids)
    return {
        "problem_id": problem.problem_id,
        "domain": problem.domain,
        "level": problem.level,
        "point": item.point,
        "sample": item.sample,
        "question": problem.question,
        "reference_answer": problem.answer,
        "prompt_tokens": len(trace.prompt_ids),
        "token_ids": trace.token_ids,
        "forced_mask": trace.forced,
        **confidence_columns(trace),
        "thinking_tokens": thinking_tokens,
        "answer_tokens": trace.part_tokens[ANSWER],
        "forced_tokens": sum(trace.forced),
        "thinking_text": thinking_text,
        "answer_text": answer_text,
        "answer_cut": trace.answer_cut,
        "end_reason": outcome.end_reason,
        "num_waits": outcome.num_waits,
        "num_tries": outcome.num_tries,
        "interim_token_counts": (
            [count for count, _ in trace.probes] + [thinking_tokens] if asked else None
        ),
        "interim_answers": [verdict.extracted for verdict in graded] if asked else None,
        "interim_verdicts": [verdict.verdict for verdict in graded] if asked else None,
        "extracted_answer": final.extracted,
        "extraction_rule": final.rule,
        "verdict": final.verdict,
        "ungraded_reason": final.reason,
        "total_tokens": item.books.total_tokens,
        "scorer_tokens": item.books.scorer_tokens,
        "scorer_weighed_tokens": item.books.scorer_weighed_tokens,
        "num_traces": item.books.num_traces,
        "search_tree": json.dumps(item.books.tree) if item.books.tree else None,
        "first_token_seconds": trace.first_token_seconds,
        "thinking_seconds": trace.thinking_seconds,
        "wall_seconds": item.wall_seconds,
    }


def confidence_columns(trace: Trace) -> dict[str, object]:
    """A number or None for each token; None for all where nothing was recorded."""
    names, rows = ("token_log_probs", "token_entropies", "token_confidences"), trace.confidence
    if rows is None:
        return dict.fromkeys(names)
    signs = {LOG_PROB: 1, ENTROPY: 1, MEAN_LOG_PROB: -1}
    columns = [sign * rows[:, place] for place, sign in signs.items()]
    return {
        name: [None if np.isnan(value) else float(value) for value in column]
        for name, column in zip(names, columns, strict=True)
    }


def write_rows(rows: list[Row], folder: Path) -> None:
    """Writes `rows.parquet`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from s1x.rows import schema

    table = pa.Table.from_pylist(rows, schema=schema())
    pq.write_table(table, folder / "rows.parquet", compression="zstd")
