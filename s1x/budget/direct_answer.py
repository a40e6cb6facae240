"""The answer without thinking: how a base model does by itself (`prompt_format=direct`)."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.budget.policy import Outcome, Policy, Steps
from s1x.model.chat_format import Chat
from s1x.option import option
from s1x.rows import NATURAL


@option("budget", "direct_answer")
@dataclass(frozen=True)
class DirectAnswer(Policy):
    """The model answers at once; nothing is forced and no token counts as thinking."""

    def run(self, chat: Chat) -> Steps:
        yield self.answer_request(chat)
        return Outcome(NATURAL)

    def label(self) -> str:
        return "direct"
