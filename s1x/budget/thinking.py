"""What budget policies are made of: the steps that they yield, and the usual moves over them.

A policy yields what it wants and receives what the model wrote. It knows nothing of batching,
engines or files, and says everything in token ids:

    piece = yield Request(max_tokens=100, stop=chat.thinking_stops)  # the model writes
    yield Force(chat.encode("Wait"))                                 # put into the trace

A request that may go on is thinking, one that may not is the answer. What comes back is what the
model wrote; nothing after a `Force` or a `Restart`. A move of `Thinking` (think, wait, probe,
answer) is a generator to be used with `yield from`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from s1x.model.chat_format import Chat, TokenIds
from s1x.rows import CUT, END_REASONS, LOOP, NATURAL, TRUNCATED
from s1x.traces.confidence import END_RANK, Confidence, OnConfidence
from s1x.traces.loops import is_loop
from s1x.traces.request import Continuation, Request

if TYPE_CHECKING:
    from s1x.budget.policy import Policy

#: the parts of an assistant's turn, in their order
THINKING, DELIMITER, CUE, ANSWER = "thinking", "delimiter", "cue", "answer"
PARTS = (THINKING, DELIMITER, CUE, ANSWER)
#: how thinking that is cut is closed
CLOSINGS = ("delimiter", "sentence", "line_end", "soft")
AT_ONCE, BY_SENTENCE, AT_LINE_END, SOFTLY = CLOSINGS
#: closing softly waits until the end of thinking is among this many likeliest tokens
SOFT_RANK = 3


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
        end_reason: natural, cut, truncated or loop (`s1x.rows`).
        num_waits: wait strings really put in.
        num_tries: samples drawn.
    """

    end_reason: str
    num_waits: int = 0
    num_tries: int = 1

    def __post_init__(self) -> None:
        assert self.end_reason in END_REASONS, self.end_reason


Step: TypeAlias = Request | Force | Probe | Restart
Steps: TypeAlias = Generator[Step, Continuation, Outcome]
T = TypeVar("T")
Move = Generator[Step, Continuation, T]


