"""The model decides: its own delimiter ends thinking."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.budget.policy import Policy, Steps
from s1x.budget.thinking import Thinking
from s1x.model.chat_format import Chat
from s1x.option import option


@option("budget", "unlimited")
@dataclass(frozen=True)
class Unlimited(Policy):
    """No budget: thinking ends by itself, or with the context (recorded as truncated)."""

    def run(self, chat: Chat) -> Steps:
        """Thinks, answers."""
        trace = Thinking(chat, self)
        ended = yield from trace.think()
        return (yield from trace.answer(ended))
