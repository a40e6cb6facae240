"""All traces of a report in compressed blocks that the page opens on demand.

The index (a small entry per trace) is one block; the texts are in blocks of a few hundred traces,
neighbours in one block being traces of one problem, which share their beginnings. A block is JSON,
deflated, in base64: nothing in it can be markup or script.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import polars as pl

from s1x.report.inputs import ROLE_WORDS, Inputs
from s1x.report.segments import Decoder, Segments
from s1x.rows import CORRECT, UNGRADED

BLOCK_CHARACTERS = 300_000
#: above N characters of trace text, whole problems are left out, evenly
MOST_CHARACTERS = 40_000_000
ROWS_AT_ONCE = 1000

PROBLEM = ("benchmark", "problem_id")
#: what names a stream: the same model's samples of one problem along the curve
STREAM = (*PROBLEM, "model", "model_role", "prompt_format", "policy", "sample")
SMALL = (
    *STREAM,
    *("domain", "level", "point", "setting", "thinking_tokens", "answer_tokens", "end_reason"),
    *("num_waits", "extracted_answer", "extraction_rule", "verdict", "ungraded_reason"),
)
LARGE = ("question", "reference_answer", "token_ids", "forced_mask", "thinking_text", "answer_text")
MENDED, SPOILT, KEPT = "wrong → right", "right → wrong", ""
#: columns of the page's index: those whose texts are numbered, and plain numbers
NAMED = {
    "benchmark": "benchmark",
    "problem": "problem_id",
    "setting": "setting",
    "verdict": "verdict",
    "end": "end_reason",
    "level": "level",
    "domain": "domain",
    "series": "series",
    "flip": "flip",
}
NUMBERS = {"sample": "sample", "tokens": "thinking_tokens", "waits": "num_waits"}
Row = dict[str, Any]


@dataclass(frozen=True)
class Blocks:
    """What goes into the page: the index and the text blocks, each as base64 text."""

    index: str
    texts: list[str]
    num_traces: int
    num_left_out: int
    num_unmarked: int


def entries(inputs: Inputs) -> pl.DataFrame:
    """Every trace of every evaluation, by folder, problem, model, sample and point.

    Columns: SMALL, `source` (index of the evaluation folder), `row` in its rows.parquet, `series`
    (words for the curve) and `flip` (how the verdict changed from the curve's point before).
    """
    labels = {label for label, _ in inputs.folders}
    verdict, before = pl.col("verdict"), pl.col("verdict").shift().over(STREAM)
    right, was = verdict == CORRECT, before == CORRECT
    told = before.is_not_null() & (verdict != UNGRADED) & (before != UNGRADED) & (right != was)
    direct = (
        pl.when(pl.col("prompt_format") == "direct")
        .then(pl.lit(", direct answer"))
        .otherwise(pl.lit(""))
    )
    frames = []
    for source, (label, folder) in enumerate(inputs.folders):
        table = pl.read_parquet(folder / "rows.parquet", columns=list(SMALL), glob=False)
        run = pl.lit(f"{label}: " if len(labels) > 1 else "")
        made = (
            table.with_row_index("row")
            .sort(*STREAM, "point")
            .with_columns(
                source=pl.lit(source),
                series=run + pl.col("model_role").replace(ROLE_WORDS) + direct,
                flip=pl.when(~told)
                .then(pl.lit(KEPT))
                .otherwise(pl.when(right).then(pl.lit(MENDED)).otherwise(pl.lit(SPOILT))),
            )
        )
        frames.append(made)
    return pl.concat(frames, how="vertical_relaxed")


def blocks(inputs: Inputs, found: pl.DataFrame, most: int = MOST_CHARACTERS) -> Blocks:
    """The index and texts of the traces for the page.

    Args:
        inputs: the runs.
        found: from `entries`.
        most: characters of text; whole problems are left out evenly above it.
    """
    kept = _fitting(inputs, found, most)
    index: dict[str, list[Any]] = defaultdict(list)
    done: list[str] = []
    questions: dict[str, list[str]] = {}
    traces: list[list[Any]] = []
    size = unmarked = 0
    for row, cut in texts(inputs, kept):
        if size > BLOCK_CHARACTERS:
            done.append(_packed({"questions": questions, "traces": traces}))
            questions, traces, size = {}, [], 0
        for name, column in (NAMED | NUMBERS).items():
            index[name].append(row[column])
        index["block"].append(len(done))
        index["place"].append(len(traces))
        key = f"{row['benchmark']}/{row['problem_id']}"
        questions[key] = [row["question"] or "", row["reference_answer"] or ""]
        said = [row["extracted_answer"], row["extraction_rule"], row["ungraded_reason"]]
        tree = json.loads(row["search_tree"]) if row["search_tree"] else None
        traces.append([key, cut.thinking, cut.answer, *said, row["answer_tokens"], tree])
        size += sum(map(len, (*cut.thinking, *cut.answer, *questions[key])))
        unmarked += not cut.marked
    done.append(_packed({"questions": questions, "traces": traces}))
    names: dict[str, list[str]] = {}
    for name in NAMED:
        values = [str(value or "") for value in index[name]]
        number = {value: i for i, value in enumerate(dict.fromkeys(values))}
        names[name], index[name] = list(number), [number[value] for value in values]
    index |= {n: [None if v is None else int(v) for v in index[n]] for n in NUMBERS}
    packed = _packed({"names": names, "columns": index})
    return Blocks(packed, done, len(kept), len(found) - len(kept), unmarked)


def texts(inputs: Inputs, found: pl.DataFrame) -> Iterator[tuple[Row, Segments]]:
    """Some traces with their large columns and segments, folder by folder."""
    decoder = cache(lambda model: Decoder.of(inputs.tokenizer(model)))
    for mine in found.partition_by("source", maintain_order=True):
        file = inputs.folders[mine["source"][0]][1] / "rows.parquet"
        scan = pl.scan_parquet(file, glob=False)
        there = "search_tree" in scan.collect_schema()  # not in rows of older versions
        tree = pl.col("search_tree") if there else pl.lit(None, pl.String).alias("search_tree")
        large = scan.select(*LARGE, tree).collect()
        for some in mine.iter_slices(ROWS_AT_ONCE):
            for row in pl.concat([some, large[some["row"]]], how="horizontal").iter_rows(
                named=True
            ):
                yield row, decoder(row["model"]).cut(row)


def _fitting(inputs: Inputs, found: pl.DataFrame, most: int) -> pl.DataFrame:
    """All traces, or those of every n-th problem if they are too long together."""
    size = 4 * int(found["thinking_tokens"].sum()) + 200 * len(found)
    for source in found.filter(pl.col("thinking_tokens").is_null())["source"].unique():
        text = pl.scan_parquet(inputs.folders[source][1] / "rows.parquet", glob=False)
        length = pl.col("thinking_text", "answer_text").str.len_chars().sum()
        size += sum(text.select(length).collect().row(0))
    if size <= most:
        return found
    problems = found.select(PROBLEM).unique(maintain_order=True)
    wanted = max(1, int(len(problems) * most / size))
    chosen = problems[[int(i * len(problems) / wanted) for i in range(wanted)]]
    return found.join(chosen, on=PROBLEM, how="semi", maintain_order="left")


def _packed(value: object) -> str:
    """JSON, deflated, in base64."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # a lone surrogate is no text: JSON could not be read back
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 9)).decode()
