"""Token-conditional control (paper, section 3.1 and appendix E.1): the limit is told in tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from s1x.budget import formats
from s1x.budget.policy import LimitedPolicy
from s1x.option import option, setting


@option("budget", "token_conditional")
@dataclass(frozen=True)
class TokenConditional(LimitedPolicy):
    """Tells the limit in the prompt; for models trained with `train.format=token_conditional`."""

    swept_settings = ("max_thinking_tokens",)
    train_format: ClassVar[str] = "token_conditional"

    max_thinking_tokens: int | None = setting(
        None, "the limit that is told; null: none is", at_least=0
    )
    force: bool = setting(False, "also ends thinking there, as budget forcing does")

    def user_turn(self, question: str) -> str:
        if self.max_thinking_tokens is None:
            return question
        return formats.told(question, formats.token_instruction(self.max_thinking_tokens))

    def forced_limit(self) -> int | None:
        return self.max_thinking_tokens if self.force else None

    def limits(self) -> tuple[int | None, int | None]:
        told = self.max_thinking_tokens
        return None, self.with_margin(told) if self.force else told

    def label(self) -> str:
        if self.max_thinking_tokens is None:
            return "natural"
        return f"told {self.max_thinking_tokens}" + (", forced" if self.force else "")
