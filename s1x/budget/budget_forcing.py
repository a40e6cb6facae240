"""Budget forcing (paper, section 3.1), the natural end it starts from, and the direct answer."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.budget.policy import Policy, Steps
from s1x.budget.thinking import Thinking
from s1x.errors import SettingError
from s1x.model.chat_format import Chat
from s1x.option import option, setting


@option("budget", "budget_forcing")
@dataclass(frozen=True)
class BudgetForcing(Policy):
    """Ends thinking by force at a maximum, and suppresses its end to lengthen it.

    Maximum: at the limit the end of thinking and "Final Answer:" are forced. Wait: the model's end
    is dropped, the wait string is put in and it thinks on. Minimum: the same until so many tokens
    are thought. Departures from s1's code: a Wait does not renew the limit; forced tokens count;
    a wait string that no longer fits under the limit is not put in, and the end stands as natural;
    after a Wait the model may end at once (s1 asks vLLM for one token at least, `min_tokens=1`);
    the newline before a forced end belongs to the delimiter: it is outside the limit, not counted.
    """

    dials = ("max_thinking_tokens", "num_waits")

    max_thinking_tokens: int | None = setting(
        None,
        "thinking tokens at most, forced ones included; null: what the context holds",
        at_least=0,
        remedy="use budget=unlimited for no limit at all",
    )
    min_thinking_tokens: int = setting(
        0, "the end of thinking is suppressed until so many tokens", at_least=0
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
        """Thinks, waits as often as asked, answers."""
        trace = Thinking(chat, self, self.max_thinking_tokens)
        ended = yield from trace.think()
        while ended and self._goes_on(trace):
            if self.count_flips:
                yield from trace.probe(as_cut=False)
            if not (yield from trace.wait(self.wait_string)):
                break
            ended = yield from trace.think()
        return (yield from trace.answer(ended))

    def _goes_on(self, trace: Thinking) -> bool:
        return trace.num_waits < self.num_waits or len(trace.ids) < self.min_thinking_tokens

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
        """The minimum and the maximum that are set."""
        return self.min_thinking_tokens or None, self.max_thinking_tokens
