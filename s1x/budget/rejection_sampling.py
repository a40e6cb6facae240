"""Rejection sampling (paper, section 3.1 and figure 6): draw until a trace fits the limit."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.budget.policy import LimitedPolicy, Steps
from s1x.budget.thinking import Thinking
from s1x.model.chat_format import Chat
from s1x.option import option, setting


@option("budget", "rejection_sampling")
@dataclass(frozen=True)
class RejectionSampling(LimitedPolicy):
    """Keeps the first sample whose thinking ends by itself within the limit.

    s1 has no cap on tries (655 of them at 3,500 tokens on AIME24); here the last one allowed is cut
    as budget forcing cuts. Every limit, and majority voting too, reads the same samples: with
    `sampling.samples_per_problem=k`, the i-th answer tries the samples i, i + k, i + 2k, ...
    """

    swept_settings = ("max_thinking_tokens",)
    may_restart = True

    max_thinking_tokens: int | None = setting(
        None, "what a trace must fit; null: what the context holds", at_least=0
    )
    max_tries: int = setting(64, "samples drawn at most", at_least=1)
    sampling_temperature: float = setting(1.0, "used where sampling.temperature is 0", above=0)

    def run(self, chat: Chat) -> Steps:
        trace = Thinking(chat, self, self.max_thinking_tokens)
        num_tries = 1
        ended = yield from trace.think()
        while not ended and num_tries < self.max_tries:
            yield from trace.restart()
            num_tries += 1
            ended = yield from trace.think()
        return (yield from trace.answer(ended, num_tries))

    def temperature(self, configured: float) -> float:
        # greedy tries would all be the same
        return configured or self.sampling_temperature

    def label(self) -> str:
        limit = self.max_thinking_tokens
        return "first sample" if limit is None else f"fits {limit}"
