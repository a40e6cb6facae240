"""What a budget policy is: a small generator over what the model writes next (DESIGN 4).

A policy yields what it wants and receives what the model wrote. It knows nothing of batching,
engines or files, and says everything in token ids:

    piece = yield Request(max_tokens=100, stop=chat.thinking_stops)  # the model writes
    yield Force(chat.encode("Wait"))                                 # put into the trace

A request that may go on is thinking, one that may not is the answer. What comes back is what the
model wrote; nothing after a `Force` or a `Restart`.

Most policies need only the moves of `s1x.budget.thinking.Thinking`, and are then a dozen lines.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from s1x.model.chat_format import Chat, TokenIds
from s1x.option import Option, setting
from s1x.rows import CUT, NATURAL, TRUNCATED
from s1x.traces.request import ALL, Continuation, Request

#: the parts of an assistant's turn, in their order
THINKING, DELIMITER, CUE, ANSWER = "thinking", "delimiter", "cue", "answer"
PARTS = (THINKING, DELIMITER, CUE, ANSWER)


@dataclass(frozen=True)
class Force:
    """Tokens put into the trace by the policy. Those in the part `thinking` count as thinking."""

    token_ids: TokenIds
    part: str = THINKING


@dataclass(frozen=True)
class Probe:
    """An answer asked for in passing: it leaves the trace as it is.

    Attributes:
        token_ids: forced between the trace and the answer (delimiters).
        cue_ids: forced after them; they are read as part of the answer.
        answer: what is wanted then.
    """

    token_ids: TokenIds
    cue_ids: TokenIds
    answer: Request


@dataclass(frozen=True)
class Restart:
    """The trace so far is thrown away and another sample is drawn from the prompt."""


@dataclass(frozen=True)
class Outcome:
    """What only the policy knows at the end.

    Attributes:
        end_reason: natural, cut or truncated (`s1x.rows`).
        num_waits: wait strings really put in.
        num_tries: samples drawn.
    """

    end_reason: str
    num_waits: int = 0
    num_tries: int = 1

    def __post_init__(self) -> None:
        assert self.end_reason in (NATURAL, CUT, TRUNCATED), self.end_reason


Step: TypeAlias = Request | Force | Probe | Restart
Steps: TypeAlias = Generator[Step, Continuation, Outcome]


@dataclass(frozen=True)
class Policy(Option):
    """Base of every budget policy: the settings all of them have, and what each must say.

    `dials` names the settings that make the policy's curve, in their order (`s1x.budget.points`);
    `dial_values` are their values where the settings' `curve` gives none. `train_format` is the
    `train.format` that its models need: `+sweep=budget_policy` trains them in it. `may_restart`:
    whether it throws traces away, which it may do only until it closes the thinking.
    """

    dials: ClassVar[tuple[str, ...]] = ()
    dial_values: ClassVar[dict[str, tuple[object, ...]]] = {}
    train_format: ClassVar[str] = "plain"
    may_restart: ClassVar[bool] = False

    max_answer_tokens: int | None = setting(
        1024,
        "tokens of an answer at most, what the context still holds permitting; null: all of that",
        at_least=1,
    )
    answer_reserve_tokens: int = setting(
        100, "tokens of the context kept free for the answer (s1: 100)", at_least=0
    )

    def answer_request(self, chat: Chat) -> Request:
        """The request for the answer."""
        most = ALL if self.max_answer_tokens is None else self.max_answer_tokens
        return Request(max_tokens=most, stop=chat.answer_stops, may_go_on=False)

    def user_turn(self, question: str) -> str:
        """The text of the user's turn; policies that tell the budget add it here."""
        return question

    def run(self, chat: Chat) -> Steps:
        """One trace: yields steps, receives continuations, returns the outcome."""
        raise NotImplementedError

    def label(self) -> str:
        """The point's name on a curve: "max 512", "natural", "Wait x 2"."""
        return "natural"

    def limits(self) -> tuple[int | None, int | None]:
        """Thinking tokens (at least, at most) that this point promises; None where it does not.

        The metric Control counts the runs that keep them (paper, section 3.2).
        """
        return None, None

    def temperature(self, configured: float) -> float:
        """The temperature to sample with, given the one of the settings."""
        return configured
