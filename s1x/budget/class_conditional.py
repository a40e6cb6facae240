"""Class-conditional control (paper, section 3.1 and appendix E.1): think briefly, think long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from s1x.budget import formats
from s1x.budget.policy import Policy, Steps
from s1x.budget.thinking import Thinking
from s1x.model.chat_format import Chat
from s1x.option import option, setting


@option("budget", "class_conditional")
@dataclass(frozen=True)
class ClassConditional(Policy):
    """Asks for a short or a long amount of thinking, in words; the model needs no training."""

    dials = ("thinking_class",)
    dial_values: ClassVar[dict[str, tuple[object, ...]]] = {
        "thinking_class": ("short", "none", "long")
    }

    thinking_class: str = setting(
        "none", "which instruction is given", choices=tuple(formats.CLASS_INSTRUCTIONS)
    )
    max_thinking_tokens: int | None = setting(
        None, "also ends thinking there, as budget forcing does; null: no forcing", at_least=0
    )

    def user_turn(self, question: str) -> str:
        """The question and the instruction."""
        return formats.told(question, formats.CLASS_INSTRUCTIONS[self.thinking_class])

    def run(self, chat: Chat) -> Steps:
        """Thinks, answers."""
        trace = Thinking(chat, self, self.max_thinking_tokens)
        ended = yield from trace.think()
        return (yield from trace.answer(ended))

    def label(self) -> str:
        """The point's name."""
        forced = self.max_thinking_tokens
        return self.thinking_class + (f", max {forced}" if forced is not None else "")

    def limits(self) -> tuple[int | None, int | None]:
        """The forced limit; the instruction itself names none."""
        return None, self.max_thinking_tokens
