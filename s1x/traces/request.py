"""The one request: what a policy yields, a reader takes and an engine gets.

A policy says how many tokens it wants and what ends them; the driver adds what they follow and
which sample it is; the streams add how they are drawn. Everything is in token ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from s1x.model.chat_format import TokenIds
from s1x.traces.confidence import Confidence, OnConfidence

#: how a piece of writing ended: at a stop sequence, because its tokens were used up, or because who
#: watches its confidence had enough
STOP, LENGTH, WATCH = "stop", "length", "watch"
#: as many tokens as the context holds
ALL = 1 << 62

#: called with each new piece of tokens; False: nobody wants more
OnTokens = Callable[[Sequence[int]], bool]


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: 0 is greedy.
        top_p: probability mass kept, in (0, 1].
        seed: of this stream; unused under greedy.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken."""
        return self.temperature <= 0


@dataclass(frozen=True, kw_only=True)
class Request:
    """A wish for what the model writes next.

    Attributes:
        max_tokens: tokens at most, those of the stop sequence included; `ALL`: what the context
            holds (an engine always gets a number that fits, 1 or more).
        stop: sequences that end it. An engine hands them on with the tokens, and may leave those of
            several tokens to `on_tokens`; a policy gets them apart.
        ban_first: ids that may not come first (how a delimiter is suppressed without a string).
        may_go_on: whether more of the same sequence may be wanted afterwards (thinking), so that
            its state is worth keeping; False: an answer.
        may_end_early: whether somebody may have enough before the limit, for other reasons than
            `stop`; tokens should then come one by one, else an engine may hand on several at once.
        prefix_ids: everything before the first token wanted, or before the stream's first one.
        start: tokens of the stream after `prefix_ids` that were read before; an engine gets 0.
        sample: which of the prompt's samples this is.
        sampling: how to draw.
        on_cached: told how many prefix tokens needed no computing, by an engine that knows.
        on_confidence: gets how sure the model was of each new token, before `on_tokens` gets the
            token; None: nobody asks an engine for it. From a reader, False ends the piece before
            the token.
        end_ids: first ids of what ends thinking, whose rank is asked for.
        group: requests of one group (a problem) share prefixes; an engine that has several copies
            of the model sends them all to one.
    """

    max_tokens: int
    stop: tuple[TokenIds, ...] = ()
    ban_first: TokenIds = ()
    may_go_on: bool = True
    may_end_early: bool = False
    prefix_ids: TokenIds = ()
    start: int = 0
    sample: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    on_cached: Callable[[int], None] | None = field(default=None, compare=False)
    on_confidence: OnConfidence | None = field(default=None, compare=False)
    end_ids: TokenIds = ()
    group: str = ""


@dataclass(frozen=True)
class Continuation:
    """What the model wrote.

    Attributes:
        token_ids: without the stop sequence.
        finish_reason: "stop", "length" or "watch".
        stop_ids: the stop sequence that the model wrote, or the token at which a watcher had
            enough; empty on "length".
        confidence: of `token_ids` and `stop_ids`; None: not recorded.
        cached_tokens: prefix tokens that needed no computing, for a reader that listens; None:
            nobody knows.
        first_seconds: from the wish to its first token; None where that was there already.
    """

    token_ids: TokenIds = ()
    finish_reason: str = LENGTH
    stop_ids: TokenIds = ()
    cached_tokens: int | None = None
    first_seconds: float | None = field(default=None, compare=False)
    confidence: Confidence | None = field(default=None, compare=False, repr=False)

    @property
    def stopped(self) -> bool:
        """Whether the model wrote a stop sequence."""
        return self.finish_reason == STOP


class Reader(Protocol):
    """Reads token streams, as policies' drivers do."""

    async def read(self, request: Request, on_tokens: OnTokens | None = None) -> Continuation:
        """Tokens `start`, `start + 1`, ... of the stream after a prefix, to a stop or the limit.

        Stop sequences begin at `start` or later.

        Args:
            request: what is wanted.
            on_tokens: gets the tokens of the piece as they come, those that may begin a stop
                sequence once it is clear that they do not; False ends the piece, as stopped.
        """
        ...


class Writer(Protocol):
    """Writes tokens, as engines do (`s1x.engine.engine.LiveEngine`)."""

    max_sequences: int

    async def generate(self, request: Request, on_tokens: OnTokens) -> None:
        """Calls `on_tokens` with new tokens, in order, until the request is done."""
        ...


def ends_with_stop(ids: Sequence[int], stop: Sequence[TokenIds]) -> bool:
    """Whether the last of `ids` are one of the stop sequences."""
    return any(len(ids) >= len(s) and tuple(ids[-len(s) :]) == s for s in stop)
