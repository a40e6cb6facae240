"""A model that replies to messages on the run's own engines."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import NamedTuple

from s1x.engine.chat import Answer, ChatModel, Message
from s1x.engine.client import GivenUpError
from s1x.engine.engine import Engine, LiveEngine, Request, Sampling, ends_with_stop
from s1x.model.chat import direct_turn_ids, prompt_ids, thinking_start_ids
from s1x.model.chat_format import ChatFormat
from s1x.model.load import load_tokenizer
from s1x.model.model import Model
from s1x.workers.local import Local
from s1x.workers.workers import Bench, Done, Pool, Work, Workers

#: questions in flight for each engine: more than one batches, so that it never waits for them
_SLOTS = 512


class Question(NamedTuple):
    """What a model is asked, and how its reply is drawn."""

    messages: Sequence[Message]
    sampling: Sampling
    max_tokens: int


@dataclass(frozen=True)
class Replying(Work[Question, Answer | str]):
    """A model replies in its chat template, or a text tells why there is no reply.

    With `thinking` the turn is opened with the model's `thinking_start`, and the trace taken apart.
    """

    model: Model
    thinking: bool

    def open(self, live: LiveEngine) -> ReplyBench:
        return ReplyBench(self, live)


class ReplyBench(Bench[Question, Answer | str]):
    """See `Replying`."""

    def __init__(self, work: Replying, live: LiveEngine) -> None:
        self.work, self.live = work, live
        self.tokenizer = load_tokenizer(work.model)
        self.format = ChatFormat.of(work.model, self.tokenizer)

    async def do(self, item: Question) -> Done[Answer | str]:
        model, stops = self.work.model, self.format.answer_stops
        prompt = self._prompt(item.messages)
        room = min(item.max_tokens, model.context_tokens - len(prompt))
        if room < 1:
            return Done(f"a prompt of {len(prompt)} tokens leaves no room in the context")
        ids: list[int] = []

        def on_tokens(new: Sequence[int]) -> bool:
            for token in new:  # an engine may write past a stop
                if ends_with_stop(ids, stops):
                    break
                ids.append(token)
            return not ends_with_stop(ids, stops)

        request = Request(
            prefix_ids=prompt,
            max_tokens=room,
            stop=stops,
            sampling=item.sampling,
            may_go_on=False,
        )
        await self.live.generate(request, on_tokens)
        end = max((len(s) for s in stops if tuple(ids[-len(s) :]) == s), default=0)
        reply = self.format.decode(ids[: len(ids) - end])
        trace: str | None = None
        if self.work.thinking:
            trace, _, reply = reply.partition(model.answer_start.rstrip())
            reply = reply.lstrip("\n")
        answer = Answer(reply, trace, "stop" if end else "length", len(prompt), len(ids))
        return Done(answer, len(ids), len(ids))

    def _prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        if self.work.thinking:
            start = thinking_start_ids(self.tokenizer, self.work.model)
            return (*prompt_ids(self.tokenizer, messages), *start)
        return tuple(direct_turn_ids(self.tokenizer, self.work.model, messages))


@dataclass(eq=False)
class EngineChat(ChatModel):
    """A model in engines, asked in its chat template; loaded with the first question.

    Attributes:
        engine: any option of the group engine.
        model: what answers; one is loaded at a time.
        thinking: see `Replying`.
        workers: who runs the engine.
    """

    engine: Engine
    model: Model
    thinking: bool = False
    workers: Workers = field(default_factory=Local)
    _pool: Pool[Question, Answer | str] | None = None
    _held: AsyncExitStack = field(default_factory=AsyncExitStack)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.memory, self.num_slots = self.model, _SLOTS * self.workers.most_engines
        thinking = " thinking" if self.thinking else ""
        self.name = f"{self.model.name} {self.model.fingerprint()}{thinking}"

    @property
    def device(self) -> tuple[str | None, int | None]:
        if self._pool is None:
            return None, None
        identity, num_engines = self._pool.about.identity, len(self._pool.replicas)
        return identity.get("device", "server"), identity.get("num_devices", 1) * num_engines

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
    ) -> Answer:
        """See `ChatModel.ask`; a prompt longer than the model's context is given up."""
        async with self._opening:
            if self._pool is None:
                work = Replying(self.model, self.thinking)
                opened = self.workers.open(self.engine, self.model, work)
                self._pool = await self._held.enter_async_context(opened)
        question = Question(messages, Sampling(temperature, top_p, seed), max_tokens)
        answer = await self._pool.do(question)
        if isinstance(answer, str):
            raise GivenUpError(answer)
        return answer

    async def close(self) -> None:
        await self._held.aclose()
