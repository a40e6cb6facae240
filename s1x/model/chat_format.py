"""A model's chat format in token ids, as policies need it: prompt, delimiters, room to think."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from s1x.model.chat import encode as encode_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from s1x.model.model import Model

TokenIds: TypeAlias = tuple[int, ...]

#: the last tokens that decide whether a trace ends in a newline
_TAIL_TOKENS = 8
_DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>")


@dataclass(frozen=True)
class ChatFormat:
    """Delimiters of a model as token ids; any of them may be many tokens.

    Attributes:
        context_tokens: longest sequence, prompt included.
        thinking_stops: what ends thinking: the end delimiter, the end of the turn, the EOS.
        answer_stops: what ends an answer: the end of the turn, the EOS.
        answer_start: forced between thinking and answer.
        cue: forced after `answer_start` when thinking was cut ("Final Answer:").
        newline: forced before `answer_start` after a cut that is not at a line's end; empty where
            the tokenizer has no newline.
        encode: text to ids, without special tokens added.
        decode: ids to text, special tokens kept.
        holding: the tokens in whose text a piece of text stands; without any, its own sequence.
    """

    context_tokens: int
    thinking_stops: tuple[TokenIds, ...]
    answer_stops: tuple[TokenIds, ...]
    answer_start: TokenIds
    cue: TokenIds
    newline: TokenIds
    encode: Callable[[str], TokenIds]
    decode: Callable[[Sequence[int]], str]
    holding: Callable[[str], tuple[TokenIds, ...]]

    @property
    def end_ids(self) -> TokenIds:
        """The first ids of what ends thinking, each once."""
        return tuple(sorted({stop[0] for stop in self.thinking_stops}))

    @classmethod
    def of(cls, model: Model, tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
        """The format that `model` names, in the ids of its tokenizer."""

        def encode(text: str) -> TokenIds:
            return tuple(encode_text(tokenizer, text)) if text else ()

        def decode(ids: Sequence[int]) -> str:
            text = tokenizer.decode(
                list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
            assert isinstance(text, str)
            return text

        @lru_cache(8)
        def holding(text: str) -> tuple[TokenIds, ...]:
            ids = [[token] for token in range(1 + max(tokenizer.get_vocab().values()))]
            texts = enumerate(tokenizer.batch_decode(ids))
            return tuple((token,) for token, said in texts if text in said) or (encode(text),)

        turn_ends = (encode(model.end_of_turn), *_end_of_text(tokenizer))
        answer_stops = tuple(dict.fromkeys(ids for ids in turn_ends if ids))
        ends = [encode(model.thinking_end)]
        if len(ends[0]) > 1:  # plain tokens: its last may be one with the newlines that follow
            written = (encode(model.thinking_end + tail) for tail in ("\n", "\n\n"))
            ends += [ids for ids in written if ids[: len(ends[0])] != ends[0]]
        newline = encode("\n")
        return cls(
            context_tokens=model.context_tokens,
            thinking_stops=tuple(dict.fromkeys(filter(None, (*ends, *answer_stops)))),
            answer_stops=answer_stops,
            answer_start=encode(model.answer_start),
            cue=encode(model.final_answer_cue),
            newline=newline if newline and decode(newline) == "\n" else (),
            encode=encode,
            decode=decode,
            holding=holding,
        )

    def plain_completion(self, special_ids: Sequence[int]) -> ChatFormat:
        """The format of a prompt that is no chat: a line's end or any special token ends it."""
        ends = (self.newline, *((token,) for token in special_ids))
        stops = tuple(dict.fromkeys((*self.answer_stops, *filter(None, ends))))
        return replace(self, answer_stops=stops)


def _end_of_text(tokenizer: PreTrainedTokenizerBase) -> list[TokenIds]:
    """The EOS, and what ends a document in pretraining: either says that a model is done."""
    ids = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    vocabulary = tokenizer.get_vocab()
    ids += [vocabulary[name] for name in _DOCUMENT_ENDS if name in vocabulary]
    return [(int(token),) for token in ids]


@dataclass(frozen=True)
class Chat:
    """One prompt in a model's format: all that a policy sees.

    Attributes:
        format: the delimiters.
        prompt_ids: the user's turn and what opens the assistant's, `thinking_start` included.
    """

    format: ChatFormat
    prompt_ids: TokenIds

    @property
    def thinking_stops(self) -> tuple[TokenIds, ...]:
        """Sequences that end thinking."""
        return self.format.thinking_stops

    @property
    def answer_stops(self) -> tuple[TokenIds, ...]:
        """Sequences that end an answer."""
        return self.format.answer_stops

    def encode(self, text: str) -> TokenIds:
        """Ids of a text to be forced."""
        return self.format.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids."""
        return self.format.decode(ids)

    def thinking_room(self, answer_reserve_tokens: int) -> int:
        """Thinking tokens that the context holds: context - prompt - delimiters - reserve, >= 0."""
        form = self.format
        closing = len(form.newline) + len(form.answer_start) + len(form.cue)
        used = len(self.prompt_ids) + closing + answer_reserve_tokens
        return max(0, form.context_tokens - used)

    def line_break(self, thinking_ids: Sequence[int]) -> TokenIds:
        """A newline's ids where the thinking (which opens on a line of its own) lacks one."""
        if not thinking_ids or self.decode(thinking_ids[-_TAIL_TOKENS:]).endswith("\n"):
            return ()
        return self.format.newline
