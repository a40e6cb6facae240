"""Step-conditional control (paper, section 3.1): the limit is told in steps, counted down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from s1x.budget import formats
from s1x.budget.policy import Policy, Steps
from s1x.budget.thinking import Move, Thinking
from s1x.model.chat_format import Chat, TokenIds
from s1x.option import option, setting


@option("budget", "step_conditional")
@dataclass(frozen=True)
class StepConditional(Policy):
    """Tells the number of steps; needs a model trained with `train.format=step_conditional`.

    Without forcing the model counts its steps itself. With forcing each step's header is put in
    when the model does not write it, a step ends after `step_tokens` tokens (its header included),
    and thinking ends when no step is left.
    """

    swept_settings = ("max_steps",)
    train_format: ClassVar[str] = "step_conditional"
    swept_values: ClassVar = {"max_steps": (16, 32, 64, 128, 256)}

    max_steps: int | None = setting(None, "steps told; null: none are", at_least=1)
    step_tokens: int = setting(
        formats.STEP_TOKENS, "longest step in tokens, as trained", at_least=16
    )
    force: bool = setting(False, "also counts the steps down and ends thinking after the last")

    def user_turn(self, question: str) -> str:
        if self.max_steps is None:
            return question
        return formats.told(question, formats.step_instruction(self.max_steps))

    def run(self, chat: Chat) -> Steps:
        if not self.force or self.max_steps is None:
            return (yield from super().run(chat))
        trace = Thinking(chat, self, self.max_steps * self.step_tokens)
        ended = False
        for steps_left in range(self.max_steps, 0, -1):
            ended = yield from self._step(trace, steps_left)
            if ended or trace.left_tokens <= 0:
                break
        return (yield from trace.answer(ended))

    def _step(self, trace: Thinking, steps_left: int) -> Move[bool]:
        """One step: its header and up to `step_tokens` in all; True: the model ended thinking."""
        chat = trace.chat
        header = chat.line_break(trace.ids) + chat.encode(formats.step_header(steps_left))
        if not (yield from trace.force(header)):
            return False
        next_header: TokenIds = chat.encode(formats.step_header(steps_left - 1))
        return (yield from trace.think(self.step_tokens - len(header), also_stop=(next_header,)))

    def label(self) -> str:
        if self.max_steps is None:
            return "natural"
        return f"told {self.max_steps} steps" + (", forced" if self.force else "")

    def limits(self) -> tuple[int | None, int | None]:
        # paper, Table 13
        told = None if self.max_steps is None else self.max_steps * self.step_tokens
        return None, self.with_margin(told) if self.force else told
