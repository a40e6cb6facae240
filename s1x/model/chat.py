"""How texts become token ids: the chat template, and text of data that is never markup.

Two kinds of text are kept apart. *Markup* (the chat template, a model's delimiters) is written by
whoever set the model up, and its control tokens are meant. *Data* (questions, traces, attempts,
messages) is written by users, data sets and models: `<|im_end|>` in it is eleven characters, never
the token. Training and evaluation use the same functions, so that a model meets at inference the
ids that it was trained on.

Where data holds no control token's text, the ids are those of the tokenizer itself.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from s1x.errors import UserError, reason_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

    from s1x.model.model import Model

#: private character; with a hash of the text between two, it marks what was taken out of the text
_MARK = "\uf8f0"
#: the variable by which Qwen3's template, and others since, are told whether to think
_SWITCH = "enable_thinking"
_THOUGHT_START, _THOUGHT_END = "<think>", "</think>"


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of markup: control tokens where the text writes them."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def encode_data(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of data: no control token, whatever the text says."""
    ids = encode(tokenizer, text)
    return ids if _control_ids(tokenizer).isdisjoint(ids) else _encode_plain(tokenizer, text)


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, object]],
    tools: Sequence[Mapping[str, object]] = (),
    thinking: bool = True,
    after: str = "",
    is_over: bool = False,
) -> list[int]:
    """Ids of a conversation in the chat template, up to where the assistant begins to write.

    Control tokens come from the template alone; the messages are data, and so are tools. Where the
    template takes the thinking out of earlier turns, it sees where that ends.

    Args:
        thinking: what a template with the switch `enable_thinking` is told.
        after: markup behind what the template writes.
        is_over: the assistant has had its turn and writes no more.
    """
    guard = _Guard(tokenizer, list(_texts_in([messages, tools])))
    splits = f"split('{_THOUGHT_END}')" in str(tokenizer.chat_template).replace('"', "'")
    turns = [guard.hidden_turn(message, splits) for message in messages]
    text = _rendered(tokenizer, turns, guard.hidden(tools), thinking, is_over)
    return guard.encode(text + after)


def direct_turn_ids(
    tokenizer: PreTrainedTokenizerBase,
    model: Model,
    messages: Sequence[Mapping[str, object]],
    tools: Sequence[Mapping[str, object]] = (),
) -> list[int]:
    """The same for an answer without thinking.

    A template with the switch `enable_thinking` (Qwen3) is told `false`. Another one that knows the
    end of thinking (R1's family, QwQ) gets a block of thinking with nothing in it, as Qwen3's
    writes it. Any other (s1 and its base) stays as it is: such a model thinks when it is told to.
    """
    after = ""
    template = str(tokenizer.chat_template)
    if _SWITCH not in template and model.answer_start.strip() in template:
        after = _left(_opening(tokenizer), f"{model.thinking_start}\n{model.answer_start}")
    return prompt_ids(tokenizer, messages, tools, thinking=False, after=after)


def thinking_prompt_ids(
    tokenizer: PreTrainedTokenizerBase, model: Model, question: str
) -> list[int]:
    """Ids of the prompt of an evaluation: the user's turn and `thinking_start`."""
    return user_turn_ids(tokenizer, question) + thinking_start_ids(tokenizer, model)


