"""How a question becomes a prompt: the chat template's user turn and the opening of thinking.

Training and evaluation use the same function, so a model meets at inference the very ids that it
was trained on. Pieces are tokenized one by one (prompt, trace, delimiter, attempt), because at
inference they come one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from s1x.model.model import Model


def prompt_text(tokenizer: PreTrainedTokenizerBase, question: str) -> str:
    """One user turn in the chat template, up to where the assistant begins to write."""
    messages = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert isinstance(text, str)
    return text


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a piece of text; special tokens only where the text writes them."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return list(ids)


def thinking_prompt_ids(
    tokenizer: PreTrainedTokenizerBase, model: Model, question: str
) -> list[int]:
    """Ids of the prompt of an evaluation: the user turn and `thinking_start`."""
    return encode(tokenizer, prompt_text(tokenizer, question)) + encode(
        tokenizer, model.thinking_start
    )
