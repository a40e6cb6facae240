"""The tokenizer: text of the world survives it, and nothing in ASCII is unknown."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from s1x_puzzles.families import FAMILIES, LEVELS, draw_puzzle
from s1x_puzzles.teacher import write_trace
from s1x_puzzles.tokenizer import build_tokenizer, count_tokens, save_tokenizer, vocabulary

SHIPPED = Path(__file__).parents[2] / "s1x_puzzles" / "puzzle_base"


@pytest.fixture(scope="module")
def tokenizer():  # type: ignore[no-untyped-def]
    return build_tokenizer()


def _sample(family: str, level: str) -> str:
    rng = random.Random(f"{family}{level}")
    puzzle = draw_puzzle(family, level, rng)
    trace = write_trace(puzzle, rng)
    return (
        f"<|im_start|>user\n{puzzle.question}<|im_end|>\n<|im_start|>assistant\n<|im_start|>think\n"
        f"{trace.text}\n<|im_start|>answer\nAnswer: {trace.answer}<|im_end|>\n"
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("level", LEVELS)
def test_ids_survive_text_and_every_word_is_one_token(tokenizer, family: str, level: str) -> None:  # type: ignore[no-untyped-def]
    ids = tokenizer(_sample(family, level))["input_ids"]
    assert tokenizer(tokenizer.decode(ids))["input_ids"] == ids
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert not [token for token in tokens if token.startswith("##") or token == "<unk>"]


def test_decoded_prefixes_are_prefixes(tokenizer) -> None:  # type: ignore[no-untyped-def]
    ids = tokenizer(_sample("powers", "hard"))["input_ids"]
    whole = tokenizer.decode(ids)
    assert all(whole.startswith(tokenizer.decode(ids[:end])) for end in range(len(ids)))


def test_the_delimiter_the_newline_and_wait_are_one_token_each(tokenizer) -> None:  # type: ignore[no-untyped-def]
    for text in ("<|im_start|>", "<|im_end|>", "\n", "Wait", "0", "199"):
        assert len(tokenizer(text)["input_ids"]) == 1
    assert tokenizer.convert_ids_to_tokens(tokenizer("a\nFinal Answer: 7")["input_ids"]) == [
        *("a", "\n", "Final", "Answer", ":", "7")
    ]


def test_ascii_has_no_unknown_token(tokenizer) -> None:  # type: ignore[no-untyped-def]
    text = "Zyx 12345 {}~ don't 007 e-mail_@x.org"
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer(tokenizer.decode(ids))["input_ids"] == ids


def test_tokens_are_counted_without_the_tokenizer(tokenizer) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(0)
    for family in FAMILIES:
        text = write_trace(draw_puzzle(family, "hard", rng), rng).text
        assert count_tokens(text) == len(tokenizer(text)["input_ids"])


def test_the_shipped_tokenizer_is_the_one_built(tokenizer, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from transformers import PreTrainedTokenizerFast

    save_tokenizer(tmp_path)
    shipped = PreTrainedTokenizerFast.from_pretrained(str(SHIPPED))
    assert shipped.get_vocab() == {token: i for i, token in enumerate(vocabulary())}
    assert (SHIPPED / "tokenizer.json").read_text() == (tmp_path / "tokenizer.json").read_text()
    turns = [{"role": "user", "content": "Split 9 into 2s and 5s. Fewest 2s?"}]
    assert shipped.apply_chat_template(turns, add_generation_prompt=True, tokenize=False) == (
        "<|im_start|>user\nSplit 9 into 2s and 5s. Fewest 2s?<|im_end|>\n<|im_start|>assistant\n"
    )
