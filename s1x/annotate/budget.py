"""The cap on what a run may spend: reserved before a call, settled after it, never passed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from s1x.errors import UserError


class BudgetReachedError(UserError):
    """The cap on tokens or money is reached; what was answered is stored."""


@dataclass
class Spending:
    """Tokens and dollars of the calls of one run, with what is set aside for those in flight.

    A call sets aside the most it may need (its prompt, estimated, and its longest reply). When that
    does not fit, the call waits for others to end and give back; with none in flight it is refused.
    """

    max_total_tokens: int | None = None
    max_usd: float | None = None
    calls: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    usd: float = 0.0
    usd_unknown: bool = False
    _aside_tokens: int = 0
    _aside_usd: float = 0.0
    _in_flight: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def reserve(self, tokens: int, usd: float | None) -> None:
        """Sets tokens and dollars aside.

        Raises:
            BudgetReachedError: they do not fit although nothing is in flight.
        """
        async with self._changed:
            while not self._fits(tokens, usd or 0.0):
                if not self._in_flight:
                    raise BudgetReachedError(self._words())
                await self._changed.wait()
            self._in_flight += 1
            self._aside_tokens += tokens
            self._aside_usd += usd or 0.0

    async def settle(
        self,
        tokens: int,
        usd: float | None,
        used: tuple[int | None, int | None, float | None] | None,
    ) -> None:
        """Gives back what was set aside and books what was used (None: the call failed).

        A server that does not count is booked with what was set aside.
        """
        async with self._changed:
            self._in_flight -= 1
            self._aside_tokens -= tokens
            self._aside_usd -= usd or 0.0
            if used is not None:
                prompt, generated, cost = used
                self.calls += 1
                self.generated_tokens += generated if generated is not None else tokens
                self.prompt_tokens += prompt or 0
                self.usd += cost if cost is not None else usd or 0.0
                self.usd_unknown |= cost is None
            self._changed.notify_all()

    def _fits(self, tokens: int, usd: float) -> bool:
        spent = self.prompt_tokens + self.generated_tokens + self._aside_tokens
        if self.max_total_tokens is not None and spent + tokens > self.max_total_tokens:
            return False
        return self.max_usd is None or self.usd + self._aside_usd + usd <= self.max_usd

    def _words(self) -> str:
        used = self.prompt_tokens + self.generated_tokens
        cap = f"annotate.max_total_tokens={self.max_total_tokens}"
        if self.max_usd is not None and self._fits_tokens_alone():
            cap = f"annotate.max_usd={self.max_usd:g}"
        return (
            f"{cap} is reached: {self.calls} new answers, {used} tokens"
            + (f", {self.usd:.4f} USD" if self.max_usd is not None else "")
            + "; all are stored, raise the cap and the same command goes on"
        )

    def _fits_tokens_alone(self) -> bool:
        return self.max_total_tokens is None or (
            self.prompt_tokens + self.generated_tokens < self.max_total_tokens
        )