class Thinking:
    """A reasoning trace being written; forced tokens included, it never exceeds its limit.

    Attributes:
        ids: the thinking tokens so far, forced ones included.
        room_tokens: what the context holds.
        limit_tokens: the policy's limit, or the room where that is less.
        clamped: whether the context set the limit.
        num_waits: wait strings put in so far.
        looped: whether a loop was found, which ends it.
        end_confidence: (4,) of the token that ended thinking last, where it is recorded.
    """

    def __init__(self, chat: Chat, policy: Policy, max_thinking_tokens: int | None = None) -> None:
        room = self.room_tokens = policy.room_tokens(chat)
        self.chat, self.policy = chat, policy
        self.clamped = max_thinking_tokens is None or max_thinking_tokens > room
        self.limit_tokens = room if max_thinking_tokens is None else min(max_thinking_tokens, room)
        self.ids: list[int] = []
        self.num_waits = 0
        self.looped = False
        self.end_confidence: Confidence | None = None
        self._ban_first: TokenIds = ()
        self._stop_ids: TokenIds = ()

    @property
    def left_tokens(self) -> int:
        """Thinking tokens that may still come."""
        return 0 if self.looped else self.limit_tokens - len(self.ids)

    def think(
        self,
        max_tokens: int | None = None,
        also_stop: tuple[TokenIds, ...] = (),
        watch: OnConfidence | None = None,
    ) -> Move[bool]:
        """The model thinks until it ends, for `max_tokens` or to the limit; True: it ended.

        Args:
            max_tokens: tokens at most; None: to the limit.
            also_stop: sequences that end this piece of thinking, but not thinking itself.
            watch: ends this piece before the token for whose confidence it returns False.
        """
        wanted = self.left_tokens if max_tokens is None else min(max_tokens, self.left_tokens)
        stop, every = self.chat.thinking_stops + also_stop, self.policy.loop_check_every_tokens
        while True:
            size = min(wanted, every - len(self.ids) % every) if every else wanted
            piece = yield Request(
                max_tokens=size, stop=stop, ban_first=self._ban_first, on_confidence=watch
            )
            self._ban_first = ()
            self.ids += piece.token_ids
            self._stop_ids = piece.stop_ids
            rows = None if piece.confidence is None else piece.confidence[len(piece.token_ids) :]
            self.end_confidence = None if rows is None or not len(rows) else rows[0]
            if piece.stopped:
                return piece.stop_ids not in also_stop
            self.looped = loops(self.policy, self.chat, self.ids, len(piece.token_ids))
            wanted -= size
            if wanted <= 0 or len(piece.token_ids) < size or self.looped:
                return False

    def force(self, token_ids: TokenIds) -> Move[bool]:
        """Puts ids into the thinking; False (and nothing done) where they do not fit."""
        if len(token_ids) > self.left_tokens:
            return False
        yield Force(token_ids)
        self.ids += token_ids
        return True

    def wait(self, wait_string: str) -> Move[bool]:
        """The end is dropped and thinking goes on after the string; False where nothing fits.

        The string must leave at least one token to think with. Without a string the end of
        thinking may not be the next token (paper, Table 4, "no string").
        """
        ids = self.chat.encode(wait_string)
        if len(ids) >= self.left_tokens:
            return False
        if ids:
            yield from self.force(ids)
        else:
            self._ban_first = tuple(dict.fromkeys(stop[0] for stop in self.chat.thinking_stops))
        self.num_waits += 1
        return True

    def wait_while(
        self, wanted: Callable[[], bool], wait_string: str, count_flips: bool
    ) -> Move[bool]:
        """After a natural end: waits as long as it is wanted and fits; True: thinking has ended.

        Args:
            wanted: whether one more wait is.
            wait_string: see `wait`.
            count_flips: asks for the answer before each wait.
        """
        while wanted():
            if count_flips:
                yield from self.probe(as_cut=False)
            if not (yield from self.wait(wait_string)):
                break
            if not (yield from self.think()):
                return False
        return True

    def probe(self, as_cut: bool) -> Move[TokenIds]:
        """The answer the model would give now, which leaves the trace as it is."""
        cue = self.chat.format.cue if as_cut else ()
        piece = yield Probe(self._closing_ids(as_cut), cue, self.policy.answer_request(self.chat))
        return piece.token_ids

    def restart(self) -> Move[None]:
        """Throws the trace away: the next thinking is another sample."""
        yield Restart()
        self.ids, self.num_waits, self.looped, self._ban_first = [], 0, False, ()

    def answer(self, ended: bool, num_tries: int = 1) -> Move[Outcome]:
        """Ends thinking and lets the model answer.

        Args:
            ended: whether the model ended its thinking; if not, it is closed as the policy says and
                the cue is forced, else the delimiter only.
            num_tries: samples drawn.
        """
        cut = TRUNCATED if self.clamped and self.left_tokens <= 0 else CUT
        if self.looped or (not ended and is_loop(self.chat.decode(self.ids))):
            cut = LOOP
        if not ended and self.policy.closing in (AT_LINE_END, SOFTLY):
            self.limit_tokens = min(len(self.ids) + len(self.ids) // 10, self.room_tokens)
            if self.left_tokens > 0:
                softly = self.policy.closing == SOFTLY
                ended = yield from self._to_likely_end() if softly else self._to_line_end()
        yield Force(self._closing_ids(not ended), DELIMITER)
        if not ended and self.chat.format.cue:
            yield Force(self.chat.format.cue, CUE)
        yield self.policy.answer_request(self.chat)
        return Outcome(NATURAL if ended else cut, self.num_waits, num_tries)

    def _to_line_end(self) -> Move[bool]:
        """The model thinks on to the end of its line; True: it ended."""
        if not self.chat.line_break(self.ids):
            return False
        ended = yield from self.think(also_stop=self.chat.format.holding("\n"))
        if not ended:
            yield from self.force(self._stop_ids)
        return ended

    def _to_likely_end(self) -> Move[bool]:
        """The model thinks on until the end is one of the likeliest tokens; True: it ended."""
        return (yield from self.think(watch=lambda rows: rows[0, END_RANK] > SOFT_RANK))

    def _closing_ids(self, as_cut: bool) -> TokenIds:
        """What is forced between thinking and answer (or cue); a cut ends the line, as in s1."""
        start = self.chat.format.answer_start
        if not as_cut:
            return start
        return (
            *self.chat.line_break(self.ids),
            *self.policy.closing_sentence_ids(self.chat),
            *start,
        )


def loops(policy: Policy, chat: Chat, ids: Sequence[int], num_new: int) -> bool:
    """Whether thinking goes round in circles, if one of its last new tokens is to be looked at."""
    every = policy.loop_check_every_tokens
    return every is not None and len(ids) % every < num_new and is_loop(chat.decode(ids))
