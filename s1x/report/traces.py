"""All traces of a report in compressed blocks that the page opens on demand.

The index (a small entry per trace) is one block; the texts are in blocks of a few hundred traces,
neighbours in one block being traces of one problem, which share their beginnings. A block is JSON,
deflated, in base64: nothing in it can be markup or script.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from s1x.report.inputs import ROLE_WORDS, Inputs
from s1x.report.segments import Decoder, Segments
from s1x.rows import CORRECT, UNGRADED

BLOCK_CHARACTERS = 300_000
#: above N characters of trace text, whole problems are left out, evenly
MOST_CHARACTERS = 40_000_000
ROWS_AT_ONCE = 1000

#: what names a stream: the same model's samples of one problem along the curve
STREAM = ("benchmark", "problem_id", "model", "model_role", "prompt_format", "policy", "sample")
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
}
NUMBERS = {"sample": "sample", "tokens": "thinking_tokens", "waits": "num_waits"}


@dataclass(frozen=True)
class Entry:
    """One trace of the index: its row without the texts, and where it stands."""

    source: int
    """Index into the report's evaluation folders."""
    row: int
    values: dict[str, Any]
    flip: str
    """How the verdict changed from the curve's point before it."""


@dataclass
class Blocks:
    """What goes into the page: the index and the text blocks, each as base64 text."""

    index: str
    texts: list[str] = field(default_factory=list)
    num_traces: int = 0
    num_left_out: int = 0
    num_unmarked: int = 0


def entries(inputs: Inputs) -> list[Entry]:
    """Every trace of every evaluation, by folder, problem, model, sample and point."""
    return [e for i, (_, folder) in enumerate(inputs.folders) for e in _folder_entries(i, folder)]


def _folder_entries(source: int, folder: Path) -> Iterator[Entry]:
    table = pl.read_parquet(folder / "rows.parquet", columns=list(SMALL), glob=False)
    table = table.with_row_index("row").sort(*STREAM, "point")
    before: dict[str, Any] | None = None
    for row in table.iter_rows(named=True):
        place = row.pop("row")
        same = before is not None and all(before[name] == row[name] for name in STREAM)
        yield Entry(source, place, row, _flip(before if same else None, row))
        before = row


def _flip(before: dict[str, Any] | None, row: dict[str, Any]) -> str:
    if before is None or UNGRADED in (before["verdict"], row["verdict"]):
        return KEPT
    was, now = before["verdict"] == CORRECT, row["verdict"] == CORRECT
    return KEPT if was == now else (MENDED if now else SPOILT)


def blocks(inputs: Inputs, found: Sequence[Entry], most: int = MOST_CHARACTERS) -> Blocks:
    """The index and texts of the traces for the page.

    Args:
        inputs: the runs.
        found: from `entries`.
        most: characters of text; whole problems are left out evenly above it.
    """
    kept = _fitting(found, most)
    writer = _Writer()
    for entry, row, segments in texts(inputs, kept):
        writer.add(_series(inputs, entry), entry, row, segments)
    made = writer.finish()
    made.num_traces, made.num_left_out = len(kept), len(found) - len(kept)
    return made


def texts(
    inputs: Inputs, found: Sequence[Entry]
) -> Iterator[tuple[Entry, dict[str, Any], Segments]]:
    """The large columns and the segments of some traces, folder by folder."""
    decoders: dict[str, Decoder] = {}
    for source in dict.fromkeys(e.source for e in found):
        mine = [e for e in found if e.source == source]
        folder = inputs.folders[source][1]
        large = pl.read_parquet(folder / "rows.parquet", columns=list(LARGE), glob=False)
        for start in range(0, len(mine), ROWS_AT_ONCE):
            some = mine[start : start + ROWS_AT_ONCE]
            rows = large[[e.row for e in some]].iter_rows(named=True)
            for entry, texts_ in zip(some, rows, strict=True):
                row = {**entry.values, **texts_}
                model = str(row["model"])
                if model not in decoders:
                    decoders[model] = Decoder.of(inputs.tokenizer(model))
                yield entry, row, decoders[model].cut(row)


def _fitting(found: Sequence[Entry], most: int) -> list[Entry]:
    """All traces, or those of every n-th problem if they are too long together."""
    size = sum(4 * int(e.values["thinking_tokens"] or 0) + 200 for e in found)
    if size <= most:
        return list(found)
    problems = list(dict.fromkeys((e.values["benchmark"], e.values["problem_id"]) for e in found))
    wanted = max(1, int(len(problems) * most / size))
    step = len(problems) / wanted
    chosen = {problems[int(i * step)] for i in range(wanted)}
    return [e for e in found if (e.values["benchmark"], e.values["problem_id"]) in chosen]


def _series(inputs: Inputs, entry: Entry) -> str:
    values = entry.values
    words = ROLE_WORDS.get(values["model_role"], str(values["model_role"]))
    words += ", direct answer" if values["prompt_format"] == "direct" else ""
    label = inputs.folders[entry.source][0]
    return f"{label}: {words}" if len({name for name, _ in inputs.folders}) > 1 else words


class _Writer:
    """Fills blocks and the columns of the index, texts of the index numbered in dictionaries."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, int]] = {n: {} for n in (*NAMED, "series", "flip")}
        self._columns: dict[str, list[int]] = {
            name: [] for name in (*self._names, *NUMBERS, "block", "place")
        }
        self._made = Blocks("")
        self._clear()

    def _clear(self) -> None:
        self._questions: dict[str, list[str]] = {}
        self._traces: list[list[Any]] = []
        self._size = 0

    def add(self, series: str, entry: Entry, row: dict[str, Any], segments: Segments) -> None:
        """Appends a trace."""
        named = {name: row[column] for name, column in NAMED.items()}
        for name, value in {**named, "series": series, "flip": entry.flip}.items():
            numbers = self._names[name]
            self._columns[name].append(numbers.setdefault(str(value or ""), len(numbers)))
        for name, column in NUMBERS.items():
            self._columns[name].append(int(row[column] or 0))
        self._columns["block"].append(len(self._made.texts))
        self._columns["place"].append(len(self._traces))
        self._made.num_unmarked += not segments.marked
        self._text(row, segments)

    def _text(self, row: dict[str, Any], segments: Segments) -> None:
        key = f"{row['benchmark']}/{row['problem_id']}"
        question = [row["question"] or "", row["reference_answer"] or ""]
        self._questions[key] = question
        said = [row["extracted_answer"], row["extraction_rule"], row["ungraded_reason"]]
        trace = [key, list(segments.thinking), list(segments.answer), *said, row["answer_tokens"]]
        self._traces.append(trace)
        self._size += sum(map(len, (*segments.thinking, *segments.answer, *question)))
        if self._size > BLOCK_CHARACTERS:
            self._close()

    def _close(self) -> None:
        if self._traces:
            block = {"questions": self._questions, "traces": self._traces}
            self._made.texts.append(packed(block))
            self._clear()

    def finish(self) -> Blocks:
        """The index and all blocks."""
        self._close()
        names = {name: list(numbers) for name, numbers in self._names.items()}
        self._made.index = packed({"names": names, "columns": self._columns})
        return self._made


def packed(value: Any) -> str:
    """JSON, deflated, in base64."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # a lone surrogate is no text: JSON could not be read back
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 9)).decode()
