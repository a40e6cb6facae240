"""The article's controller: Wait only where a trace is neither short nor long."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.budget.policy import Policy, Steps
from s1x.budget.thinking import Thinking
from s1x.errors import SettingError
from s1x.model.chat_format import Chat
from s1x.option import option, setting


@option("budget", "wait_window")
@dataclass(frozen=True)
class WaitWindow(Policy):
    """Lengthens traces of middling length to a target.

    A natural trace shorter than `low_thinking_tokens` belongs to an easy question, one longer than
    `high_thinking_tokens` is thought through: both are kept as they are. Between them the wait
    string is put in until the target is reached or no wait is left.
    """

    swept_settings = ("target_thinking_tokens",)

    low_thinking_tokens: int = setting(512, "shorter natural traces are kept", at_least=0)
    high_thinking_tokens: int = setting(8192, "longer natural traces are kept", at_least=0)
    target_thinking_tokens: int = setting(
        4096, "thinking tokens until which waits are put in", at_least=0
    )
    wait_string: str = setting("Wait", "put in where the end was; empty: the end is only banned")
    max_waits: int = setting(16, "waits at most", at_least=0)
    count_flips: bool = setting(False, "asks for the answer at each Wait too, to count flips")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low_thinking_tokens > self.high_thinking_tokens:
            raise SettingError(
                "low_thinking_tokens",
                f"{self.high_thinking_tokens} (high_thinking_tokens) or less",
                self.low_thinking_tokens,
            )

    def run(self, chat: Chat) -> Steps:
        trace = Thinking(chat, self)
        ended = yield from trace.think()
        in_window = self.low_thinking_tokens <= len(trace.ids) <= self.high_thinking_tokens
        if ended and in_window:
            ended = yield from trace.wait_while(
                lambda: (
                    len(trace.ids) < self.target_thinking_tokens
                    and trace.num_waits < self.max_waits
                ),
                self.wait_string,
                self.count_flips,
            )
        return (yield from trace.answer(ended))

    def label(self) -> str:
        return f"target {self.target_thinking_tokens}"

    def wait_words(self) -> tuple[str, ...]:
        return (self.wait_string,) if self.wait_string else ()