def user_turn_ids(tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
    """Ids of one user turn in the chat template."""
    return prompt_ids(tokenizer, [{"role": "user", "content": question}])


def direct_prompt_ids(tokenizer: PreTrainedTokenizerBase, model: Model, question: str) -> list[int]:
    """Ids of the prompt for an answer without thinking: `direct_prompt`, or `direct_turn_ids`."""
    if model.direct_prompt is None:
        return direct_turn_ids(tokenizer, model, [{"role": "user", "content": question}])
    guard = _Guard(tokenizer, [question])
    return guard.encode(model.direct_prompt.replace("{question}", guard.hide(question)))


def thinking_start_ids(tokenizer: PreTrainedTokenizerBase, model: Model) -> list[int]:
    """Ids of `thinking_start`, or of what the chat template has left of it to write.

    Templates of R1's family end their prompt with `<think>` and a newline themselves.
    """
    start = _left(_opening(tokenizer), model.thinking_start)
    return encode(tokenizer, start) if start else []


def _left(opening: str, text: str) -> str:
    """What is left of a text to write after an opening that may have begun it, line ends aside."""
    lines = text.splitlines(keepends=True)
    first, shown = (lines or [""])[0].rstrip(), opening.rstrip()
    if not first or not shown.endswith(first):
        return text
    written, rest = opening[len(shown) :], text[len(first) :]
    if rest.startswith(written):
        return rest.removeprefix(written)
    return rest.lstrip() if len(lines) > 1 else ""


@lru_cache(maxsize=8)
def _opening(tokenizer: PreTrainedTokenizerBase) -> str:
    """A prompt as the template writes it, around a question that no template looks like."""
    return _rendered(tokenizer, [{"role": "user", "content": "2"}])


def _rendered(
    tokenizer: PreTrainedTokenizerBase,
    messages: Any,
    tools: Any = None,
    thinking: bool = True,
    is_over: bool = False,
) -> str:
    switch: dict[str, Any] = {_SWITCH: thinking} if _SWITCH in str(tokenizer.chat_template) else {}
    try:
        text = tokenizer.apply_chat_template(
            messages,
            tools=tools or None,
            tokenize=False,
            add_generation_prompt=not is_over,
            **switch,
        )
    except Exception as error:  # a template is a program: it raises what it likes
        reason = reason_of(error)
        raise UserError(
            f"the model's chat template refuses the conversation ({reason}); "
            "give another by model.chat_template"
        ) from error
    assert isinstance(text, str)
    return text


def _texts_in(value: object) -> Iterator[str]:
    """All strings of nested lists and mappings, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from _texts_in(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts_in(inner)


class _Guard:
    """Takes control tokens' texts out of data before a template sees them, and puts them back."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self.pattern = _control_pattern(tokenizer)
        digest = hashlib.blake2b(digest_size=8)
        for text in texts:
            digest.update(text.encode("utf-8", "surrogatepass"))
        self.mark = f"{_MARK}{digest.hexdigest()}{_MARK}"  # of a hash, so that no text can hold it
        self.taken: list[str] = []

    def hide(self, text: str) -> str:
        """The text with a mark and a number in the place of each control token's text."""
        return self.pattern.sub(self._take, text)

    def hidden(self, value: object) -> Any:
        """Nested lists and mappings with every string in them hidden."""
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, Mapping):
            return {self.hide(str(key)): self.hidden(inner) for key, inner in value.items()}
        return [self.hidden(v) for v in value] if isinstance(value, Sequence) else value

    def hidden_turn(self, message: Mapping[str, object], splits: bool) -> Any:
        """A message hidden, but for the tags of the thinking that a template takes out of it.

        Nothing of what stands before the last end of thinking gets out of a template that splits
        there, so the tags are no control tokens of the prompt.
        """
        turn = self.hidden(message)
        content = message.get("content")
        if splits and message.get("role") == "assistant" and isinstance(content, str):
            thought, end, said = content.rpartition(_THOUGHT_END)
            if end and message.get("reasoning_content") is None:
                tags = f"({_THOUGHT_START}|{_THOUGHT_END})"
                parts = re.split(tags, thought)
                seen = [p if i % 2 else self.hide(p) for i, p in enumerate(parts)]
                turn["content"] = "".join(seen) + end + self.hide(said)
        return turn

    def _take(self, found: re.Match[str]) -> str:
        self.taken.append(found[0])
        return f"{self.mark}{len(self.taken) - 1}{self.mark}"

    def _shown(self, text: str) -> str:
        return re.sub(f"{self.mark}(\\d+){self.mark}", lambda m: self.taken[int(m[1])], text)

    def encode(self, text: str) -> list[int]:
        """Ids of a text whose control tokens are markup, with what was hidden put back as data."""
        pieces = self.pattern.split(text)  # every second one is a control token's text
        if not self.taken:
            ids = encode(self.tokenizer, text)
            if sum(token in _control_ids(self.tokenizer) for token in ids) == len(pieces) // 2:
                return ids
        ids = []
        for place, piece in enumerate(pieces):
            control = place % 2 == 1
            ids += (
                [_control_tokens(self.tokenizer)[piece]]
                if control
                else encode_data(self.tokenizer, self._shown(piece))
            )
        return ids


@lru_cache(maxsize=8)
def _control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Texts that the tokenizer reads as one token by themselves, and their ids.

    Added words and white space (some tokenizers add runs of spaces) are text like any other.
    """
    added = {str(token): int(id_) for id_, token in tokenizer.added_tokens_decoder.items()}
    special = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
    markup = {text: id_ for text, id_ in added.items() if not _is_words(text)}
    return {text: id_ for text, id_ in {**markup, **special}.items() if text}


def _is_words(text: str) -> bool:
    return "".join(text.replace("▁", " ").split()).isalnum() or not text.strip()


@lru_cache(maxsize=8)
def _control_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    texts = sorted(_control_tokens(tokenizer), key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, texts)) + ")") if texts else re.compile("(?!)")


@lru_cache(maxsize=8)
def _control_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Their ids, but for the one that stands for text outside the vocabulary."""
    return frozenset(_control_tokens(tokenizer).values()) - {tokenizer.unk_token_id}


def _encode_plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of a text by a tokenizer to which its control tokens mean nothing."""
    controls = _control_ids(tokenizer)
    ids = _plain_ids(tokenizer, text)
    if not controls.isdisjoint(ids):  # the vocabulary has the whole text as a word: part it
        cuts = [found.start() + 1 for found in _control_pattern(tokenizer).finditer(text)]
        parts = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
        ids = [token for part in parts for token in _plain_ids(tokenizer, part)]
    return [token for token in ids if token not in controls]


def _plain_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    if not tokenizer.is_fast:
        found = tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return list(found["input_ids"])
    return list(_without_controls(tokenizer).encode(text, add_special_tokens=False).ids)


@lru_cache(maxsize=4)
def _without_controls(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """The same fast tokenizer with control tokens under names that no text has, ids unchanged."""
    from tokenizers import Tokenizer

    backend, controls = tokenizer.backend_tokenizer, _control_tokens(tokenizer)
    state = json.loads(backend.to_str())
    # the id of a control token that is a word too does not depend on this list
    words = backend.get_vocab(with_added_tokens=False).keys() & controls.keys()
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] not in words]
    for token in state["added_tokens"]:
        if token["content"] in controls:
            token["content"] = f"\ufdd0{token['id']}\ufdd1"
    return Tokenizer.from_str(json.dumps(state))
