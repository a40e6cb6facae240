"""Budget forcing (paper, section 3.1), the natural end it starts from, and the direct answer."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.budget.policy import LimitedPolicy, Steps
from s1x.budget.thinking import Thinking
from s1x.errors import SettingError
from s1x.model.chat_format import Chat
from s1x.option import option, setting


@option("budget", "budget_forcing")
@dataclass(frozen=True)
class BudgetForcing(LimitedPolicy):
    """Ends thinking by force at a maximum, and suppresses its end to lengthen it.

    Maximum: at the limit the end of thinking and "Final Answer:" are forced. Wait: the model's end
    is dropped, the wait string is put in and it thinks on. Minimum: the same until the thinking has
    that many tokens. Departures from s1's code (docs/budget.md): a Wait does not renew the limit;
    forced tokens count; a wait string that no longer fits is not put in, and the end stands as
    natural; after a Wait the model may end at once; what is forced to close thinking (newline,
    sentence) is not counted.
    """

    swept_settings = ("max_thinking_tokens", "num_waits")

    max_thinking_tokens: int | None = setting(
        None,
        "thinking tokens at most, forced ones included; null: what the context holds",
        at_least=0,
        remedy="use budget=unlimited for no limit at all",
    )
    min_thinking_tokens: int = setting(
        0, "thinking tokens before which its end is suppressed", at_least=0
    )
    num_waits: int = setting(
        0,
        "how many times the end of thinking is suppressed",
        at_least=0,
        remedy="use budget=unlimited to switch forcing off",
    )
    wait_string: str = setting("Wait", "put in where the end was; empty: the end is only banned")
    count_flips: bool = setting(
        False, "asks for the answer at each Wait too, to count right/wrong flips"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        maximum = self.max_thinking_tokens
        if maximum is not None and self.min_thinking_tokens > maximum:
            raise SettingError(
                "min_thinking_tokens",
                f"{maximum} (max_thinking_tokens) or less",
                self.min_thinking_tokens,
            )

    def run(self, chat: Chat) -> Steps:
        trace = Thinking(chat, self, self.max_thinking_tokens)
        ended = yield from trace.think()
        if ended:
            ended = yield from trace.wait_while(
                lambda: (
                    trace.num_waits < self.num_waits or len(trace.ids) < self.min_thinking_tokens
                ),
                self.wait_string,
                self.count_flips,
            )
        return (yield from trace.answer(ended))

    def label(self) -> str:
        """ "max 512", "min 100", "Wait x 2", joined; "natural" without any."""
        parts = []
        if self.max_thinking_tokens is not None:
            parts.append(f"max {self.max_thinking_tokens}")
        if self.min_thinking_tokens:
            parts.append(f"min {self.min_thinking_tokens}")
        if self.num_waits:
            parts.append(f"{self.wait_string or 'no string'} x {self.num_waits}")
        return ", ".join(parts) or "natural"

    def limits(self) -> tuple[int | None, int | None]:
        return self.min_thinking_tokens or None, self.with_margin(self.max_thinking_tokens)

    def wait_words(self) -> tuple[str, ...]:
        return (self.wait_string,) if self.wait_string else ()
