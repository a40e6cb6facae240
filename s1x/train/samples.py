"""Training samples: one user turn, one assistant turn, and which tokens the loss counts.

The assistant turn is (paper, appendix C)

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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

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
from s1x.train.settings import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sample:
    """Token ids of one sample, of which the loss does not count the first `prompt_tokens`.

    `row` is its place in the chosen rows.
    """

    row: int
    token_ids: list[int]
    prompt_tokens: int

    @property
    def trained_tokens(self) -> int:
        """Tokens that the loss counts."""
        return len(self.token_ids) - self.prompt_tokens


class SampleSet:
    """All samples of a run in an Arrow table; `counts` says what became of those too long.

    Attributes:
        lengths: tokens of each sample.
        trained: tokens of each that the loss counts.
    """

    SCHEMA = pa.schema(
        {"row": pa.int32(), "token_ids": pa.list_(pa.int32()), "prompt_tokens": pa.int32()}
    )

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.counts: dict[str, int] = json.loads(table.schema.metadata[b"counts"])
        lengths = pc.list_value_length(table["token_ids"])
        self.lengths: list[int] = lengths.to_pylist()
        self.trained: list[int] = pc.subtract(lengths, table["prompt_tokens"]).to_pylist()

    @classmethod
    def of(cls, samples: Sequence[Sample], counts: dict[str, int]) -> SampleSet:
        """Samples that were made now."""
        schema = cls.SCHEMA.with_metadata({"counts": json.dumps(counts)})
        return cls(pa.Table.from_pylist([vars(sample) for sample in samples], schema))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Sample:
        [found] = self.table.slice(index, 1).to_pylist()
        return Sample(**found)

    def __iter__(self) -> Iterator[Sample]:
        return map(self.__getitem__, range(len(self)))

    def write(self, path: Path) -> None:
        """Writes an Arrow file, whole or not at all."""
        partial = path.with_suffix(".partial")
        with pa.ipc.new_file(str(partial), self.table.schema) as writer:
            writer.write_table(self.table)
        partial.rename(path)

    @classmethod
    def read(cls, path: Path) -> SampleSet:
        """The samples of a file, which stays on disk and is mapped into memory."""
        return cls(pa.ipc.open_file(pa.memory_map(str(path))).read_all())


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
        for name in COLUMNS:
            if not (row[name] or "").strip():
                raise UserError(
                    f"{path} row {index} has no {name}; the selection must drop such rows"
                )
    return rows


def build_samples(
    tokenizer: PreTrainedTokenizerBase,
    model: Model,
    rows: Sequence[dict[str, str]],
    settings: TrainSettings | None = None,
) -> SampleSet:
    """Tokenizes rows; samples that are too long are refused, dropped or cut, and counted.

    Raises:
        UserError: a sample is longer than `max_sequence_tokens` under overflow=error, the pad
            token occurs in a sample, or no sample is left.
    """
    settings = settings or TrainSettings()
    limit, overflow, pad = settings.max_sequence_tokens, settings.overflow, tokenizer.pad_token_id
    if pad is None:
        raise UserError(
            "the tokenizer has no pad token; give model.pad_token, one no text contains"
        )
    samples: list[Sample] = []
    dropped = cut = 0
    for index, row in enumerate(rows):
        question, trace = in_format(
            tokenizer, settings, row["question"], row["reasoning_trace"].strip()
        )
        prompt = user_turn_ids(tokenizer, question)
        ids = prompt + _assistant_turn(tokenizer, model, trace, row["attempt"])
        if len(ids) > limit:
            if overflow != "truncate" or len(prompt) >= limit:
                dropped += 1
                continue
            cut += 1
        samples.append(Sample(index, ids[:limit], len(prompt)))
        if pad in samples[-1].token_ids:
            raise UserError(
                f"the pad token {tokenizer.pad_token!r} occurs in sample {index}; "
                "set model.pad_token to a token that no text contains"
            )
    if dropped and overflow == "error":
        raise UserError(
            f"{dropped} of {len(rows)} samples are longer than "
            f"train.max_sequence_tokens ({limit}); raise it, or set "
            "train.overflow=drop or truncate (s1 lost 20 points on AIME24 by cutting)"
        )
    if not samples:
        raise UserError(f"no sample fits train.max_sequence_tokens ({limit}); raise it")
    counts = {"rows": len(rows), "samples": len(samples)}
    if overflow == "truncate":
        counts["truncated"] = cut
    if dropped or overflow != "truncate":
        counts["dropped" if overflow != "error" else "too_long"] = dropped
    return SampleSet.of(samples, counts)


def _assistant_turn(
    tokenizer: PreTrainedTokenizerBase, model: Model, trace: str, attempt: str
) -> list[int]:
    if "Answer:" not in attempt:
        attempt = "Answer: " + attempt
    return [
        *thinking_start_ids(tokenizer, model),
        *encode_data(tokenizer, trace + "\n"),
        *encode(tokenizer, model.answer_start),
        *encode_data(tokenizer, attempt.strip()),
        *encode(tokenizer, model.end_of_turn),
    ]


def shared_samples(job: Job) -> SampleSet:
    """The samples of a job, tokenized by whoever comes first and mapped from its file by all.

    Raises:
        UserError: as `read_rows` and `build_samples`.
    """
    path = job.folder / SAMPLES
    with FileLock(str(job.folder / ".samples.lock")):
        if not path.exists():
            tokenizer, rows = load_tokenizer(job.model), read_rows(job.chosen)
            build_samples(tokenizer, job.model, rows, job.settings).write(path)
        return SampleSet.read(path)


def in_format(
    tokenizer: PreTrainedTokenizerBase, settings: TrainSettings, question: str, trace: str
) -> tuple[str, str]:
    """Question and trace as `settings.format` writes them (`plain` leaves them as they are)."""
    if settings.format == "plain":
        return question, trace
    if settings.format == "token_conditional":
        limit = told_limit(len(encode_data(tokenizer, trace)))
        return formats.told(question, formats.token_instruction(limit)), trace
    header_tokens = len(encode_data(tokenizer, formats.step_header(100)))
    steps = cut_into_steps(tokenizer, trace, settings.step_tokens - header_tokens)
    lefts = range(len(steps), 0, -1)
    headed = [formats.step_header(left) + step for left, step in zip(lefts, steps, strict=True)]
    return formats.told(question, formats.step_instruction(len(steps))), "\n".join(headed)


def told_limit(trace_tokens: int) -> int:
    """The limit that a trace of this length is told: the next power of two (appendix E)."""
    return 1 << max(0, math.ceil(math.log2(max(1, trace_tokens))))


def cut_into_steps(tokenizer: PreTrainedTokenizerBase, trace: str, step_tokens: int) -> list[str]:
    """A trace cut at newlines into steps of at most `step_tokens` tokens, without end of line.

    Lines are joined while they fit; a line that alone is longer is cut between words.
    """

    def fits(text: str) -> bool:
        return len(encode_data(tokenizer, text)) <= step_tokens

    def pieces(line: str) -> Iterable[str]:
        first, *words = [line] if fits(line) else line.split(" ")
        return (first, *(" " + word for word in words))

    steps = [""]
    for piece in chain.from_iterable(map(pieces, trace.splitlines(keepends=True))):
        if steps[-1] and not fits(steps[-1] + piece):
            steps.append("")
        steps[-1] += piece
    return [step.strip("\n").strip(" ") for step in steps if step.strip()]
