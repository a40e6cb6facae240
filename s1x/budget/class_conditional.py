"""Class-conditional control (paper, section 3.1 and appendix E.1): think briefly, think long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from s1x.budget import formats
from s1x.budget.policy import LimitedPolicy
from s1x.option import option, setting


@option("budget", "class_conditional")
@dataclass(frozen=True)
class ClassConditional(LimitedPolicy):
    """Asks for a short or a long amount of thinking, in words; the model needs no training."""

    swept_settings = ("thinking_class",)
    swept_values: ClassVar = {"thinking_class": ("short", "none", "long")}

    thinking_class: str = setting(
        "none", "which instruction is given", choices=tuple(formats.CLASS_INSTRUCTIONS)
    )
    max_thinking_tokens: int | None = setting(
        None, "also ends thinking there, as budget forcing does; null: no forcing", at_least=0
    )

    def user_turn(self, question: str) -> str:
        return formats.told(question, formats.CLASS_INSTRUCTIONS[self.thinking_class])

    def label(self) -> str:
        forced = self.max_thinking_tokens
        return self.thinking_class + (f", max {forced}" if forced is not None else "")
