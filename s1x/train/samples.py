"""Training samples: one user turn, one assistant turn, and which tokens the loss counts.

The assistant turn is (paper, appendix C; REFERENCE "Training")

    {thinking_start}{trace}\\n{answer_start}{attempt}{end_of_turn}

with "Answer: " put before an attempt that does not contain it, and both without white space around
them, as s1 has it. Only the delimiters are markup: a control token's text in a question, trace or
attempt stays text (`s1x.model.chat`). The loss counts every token of the assistant turn,
`thinking_start` included unless the chat template writes it, and none of the prompt: s1 trains on
all that follows `<|im_start|>assistant\\n`, and a model that learnt to open its thinking works in a
plain chat. Left out, unlike s1, is the newline that the chat template writes after `end_of_turn`:
generation has stopped there. The pieces are tokenized one by one, as inference forces and reads
them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock

from s1x.budget import formats
from s1x.errors import UserError
from s1x.model.chat import encode, encode_data, thinking_start_ids, user_turn_ids
from s1x.model.load import load_tokenizer
from s1x.model.model import Model
from s1x.train.job import SAMPLES, Job

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sample:
    """Token ids of one sample.

    Attributes:
        row: its place in the chosen rows.
        token_ids: prompt and assistant turn.
        prompt_tokens: how many of them are the prompt, which the loss does not count.
    """

    row: int
    token_ids: list[int]
    prompt_tokens: int

    @property
    def trained_tokens(self) -> int:
        """Tokens that the loss counts."""
        return len(self.token_ids) - self.prompt_tokens


@dataclass
class SampleSet:
    """All samples of a run and what became of those that were too long."""

    samples: Sequence[Sample]
    counts: dict[str, int] = field(default_factory=dict)

    def lengths(self) -> list[int]:
        """Tokens of each sample."""
        if isinstance(self.samples, _Stored):
            return self.samples.lengths()
        return [len(sample.token_ids) for sample in self.samples]

    def write(self, path: Path) -> None:
        """Writes an Arrow file, whole or not at all."""
        columns = {
            "row": pa.array([s.row for s in self.samples], pa.int32()),
            "prompt_tokens": pa.array([s.prompt_tokens for s in self.samples], pa.int32()),
            "token_ids": pa.array([s.token_ids for s in self.samples], pa.list_(pa.int32())),
        }
        table = pa.table(columns, metadata={"counts": json.dumps(self.counts)})
        partial = path.with_suffix(".partial")
        with pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        partial.rename(path)

    @classmethod
    def read(cls, path: Path) -> SampleSet:
        """The samples of a file, which stays on disk and is mapped into memory."""
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        counts: dict[str, int] = json.loads(table.schema.metadata[b"counts"])
        return cls(_Stored(table), counts)


class _Stored(Sequence[Sample]):
    """Samples in an Arrow table, made when they are asked for."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        [found] = self.table.slice(index, 1).to_pylist()
        return Sample(found["row"], found["token_ids"], found["prompt_tokens"])

    def lengths(self) -> list[int]:
        """Tokens of each sample, without making them."""
        found: list[int] = pc.list_value_length(self.table["token_ids"]).to_pylist()
        return found


COLUMNS = ["question", "reasoning_trace", "attempt"]


def read_rows(path: Path) -> list[dict[str, str]]:
    """Question, trace and attempt of the chosen rows.

    Raises:
        UserError: the file has no rows, lacks a column, or a row has no trace or attempt.
    """
    file = pq.ParquetFile(path)
    missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
    if missing:
        raise UserError(f"{path} has no column {missing[0]}; training needs {', '.join(COLUMNS)}")
    if not file.metadata.num_rows:
        raise UserError(f"{path} has no rows to train on; loosen the selection")
    rows: list[dict[str, str]] = file.read(COLUMNS).to_pylist()
    for index, row in enumerate(rows):
        empty = [name for name in COLUMNS if not (row[name] or "").strip()]
        if empty:
            raise UserError(
                f"{path} row {index} has no {empty[0]}; the selection must drop such rows"
            )
    return rows


def assistant_pieces(
    tokenizer: PreTrainedTokenizerBase, model: Model, trace: str, attempt: str
) -> list[list[int]]:
    """Ids of the assistant turn: opening, trace, delimiter, attempt, end."""
    if "Answer:" not in attempt:
        attempt = "Answer: " + attempt
    return [
        thinking_start_ids(tokenizer, model),
        encode_data(tokenizer, trace + "\n"),
        encode(tokenizer, model.answer_start),
        encode_data(tokenizer, attempt.strip()),
        encode(tokenizer, model.end_of_turn),
    ]


def told_limit(trace_tokens: int) -> int:
    """The limit that a trace of this length is told: the next power of two (appendix E)."""
    return 1 << max(0, math.ceil(math.log2(max(1, trace_tokens))))


