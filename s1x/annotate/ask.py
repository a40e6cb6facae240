"""Asks models through the store, within the caps: what is known is not asked again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from s1x import costs
from s1x.annotate.annotate import Endpoint
from s1x.annotate.store import AnswerStore, key_of
from s1x.engine.chat import Answer, ChatModel, Message
from s1x.engine.client import GivenUpError
from s1x.errors import UserError

T = TypeVar("T")


class CapReachedError(UserError):
    """The cap on tokens or money is reached; what was answered is stored."""


@dataclass
class Spending:
    """Tokens and dollars of the calls of one run, never more than the caps.

    A call sets aside the most it may need (its prompt, estimated, and its longest reply). When that
    does not fit, the call waits for others to end and give back; with none in flight it is refused.
    """

    max_total_tokens: int | None = None
    max_usd: float | None = None
    calls: int = 0
    tokens: int = 0
    usd: float = 0.0
    usd_unknown: bool = False
    _refused: str = ""
    _aside: list[tuple[int, float]] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @asynccontextmanager
    async def set_aside(self, tokens: int, usd: float) -> AsyncIterator[None]:
        """Holds tokens and dollars while a call is in flight.

        Raises:
            CapReachedError: they do not fit although nothing is in flight.
        """
        held = (tokens, usd)
        async with self._changed:
            while reached := self._refused or self._reached(tokens, usd):
                if not self._aside:
                    self._refused = reached  # nor a smaller call: the run ends, and would drop it
                    raise CapReachedError(self._words(reached))
                await self._changed.wait()
            self._aside.append(held)
        try:
            yield
        finally:
            async with self._changed:
                self._aside.remove(held)
                self._changed.notify_all()

    def book(self, tokens: int, usd: float, usd_known: bool) -> None:
        """Adds what a call has used."""
        self.calls += 1
        self.tokens += tokens
        self.usd += usd
        self.usd_unknown |= not usd_known

    def _reached(self, tokens: int, usd: float) -> str:
        """The cap that a call would pass, if it would pass one."""
        tokens += self.tokens + sum(held for held, _ in self._aside)
        usd += self.usd + sum(held for _, held in self._aside)
        if self.max_total_tokens is not None and tokens > self.max_total_tokens:
            return f"annotate.max_total_tokens={self.max_total_tokens}"
        if self.max_usd is not None and usd > self.max_usd:
            return f"annotate.max_usd={self.max_usd:g}"
        return ""

    def _words(self, reached: str) -> str:
        money = f", {self.usd:.4f} USD" if self.max_usd is not None else ""
        return (
            f"{reached} is reached: {self.calls} new answers, {self.tokens} tokens{money}; all are "
            "stored, raise the cap and the same command goes on"
        )


@dataclass(eq=False)
class Asker:
    """One role's model, with the store and the spending.

    Attributes:
        name: the role ("teacher", "solvers.small").
        offline: True: answer from the store only.
        wall_seconds: its share of the time of its pass over the pool.
        counts: calls, answers found in the store, replies that could not be read, calls given up.
        given_up: reason → calls.
    """

    name: str
    endpoint: Endpoint
    model: ChatModel
    store: AnswerStore
    spending: Spending
    max_replies: int
    offline: bool = False
    wall_seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    given_up: Counter[str] = field(default_factory=Counter)
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
            self.counts["unreadable"] += not self.offline
        return None

    async def _answer(self, messages: Sequence[Message], reply: int) -> Answer | None:
        # greedy replies are all the same, so another one is drawn
        temperature = self.endpoint.temperature or (0.7 if reply else 0.0)
        sampling = {
            "temperature": temperature,
            "top_p": self.endpoint.top_p,
            "max_tokens": self.endpoint.max_tokens,
            "seed": reply,
        }
        key = key_of(self.model.name, messages, sampling)
        known = self.store.get(key)
        if known is not None or self.offline:
            self.counts["from_store"] += known is not None and not self.offline
            return known
        if key not in self._open:  # two rows may ask the same
            self._open[key] = asyncio.ensure_future(self._ask(key, messages, sampling))
            self._open[key].add_done_callback(lambda _: self._open.pop(key, None))
        return await self._open[key]

    async def _ask(
        self, key: str, messages: Sequence[Message], sampling: Mapping[str, Any]
    ) -> Answer | None:
        endpoint = self.endpoint
        prompt_tokens = sum(len(m["content"].encode()) for m in messages) // 3 + 16
        tokens = prompt_tokens + endpoint.max_tokens
        usd = endpoint.usd(prompt_tokens, endpoint.max_tokens) or 0.0
        async with self.spending.set_aside(tokens, usd):
            try:
                answer = await self.model.ask(messages, **sampling)
            except GivenUpError as error:
                self.counts["given_up"] += 1
                self.given_up[str(error)[:160]] += 1
                return None
            prompt, generated = answer.prompt_tokens, answer.generated_tokens
            cost = endpoint.usd(prompt, generated)
            # a server that does not count is booked with what was set aside
            used = (prompt or 0) + (tokens if generated is None else generated)
            self.spending.book(used, usd if cost is None else cost, cost is not None)
            self.counts["calls"] += 1
            self.counts["prompt_tokens"] += prompt or 0
            self.counts["generated_tokens"] += generated or 0
            self.counts["uncounted"] += generated is None
            # before what was set aside is given back: the next call may then end the run
            return self.store.put(key, self.model.name, answer)

    def cost(self) -> dict[str, object]:
        """Its line of the cost ledger."""
        counts, known = self.counts, not self.counts["uncounted"]
        prompt, generated = counts["prompt_tokens"], counts["generated_tokens"]
        device, num_devices = self.model.device
        return costs.entry(
            "annotate",
            f"{self.name} ({self.endpoint.model or self.model.name})",
            self.wall_seconds,
            device,
            num_devices,
            model_calls=counts["calls"],
            prompt_tokens=prompt if known else None,
            generated_tokens=generated if known else None,
            usd=self.endpoint.usd(prompt, generated) if known else None,
        )
