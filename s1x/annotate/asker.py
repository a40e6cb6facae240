"""Asks models through the store: what is known is not asked, what is asked is stored at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from s1x.annotate.budget import Spending
from s1x.annotate.client import GivenUpError
from s1x.annotate.settings import Endpoint
from s1x.annotate.store import Answer, AnswerStore, Message, key_of

T = TypeVar("T")


class ChatModel(Protocol):
    """Anything that replies to messages: servers over HTTP, or an engine of this run."""

    @property
    def name(self) -> str:
        """What tells its answers from another model's."""
        ...

    @property
    def slots(self) -> int:
        """Questions that are worth having in flight."""
        ...

    @property
    def device(self) -> tuple[str | None, int | None]:
        """What it runs on, and on how many, for the cost ledger."""
        ...

    async def ask(self, messages: Sequence[Message], sampling: dict[str, Any]) -> Answer:
        """One reply."""
        ...

    async def close(self) -> None:
        """Frees what it holds."""
        ...


@dataclass(eq=False)
class Asker:
    """One model with the store, the spending and the counts.

    Attributes:
        name: what the model is used as ("teacher", "solvers.small").
        offline: True: answer from the store only.
        wall_seconds: its share of the time of its pass over the pool.
        counts: calls, answers found in the store, replies that could not be read, calls given up.
    """

    name: str
    endpoint: Endpoint
    model: ChatModel
    store: AnswerStore
    spending: Spending
    max_replies: int
    offline: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    given_up: dict[str, int] = field(default_factory=dict)
    wall_seconds: float = 0.0
    _open: dict[str, asyncio.Future[Answer | None]] = field(default_factory=dict)

    async def value(
        self, messages: Sequence[Message], read: Callable[[Answer], T | None]
    ) -> T | None:
        """The first reply that can be read, as a value; None where there is none."""
        for reply in range(self.max_replies):
            answer = await self._answer(messages, reply)
            if answer is None:
                return None
            value = read(answer)
            if value is not None:
                return value
            if not self.offline:
                self.counts["unreadable"] += 1
        return None

    async def _answer(self, messages: Sequence[Message], reply: int) -> Answer | None:
        sampling = self._sampling(reply)
        key = key_of(self.model.name, messages, sampling)
        known = self.store.get(key)
        if known is not None or self.offline:
            self.counts["from_store"] += known is not None and not self.offline
            return known
        if key not in self._open:
            self._open[key] = asyncio.ensure_future(self._fetch(key, messages, sampling))
            self._open[key].add_done_callback(lambda _: self._open.pop(key, None))
        return await self._open[key]

    async def _fetch(
        self, key: str, messages: Sequence[Message], sampling: dict[str, Any]
    ) -> Answer | None:
        try:
            return self.store.put(key, self.model.name, await self._ask(messages, sampling))
        except GivenUpError as error:
            self.counts["given_up"] += 1
            reason = str(error)[:160]
            self.given_up[reason] = self.given_up.get(reason, 0) + 1
            return None

    async def _ask(self, messages: Sequence[Message], sampling: dict[str, Any]) -> Answer:
        prompt_tokens = sum(len(m["content"].encode()) for m in messages) // 3 + 16
        tokens = prompt_tokens + self.endpoint.max_tokens
        usd = self.endpoint.usd(prompt_tokens, self.endpoint.max_tokens)
        await self.spending.reserve(tokens, usd)
        used = None
        try:
            answer = await self.model.ask(messages, sampling)
            cost = self.endpoint.usd(answer.prompt_tokens, answer.generated_tokens)
            used = (answer.prompt_tokens, answer.generated_tokens, cost)
            self.counts["calls"] += 1
            self.counts["prompt_tokens"] += answer.prompt_tokens or 0
            self.counts["generated_tokens"] += answer.generated_tokens or 0
            self.counts["uncounted"] += answer.generated_tokens is None
            return answer
        finally:
            await self.spending.settle(tokens, usd, used)

    def _sampling(self, reply: int) -> dict[str, Any]:
        """Greedy replies are all the same, so another reply is drawn at temperature 0.7."""
        temperature = self.endpoint.temperature
        if reply and temperature == 0:
            temperature = 0.7
        return {
            "temperature": temperature,
            "top_p": self.endpoint.top_p,
            "max_tokens": self.endpoint.max_tokens,
            "seed": reply,
        }
