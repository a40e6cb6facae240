"""Wait only where the model is not sure that it has thought enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from s1x.budget.policy import LimitedPolicy, Steps
from s1x.budget.thinking import Thinking
from s1x.errors import UserError
from s1x.model.chat_format import Chat
from s1x.option import option, setting
from s1x.traces.confidence import ENTROPY


@option("budget", "wait_gate")
@dataclass(frozen=True)
class WaitGate(LimitedPolicy):
    """Drops an end of thinking that the model wrote in doubt.

    At each end the entropy of the distribution that it was drawn from is looked at
    (`s1x.traces.confidence`): above `min_entropy_nats` the wait string is put in and the model
    thinks on, below it the end stands.
    """

    swept_settings = ("min_entropy_nats",)
    swept_values: ClassVar = {"min_entropy_nats": (2.0, 1.0, 0.5, 0.1, 0.0)}
    needs_confidence = True

    min_entropy_nats: float = setting(
        0.5, "entropy at the end of thinking above which it is dropped", at_least=0
    )
    max_waits: int = setting(4, "waits at most", at_least=0)
    wait_string: str = setting("Wait", "put in where the end was; empty: the end is only banned")
    count_flips: bool = setting(False, "asks for the answer at each Wait too, to count flips")

    def run(self, chat: Chat) -> Steps:
        trace = Thinking(chat, self, self.max_thinking_tokens)
        ended = yield from trace.think()

        def unsure() -> bool:
            if trace.end_confidence is None:
                raise UserError("wait_gate reads traces with confidence (sampling.confidence=true)")
            entropy = float(trace.end_confidence[ENTROPY])
            return trace.num_waits < self.max_waits and entropy > self.min_entropy_nats

        if ended:
            ended = yield from trace.wait_while(unsure, self.wait_string, self.count_flips)
        return (yield from trace.answer(ended))

    def label(self) -> str:
        gate = f"{self.wait_string or 'no string'} above {self.min_entropy_nats:g} nats"
        limit = self.max_thinking_tokens
        return gate + (f", max {limit}" if limit is not None else "")

    def wait_words(self) -> tuple[str, ...]:
        return (self.wait_string,) if self.wait_string else ()
