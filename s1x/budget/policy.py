"""What a budget policy is: settings, and a small generator over what the model writes next.

Most policies need only the moves of `s1x.budget.thinking.Thinking`, and are then a dozen lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from s1x.budget.thinking import (
    ANSWER,
    AT_LINE_END,
    AT_ONCE,
    BY_SENTENCE,
    CLOSINGS,
    CUE,
    DELIMITER,
    PARTS,
    SOFTLY,
    THINKING,
    Force,
    Outcome,
    Probe,
    Restart,
    Step,
    Steps,
    Thinking,
)
from s1x.errors import SettingError
from s1x.model.chat_format import Chat, TokenIds
from s1x.option import Option, setting
from s1x.traces.request import ALL, Request

__all__ = ["ANSWER", "CUE", "DELIMITER", "PARTS", "THINKING", "Force", "LimitedPolicy", "Outcome"]
__all__ += ["Policy", "Probe", "Restart", "Step", "Steps"]


@dataclass(frozen=True)
class Policy(Option):
    """Base of every budget policy: the settings all of them have, and what each must say.

    `swept_settings` make the policy's curve, in their order (`s1x.budget.points`); `swept_values`
    are their values where the settings' `curve` gives none. `train_format` is the `train.format`
    that its models need: `+sweep=budget_policy` trains them in it. `may_restart`: whether it throws
    traces away, which it may do only until it closes the thinking. `needs_confidence`: whether it
    always looks at how sure the model was of its tokens (`s1x.traces.confidence`).
    """

    swept_settings: ClassVar[tuple[str, ...]] = ()
    swept_values: ClassVar[Mapping[str, Sequence[object]]] = {}
    train_format: ClassVar[str] = "plain"
    may_restart: ClassVar[bool] = False
    needs_confidence: ClassVar[bool] = False

    max_answer_tokens: int | None = setting(
        1024,
        "tokens of an answer at most, what the context still holds permitting; null: all of that",
        at_least=1,
    )
    answer_reserve_tokens: int = setting(
        100, "tokens of the context kept free for the answer (s1: 100)", at_least=0
    )
    loop_check_every_tokens: int | None = setting(
        None,
        "thinking tokens between two looks whether it repeats itself word for word, which ends it "
        "there; null: never",
        at_least=1,
    )
    closing: str = setting(
        AT_ONCE,
        "how thinking that is cut is closed: by the delimiter at once, after a sentence, at the "
        "next line end, or (soft) where the end is among the 3 likeliest tokens; the last two a "
        "tenth further at most",
        choices=CLOSINGS,
    )
    closing_sentence: str = setting(
        "There is no time left to think, so I will answer now.", "with closing=sentence"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.closing == BY_SENTENCE and not self.closing_sentence.strip():
            must = "a sentence with closing=sentence"
            raise SettingError("closing_sentence", must, self.closing_sentence)

    @property
    def reads_confidence(self) -> bool:
        """Whether it can only read streams with confidence, as its settings are."""
        return self.needs_confidence or self.closing == SOFTLY

    def answer_request(self, chat: Chat) -> Request:
        """The request for the answer."""
        most = ALL if self.max_answer_tokens is None else self.max_answer_tokens
        return Request(max_tokens=most, stop=chat.answer_stops, may_go_on=False)

    def user_turn(self, question: str) -> str:
        """The text of the user's turn; policies that tell the budget add it here."""
        return question

    def run(self, chat: Chat) -> Steps:
        """One trace: yields steps, receives continuations, returns the outcome."""
        trace = Thinking(chat, self, self.forced_limit())
        ended = yield from trace.think()
        return (yield from trace.answer(ended))

    def forced_limit(self) -> int | None:
        """Thinking tokens after which the end is forced; None: what the context holds."""
        return None

    def closing_sentence_ids(self, chat: Chat) -> TokenIds:
        """The line that closes thinking with closing=sentence, where the context can hold it."""
        if self.closing != BY_SENTENCE:
            return ()
        ids = chat.encode(self.closing_sentence + "\n")
        return ids if len(ids) <= chat.thinking_room(self.answer_reserve_tokens) else ()

    def room_tokens(self, chat: Chat) -> int:
        """Thinking tokens that the context holds beside what closes them and the answer."""
        room = chat.thinking_room(self.answer_reserve_tokens)
        return room - len(self.closing_sentence_ids(chat))

    def with_margin(self, limit: int | None) -> int | None:
        """Thinking tokens at most where they are cut at a limit: closing may add some."""
        if limit is None or self.closing not in (AT_LINE_END, SOFTLY):
            return limit
        return limit + limit // 10

    def label(self) -> str:
        """The point's name on a curve: "max 512", "natural", "Wait x 2"."""
        return "natural"

    def limits(self) -> tuple[int | None, int | None]:
        """Thinking tokens (at least, at most) that this point promises; None where it does not.

        The metric Control counts the runs that keep them (paper, section 3.2).
        """
        return None, None

    def wait_words(self) -> tuple[str, ...]:
        """Strings with which the policy makes the model think on."""
        return ()

    def temperature(self, configured: float) -> float:
        """The temperature to sample with, given the one of the settings."""
        return configured


@dataclass(frozen=True)
class LimitedPolicy(Policy):
    """Base of the policies that have a limit on thinking."""

    max_thinking_tokens: int | None = setting(
        None, "thinking tokens at most; null: what the context holds", at_least=0
    )

    def forced_limit(self) -> int | None:
        return self.max_thinking_tokens

    def limits(self) -> tuple[int | None, int | None]:
        return None, self.with_margin(self.max_thinking_tokens)
