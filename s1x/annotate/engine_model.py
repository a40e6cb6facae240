"""The run's own engine as a chat model, so that annotation needs no server (vLLM offline)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from s1x.annotate.client import GivenUpError
from s1x.annotate.store import Answer, Message
from s1x.engine.engine import Engine, LiveEngine, Request, Sampling, ends_with_stop
from s1x.engine.live import live_engine
from s1x.model.chat import prompt_ids, thinking_start_ids

if TYPE_CHECKING:
    from s1x.model.chat_format import ChatFormat
    from s1x.model.model import Model


@dataclass
class EngineModel:
    """A model in an engine, asked in its chat template; loaded with the first question.

    Attributes:
        engine: any option of the group engine.
        model: what answers.
        thinking: open the turn with the model's `thinking_start`, and take its trace apart.
    """

    engine: Engine
    model: Model
    thinking: bool = False
    slots: int = 512
    """Questions in flight: more than an engine batches, so that it never waits for one."""
    _loaded: tuple[LiveEngine, Any, ChatFormat] | None = field(default=None, init=False)

    @cached_property
    def name(self) -> str:
        """Weights and chat format: what tells its answers from another model's."""
        way = " thinking" if self.thinking else ""
        return f"{self.model.name} {self.model.fingerprint()}{way}"

    @property
    def device(self) -> tuple[str | None, int | None]:
        """cpu, cuda, or server behind engine=openai, and how many; None while not loaded."""
        if self._loaded is None:
            return None, None
        identity = self._loaded[0].identity
        return identity.get("device", "server"), int(identity.get("num_devices", 1))

    async def ask(self, messages: Sequence[Message], sampling: dict[str, Any]) -> Answer:
        """One reply.

        Raises:
            GivenUpError: the prompt is longer than the model's context.
            UserError: the engine cannot start or serve.
        """
        live, tokenizer, form = self._load()
        prompt = tuple(prompt_ids(tokenizer, messages))
        if self.thinking:
            prompt += tuple(thinking_start_ids(tokenizer, self.model))
        room = min(sampling["max_tokens"], self.model.context_tokens - len(prompt))
        if room < 1:
            raise GivenUpError(f"a prompt of {len(prompt)} tokens leaves no room in the context")
        stops = form.answer_stops
        drawn = Sampling(sampling["temperature"], sampling["top_p"], sampling["seed"])
        ids: list[int] = []

        def on_tokens(new: Sequence[int]) -> bool:
            for token in new:  # a server may send more than was wanted
                if ends_with_stop(ids, stops) or len(ids) == room:
                    break
                ids.append(token)
            return not ends_with_stop(ids, stops)

        await live.generate(
            Request(
                prefix_ids=prompt, max_tokens=room, stop=stops, sampling=drawn, may_go_on=False
            ),
            on_tokens,
        )
        end = max((len(s) for s in stops if tuple(ids[-len(s) :]) == s), default=0)
        reply = form.decode(ids[: len(ids) - end])
        finish = "stop" if end else "length"
        if not self.thinking:
            return Answer(reply, None, finish, len(prompt), len(ids))
        trace, _, attempt = reply.partition(self.model.answer_start)
        return Answer(attempt, trace, finish, len(prompt), len(ids))

    def _load(self) -> tuple[LiveEngine, Any, ChatFormat]:
        if self._loaded is None:
            from s1x.model.chat_format import ChatFormat
            from s1x.model.load import load_tokenizer

            tokenizer = load_tokenizer(self.model)
            live = live_engine(self.engine, self.model)
            self._loaded = (live, tokenizer, ChatFormat.of(self.model, tokenizer))
        return self._loaded

    async def close(self) -> None:
        """The engine stays for whoever asks next, and is closed at the end of the process."""
