"""The run's own engine as a chat model, so that annotation needs no server (vLLM offline)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s1x.annotate.store import Answer, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from s1x.engine.engine import LiveEngine
    from s1x.model.model import Model


@dataclass
class EngineModel:
    """A loaded engine, asked in the model's chat template.

    Attributes:
        engine: loaded; several roles may share it.
        thinking: open the turn with the model's `thinking_start`, and take its trace apart.
    """

    engine: LiveEngine
    tokenizer: PreTrainedTokenizerBase
    model: Model
    thinking: bool = False

    async def ask(self, messages: Sequence[Message], sampling: dict[str, Any]) -> Answer:
        """One reply; a prompt that leaves no room gives none.

        Raises:
            GivenUpError: the prompt is longer than the model's context.
        """
        from s1x.annotate.client import GivenUpError
        from s1x.engine.engine import Request, Sampling
        from s1x.model.chat import encode

        asked = [dict(m) for m in messages]
        text = self.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        assert isinstance(text, str)
        prompt = encode(self.tokenizer, text)
        if self.thinking:
            prompt += encode(self.tokenizer, self.model.thinking_start)
        room = min(sampling["max_tokens"], self.model.context_tokens - len(prompt))
        if room < 1:
            raise GivenUpError(f"a prompt of {len(prompt)} tokens leaves no room in the context")
        stop = tuple(encode(self.tokenizer, self.model.end_of_turn))
        drawn = Sampling(sampling["temperature"], sampling["top_p"], sampling["seed"])
        ids: list[int] = []

        def on_tokens(new: Sequence[int]) -> bool:
            ids.extend(new)
            return tuple(ids[-len(stop) :]) != stop

        await self.engine.generate(Request(tuple(prompt), room, (stop,), drawn), on_tokens)
        ended = tuple(ids[-len(stop) :]) == stop
        reply = self.tokenizer.decode(ids[: -len(stop)] if ended else ids)
        assert isinstance(reply, str)
        finish = "stop" if ended or len(ids) < room else "length"
        return self._answer(reply, finish, len(prompt), len(ids))

    def _answer(self, reply: str, finish: str, prompt_tokens: int, generated_tokens: int) -> Answer:
        if not self.thinking:
            return Answer(reply, None, finish, prompt_tokens, generated_tokens)
        trace, _, attempt = reply.partition(self.model.answer_start)
        return Answer(attempt, trace, finish, prompt_tokens, generated_tokens)

    async def close(self) -> None:
        """The engine belongs to its caller, who closes it."""
