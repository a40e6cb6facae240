"""The word-level tokenizer of the puzzle world, as a real Hugging Face fast tokenizer.

Every word of the world, every number 0..199, and the newline is one token. Whatever else a user
types in ASCII falls apart into single characters (WordPiece, continuing pieces marked ``##``), so
there is no ``<unk>`` short of non-ASCII text. ``encode(decode(ids)) == ids`` for every text of the
world.
"""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import TYPE_CHECKING

from s1x_puzzles.families import FAMILIES, MAX_NUMBER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
PAD = "<|fim_pad|>"
UNKNOWN = "<unk>"

SPECIAL_TOKENS = (END_OF_TEXT, IM_START, IM_END, PAD, UNKNOWN)

FORMAT_WORDS = (
    "system user assistant think answer Wait Final Answer so no near yes against digit sum Think "
    "Alternatively Hmm for up to at most a short long briefly amount of time tokens steps step "
    "left the question after Use You are helpful problem"
)
"""Words of the format, of the corpus and of the prompts that tell a model its budget."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_PIECE = r"\n|[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]"


def vocabulary() -> list[str]:
    """All tokens in the order of their ids."""
    templates = " ".join(t for family in FAMILIES.values() for t in family.templates)
    words = [*FORMAT_WORDS.split(), *re.findall(_PIECE, re.sub(r"\{\w+\}", " ", templates))]
    printable = string.ascii_letters + string.punctuation
    numbers = [str(number) for number in range(MAX_NUMBER + 1)]
    pieces = ["##" + letter for letter in string.ascii_letters + string.digits]
    return list(dict.fromkeys([*SPECIAL_TOKENS, "\n", *numbers, *words, *printable, *pieces]))


def count_tokens(text: str) -> int:
    """Tokens of a text of this world, without loading the tokenizer."""
    return len(re.findall(_PIECE, text))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Builds the tokenizer from the vocabulary; the shipped folder holds what this returns."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {token: index for index, token in enumerate(vocabulary())}
    tokenizer = Tokenizer(
        models.WordPiece(vocab, unk_token=UNKNOWN, max_input_chars_per_word=10_000)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[^\S\n]+"), "removed"),
            pre_tokenizers.Split(Regex(_PIECE), "isolated"),
        ]
    )
    tidy = [(" \n", "\n"), ("\n ", "\n"), (f"{IM_START} ", IM_START), (f" {IM_END}", IM_END)]
    tidy += [(f" {mark}", mark) for mark in (",", ".", "?", ":", ";")]
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            *(decoders.Replace(wide, tight) for wide, tight in tidy),
        ]
    )
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=IM_END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        additional_special_tokens=[IM_START, END_OF_TEXT],
        model_max_length=1024,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def save_tokenizer(folder: Path) -> None:
    """Writes the tokenizer files and the chat template into a model folder."""
    build_tokenizer().save_pretrained(str(folder))
