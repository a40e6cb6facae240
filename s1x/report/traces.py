"""All traces of a report in compressed blocks that the page opens on demand.

The index (one small entry a trace) is one block; the texts are in blocks of a few hundred traces,
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
from typing import TYPE_CHECKING, Any

from s1x.report.inputs import ROLE_WORDS, Inputs
from s1x.report.segments import Decoder, Segments
from s1x.rows import CORRECT, UNGRADED

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_CHARACTERS = 300_000
#: above so many characters of trace text, whole problems are left out, evenly
MOST_CHARACTERS = 40_000_000

SMALL = (
    *(
        "benchmark",
        "problem_id",
        "domain",
        "level",
        "model",
        "model_role",
        "prompt_format",
        "policy",
    ),
    *("point", "setting", "sample", "thinking_tokens", "answer_tokens", "end_reason", "num_waits"),
    *("extracted_answer", "extraction_rule", "verdict", "ungraded_reason"),
)
LARGE = (
    *("question", "reference_answer", "token_ids", "forced_mask"),
    *("thinking_text", "answer_text"),
)
MENDED, SPOILT, KEPT = "wrong → right", "right → wrong", ""


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
    import pyarrow.parquet as pq

    rows = pq.read_table(folder / "rows.parquet", columns=list(SMALL)).to_pylist()
    order = sorted(range(len(rows)), key=lambda i: (*_stream(rows[i]), rows[i]["point"]))
    before: dict[str, Any] | None = None
    for i in order:
        row = rows[i]
        same = before is not None and _stream(before) == _stream(row)
        yield Entry(source, i, row, _flip(before if same else None, row))
        before = row


def _stream(row: dict[str, Any]) -> tuple[str, ...]:
    names = ("benchmark", "problem_id", "model", "model_role", "prompt_format", "policy")
    return (*(str(row[name]) for name in names), f"{row['sample']:09d}")


def _flip(before: dict[str, Any] | None, row: dict[str, Any]) -> str:
    if before is None or UNGRADED in (before["verdict"], row["verdict"]):
        return KEPT
    was, now = before["verdict"] == CORRECT, row["verdict"] == CORRECT
    return KEPT if was == now else (MENDED if now else SPOILT)


def blocks(inputs: Inputs, found: Sequence[Entry], most: int = MOST_CHARACTERS) -> Blocks:
    """The index and texts of the traces for the page.

    Args:
        found: from `entries`.
        most: characters of text; whole problems are left out evenly above it.
    """
    kept = _fitting(inputs, found, most)
    writer = _Writer()
    unmarked = 0
    for source in dict.fromkeys(e.source for e in kept):
        mine = [e for e in kept if e.source == source]
        for entry, row, segments in texts(inputs, mine):
            writer.add(_series(inputs, entry), entry, row, segments)
            unmarked += not segments.marked
    made = writer.finish()
    made.num_traces, made.num_left_out = len(kept), len(found) - len(kept)
    made.num_unmarked = unmarked
    return made


def texts(
    inputs: Inputs, found: Sequence[Entry]
) -> Iterator[tuple[Entry, dict[str, Any], Segments]]:
    """The large columns and the segments of some traces, folder by folder."""
    decoders: dict[str, Decoder] = {}
    for source in dict.fromkeys(e.source for e in found):
        mine = [e for e in found if e.source == source]
        folder = inputs.folders[source][1]
        for entry, large in zip(mine, _large(folder, [e.row for e in mine]), strict=True):
            row = {**entry.values, **large}
            model = str(row["model"])
            if (key := f"{model}|{source}") not in decoders:
                decoders[key] = Decoder.of(inputs.tokenizer(model))
            yield entry, row, decoders[key].cut(row)


def _large(folder: Path, rows: list[int]) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    table: pa.Table = pq.read_table(folder / "rows.parquet", columns=list(LARGE))
    for start in range(0, len(rows), 1000):
        yield from table.take(rows[start : start + 1000]).to_pylist()


def _fitting(inputs: Inputs, found: Sequence[Entry], most: int) -> list[Entry]:
    """All traces, or those of every n-th problem if they are too long together."""
    size = sum(4 * int(e.values["thinking_tokens"] or 0) + 200 for e in found)
    if size <= most:
        return list(found)
    problems = list(dict.fromkeys((e.values["benchmark"], e.values["problem_id"]) for e in found))
    share = most / size
    wanted = max(1, int(len(problems) * share))
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

    NAMED = (
        "benchmark",
        "problem",
        "series",
        "setting",
        "verdict",
        "end",
        "flip",
        "level",
        "domain",
    )

    def __init__(self) -> None:
        self._names: dict[str, dict[str, int]] = {name: {} for name in self.NAMED}
        self._columns: dict[str, list[int]] = {name: [] for name in self.NAMED}
        self._columns |= {name: [] for name in ("sample", "tokens", "waits", "block", "place")}
        self._blocks: list[str] = []
        self._clear()

    def _clear(self) -> None:
        self._questions: dict[str, list[str]] = {}
        self._traces: list[list[Any]] = []
        self._size = 0

    def add(self, series: str, entry: Entry, row: dict[str, Any], segments: Segments) -> None:
        """Appends a trace."""
        named = {
            "benchmark": row["benchmark"],
            "problem": row["problem_id"],
            "series": series,
            "setting": row["setting"],
            "verdict": row["verdict"],
            "end": row["end_reason"],
            "flip": entry.flip,
            "level": row["level"],
            "domain": row["domain"],
        }
        for name, value in named.items():
            numbers = self._names[name]
            self._columns[name].append(numbers.setdefault(str(value or ""), len(numbers)))
        numbers_of = {
            "sample": row["sample"],
            "tokens": row["thinking_tokens"],
            "waits": row["num_waits"],
            "block": len(self._blocks),
            "place": len(self._traces),
        }
        for name, value in numbers_of.items():
            self._columns[name].append(int(value or 0))
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
            self._blocks.append(packed({"questions": self._questions, "traces": self._traces}))
            self._clear()

    def finish(self) -> Blocks:
        """The index and all blocks."""
        self._close()
        names = {name: list(numbers) for name, numbers in self._names.items()}
        return Blocks(packed({"names": names, "columns": self._columns}), self._blocks)


def packed(value: Any) -> str:
    """JSON, deflated, in base64."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # a lone surrogate is no text: JSON could not be read back
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 9)).decode()