def cut_into_steps(tokenizer: PreTrainedTokenizerBase, trace: str, step_tokens: int) -> list[str]:
    """A trace cut at newlines into steps of at most `step_tokens` tokens, without end of line.

    Lines are joined while they fit; a line that alone is longer is cut between words.
    """
    steps: list[str] = []
    current = ""
    for piece in _short_pieces(tokenizer, trace, step_tokens):
        if current and len(encode_data(tokenizer, current + piece)) > step_tokens:
            steps.append(current)
            current = ""
        current += piece
    steps.append(current)
    return [step.strip("\n").strip(" ") for step in steps if step.strip()]


def _short_pieces(
    tokenizer: PreTrainedTokenizerBase, trace: str, step_tokens: int
) -> Iterable[str]:
    """Lines with their newline; the words of a line that is longer than a step."""
    for line in trace.splitlines(keepends=True):
        if len(encode_data(tokenizer, line)) <= step_tokens:
            yield line
            continue
        words = line.split(" ")
        yield words[0]
        yield from (" " + word for word in words[1:])


def in_format(
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    question: str,
    trace: str,
    step_tokens: int = formats.STEP_TOKENS,
) -> tuple[str, str]:
    """Question and trace as the format writes them (`plain` leaves them as they are).

    `step_tokens` is the longest step of `step_conditional`, its header included.
    """
    if name == "plain":
        return question, trace
    if name == "token_conditional":
        limit = told_limit(len(encode_data(tokenizer, trace)))
        return formats.told(question, formats.token_instruction(limit)), trace
    assert name == "step_conditional", name
    header_tokens = len(encode_data(tokenizer, formats.step_header(100)))
    steps = cut_into_steps(tokenizer, trace, step_tokens - header_tokens)
    lefts = range(len(steps), 0, -1)
    headed = [formats.step_header(left) + step for left, step in zip(lefts, steps, strict=True)]
    return formats.told(question, formats.step_instruction(len(steps))), "\n".join(headed)


def build_samples(
    tokenizer: PreTrainedTokenizerBase,
    model: Model,
    rows: Sequence[dict[str, str]],
    format_name: str = "plain",
    max_sequence_tokens: int = 32_768,
    overflow: str = "error",
    step_tokens: int = formats.STEP_TOKENS,
) -> SampleSet:
    """Tokenizes rows; samples that are too long are refused, dropped or cut, and counted.

    Raises:
        UserError: a sample is longer than `max_sequence_tokens` under overflow=error, the pad
            token occurs in a sample, or no sample is left.
    """
    samples: list[Sample] = []
    left_out = cut = 0
    for index, row in enumerate(rows):
        trace = row["reasoning_trace"].strip()
        question, trace = in_format(tokenizer, format_name, row["question"], trace, step_tokens)
        prompt = user_turn_ids(tokenizer, question)
        turn = assistant_pieces(tokenizer, model, trace, row["attempt"])
        ids = prompt + [token for piece in turn for token in piece]
        if len(ids) > max_sequence_tokens:
            if overflow != "truncate" or len(prompt) >= max_sequence_tokens:
                left_out += 1
                continue
            cut += 1
            ids = ids[:max_sequence_tokens]
        samples.append(Sample(index, ids, len(prompt)))
    if left_out and overflow == "error":
        raise UserError(
            f"{left_out} of {len(rows)} samples are longer than "
            f"train.max_sequence_tokens ({max_sequence_tokens}); raise it, or set "
            "train.overflow=drop or truncate (s1 lost 20 points on AIME24 by cutting)"
        )
    if not samples:
        raise UserError(
            f"no sample fits train.max_sequence_tokens ({max_sequence_tokens}); raise it"
        )
    _check_pad(tokenizer, samples)
    counts = {"rows": len(rows), "samples": len(samples)}
    if overflow == "truncate":
        counts["truncated"] = cut
    if left_out or overflow == "drop":
        counts["dropped"] = left_out
    return SampleSet(samples, counts if overflow != "error" else {**counts, "too_long": 0})


def shared_samples(job: Job) -> SampleSet:
    """The samples of a job, tokenized by whoever comes first and mapped from its file by all.

    Raises:
        UserError: as `read_rows` and `build_samples`.
    """
    settings, path = job.settings, job.folder / SAMPLES
    with FileLock(str(job.folder / ".samples.lock")):
        if not path.exists():
            build_samples(
                load_tokenizer(job.model),
                job.model,
                read_rows(job.chosen),
                settings.format,
                settings.max_sequence_tokens,
                settings.overflow,
                settings.step_tokens,
            ).write(path)
        return SampleSet.read(path)


def _check_pad(tokenizer: PreTrainedTokenizerBase, samples: Sequence[Sample]) -> None:
    pad = tokenizer.pad_token_id
    if pad is None:
        raise UserError(
            "the tokenizer has no pad token; give model.pad_token, one no text contains"
        )
    for sample in samples:
        if pad in sample.token_ids:
            raise UserError(
                f"the pad token {tokenizer.pad_token!r} occurs in sample {sample.row}; "
                "set model.pad_token to a token that no text contains"
            )
