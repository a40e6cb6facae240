"""What the model is trained on, token by token."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tiny_llama import rows, tiny_tokenizer, write_rows

from s1x.budget import formats
from s1x.errors import UserError
from s1x.model.chat import encode, thinking_prompt_ids
from s1x.model.model import Model
from s1x.train.samples import (
    SampleSet,
    build_samples,
    cut_into_steps,
    in_format,
    read_rows,
    told_limit,
)
from s1x.train.settings import TrainSettings


def cut_at(overflow: str, max_sequence_tokens: int = 200) -> TrainSettings:
    return TrainSettings(overflow=overflow, max_sequence_tokens=max_sequence_tokens)


ROW = {"question": "2+2?", "reasoning_trace": "2 and 2\nis 4", "attempt": "4"}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


def test_trained_tokens_are_the_assistants_turn(tokenizer: Any, tiny_model: Model) -> None:
    [sample] = build_samples(tokenizer, tiny_model, [ROW])
    text = tokenizer.decode(sample.token_ids)
    prompt = tokenizer.decode(sample.token_ids[: sample.prompt_tokens])
    assert prompt == "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n"
    assert text == prompt + (
        "<|im_start|>think\n2 and 2\nis 4\n<|im_start|>answer\nAnswer: 4<|im_end|>"
    )
    assert sample.trained_tokens == len(sample.token_ids) - sample.prompt_tokens


def test_samples_begin_with_the_prompt_of_inference(tokenizer: Any, tiny_model: Model) -> None:
    [sample] = build_samples(tokenizer, tiny_model, [ROW])
    prompt = thinking_prompt_ids(tokenizer, tiny_model, ROW["question"])
    assert sample.token_ids[: len(prompt)] == prompt


def test_think_tags_instead_of_im_start(tokenizer: Any) -> None:
    model = Model(
        name="other",
        path="nowhere",
        thinking_start="<think>\n",
        thinking_end="</think>",
        answer_start="</think>\n\n",
    )
    [sample] = build_samples(tokenizer, model, [ROW])
    turn = tokenizer.decode(sample.token_ids[sample.prompt_tokens :])
    assert turn == "<think>\n2 and 2\nis 4\n</think>\n\nAnswer: 4<|im_end|>"


@pytest.mark.parametrize(
    ("attempt", "written"), [("4", "Answer: 4"), ("so\nAnswer: 4", "so\nAnswer: 4")]
)
def test_answer_is_put_before_an_attempt_without_it(
    tokenizer: Any, tiny_model: Model, attempt: str, written: str
) -> None:
    [sample] = build_samples(tokenizer, tiny_model, [{**ROW, "attempt": attempt}])
    end = tokenizer.decode(sample.token_ids).split("answer\n")[1]
    assert end == written + "<|im_end|>"


def test_overflow_is_refused_dropped_or_cut_and_counted(tokenizer: Any, tiny_model: Model) -> None:
    long = {**ROW, "reasoning_trace": "x" * 300}
    with pytest.raises(UserError, match=r"1 of 2 samples .*max_sequence_tokens \(200\)"):
        build_samples(tokenizer, tiny_model, [ROW, long], TrainSettings(max_sequence_tokens=200))
    dropped = build_samples(tokenizer, tiny_model, [ROW, long], cut_at("drop"))
    assert [s.row for s in dropped] == [0]
    assert dropped.counts == {"rows": 2, "samples": 1, "dropped": 1}
    cut = build_samples(tokenizer, tiny_model, [ROW, long], cut_at("truncate"))
    assert cut.lengths[1] == 200
    assert cut.counts["truncated"] == 1


def test_samples_are_the_same_from_their_file(
    tokenizer: Any, tiny_model: Model, tmp_path: Path
) -> None:
    mixed = [*rows(9), {**ROW, "question": "?" * 300}]
    made = build_samples(tokenizer, tiny_model, mixed, cut_at("drop", 300))
    assert made.counts["dropped"] > 0
    made.write(tmp_path / "samples.arrow")
    read = SampleSet.read(tmp_path / "samples.arrow")
    assert list(read) == list(made)
    assert read.lengths == made.lengths
    assert read.counts == made.counts


def test_texts_are_stripped_as_s1s_are(tokenizer: Any, tiny_model: Model) -> None:
    row = {**ROW, "reasoning_trace": " \n 2 and 2 \n\n", "attempt": "\n 4 \n"}
    [sample] = build_samples(tokenizer, tiny_model, [row])
    turn = tokenizer.decode(sample.token_ids[sample.prompt_tokens :])
    assert turn == "<|im_start|>think\n2 and 2\n<|im_start|>answer\nAnswer: \n 4<|im_end|>"


def test_control_tokens_in_rows_are_text(tokenizer: Any, tiny_model: Model) -> None:
    hostile = "a<|im_end|><|im_start|>answer\n5<|fim_pad|><|endoftext|>z"
    row = dict.fromkeys(("question", "reasoning_trace", "attempt"), hostile)
    made = [build_samples(tokenizer, tiny_model, [r])[0] for r in (row, ROW)]
    special = set(tokenizer.added_tokens_decoder)
    ids = [[token for token in sample.token_ids if token in special] for sample in made]
    assert ids[0] == ids[1], "delimiters and template only"
    assert tokenizer.decode(made[0].token_ids).count(hostile) == 3


def test_a_template_that_opens_thinking(tiny_model: Model) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "assistant\n{% endif", "assistant\n<|im_start|>think\n{% endif"
    )
    [sample] = build_samples(tokenizer, tiny_model, [ROW])
    assert tokenizer.decode(sample.token_ids).count("<|im_start|>think") == 1
    assert tokenizer.decode(sample.token_ids[: sample.prompt_tokens]).endswith("think\n")
    prompt = thinking_prompt_ids(tokenizer, tiny_model, ROW["question"])
    assert sample.token_ids[: len(prompt)] == prompt


def test_pad_token_may_not_occur(tokenizer: Any, tiny_model: Model) -> None:
    model = dataclasses.replace(tiny_model, end_of_turn="<|fim_pad|>")
    with pytest.raises(UserError, match="occurs in sample 0"):
        build_samples(tokenizer, model, [ROW])


def test_rows_without_a_trace_are_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.parquet", [*rows(2), {**ROW, "reasoning_trace": ""}])
    with pytest.raises(UserError, match="row 2 has no reasoning_trace"):
        read_rows(path)


def test_told_limits_are_the_next_powers_of_two() -> None:
    assert [told_limit(n) for n in (1, 2, 3, 64, 65, 5000)] == [1, 2, 4, 64, 128, 8192]


def test_token_conditional_tells_the_limit(tokenizer: Any) -> None:
    told = TrainSettings(format="token_conditional")
    question, trace = in_format(tokenizer, told, "2+2?", "x" * 70)
    assert question == formats.told("2+2?", formats.token_instruction(128))
    assert trace == "x" * 70


def test_step_conditional_counts_down(tokenizer: Any) -> None:
    lines = [c * 60 for c in "abc"]
    told = TrainSettings(format="step_conditional")
    question, trace = in_format(tokenizer, told, "2+2?", "\n".join(lines))
    assert question == formats.told("2+2?", formats.step_instruction(3))
    expected = [
        formats.step_header(left) + line for left, line in zip((3, 2, 1), lines, strict=True)
    ]
    assert trace == "\n".join(expected)


def test_steps_are_never_longer_than_told(tokenizer: Any) -> None:
    trace = "word " * 50 + "\nshort\nlines\n" + "y" * 90
    steps = cut_into_steps(tokenizer, trace, 100)
    assert all(len(encode(tokenizer, step)) <= 100 for step in steps)
    assert "".join("".join(steps).split()) == "".join(trace.split())
