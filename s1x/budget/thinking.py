"""The moves that budget policies are made of: think, wait, probe, answer.

Each move is a generator to be used with `yield from`; `Thinking` keeps count, so that thinking
tokens, forced ones included, never exceed the limit.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from s1x.budget.policy import CUE, DELIMITER, Force, Outcome, Policy, Probe, Restart, Step
from s1x.model.chat_format import Chat, TokenIds
from s1x.rows import CUT, NATURAL, TRUNCATED
from s1x.traces.request import Continuation, Request

T = TypeVar("T")
Move = Generator[Step, Continuation, T]


class Thinking:
    """A reasoning trace being written under a limit.

    Attributes:
        ids: the thinking tokens so far, forced ones included.
        limit_tokens: the policy's limit, or what the context holds where that is less.
        clamped: whether the context set the limit.
        num_waits: wait strings put in so far.
    """

    def __init__(self, chat: Chat, policy: Policy, max_thinking_tokens: int | None = None) -> None:
        room = chat.thinking_room(policy.answer_reserve_tokens)
        self.chat, self.policy = chat, policy
        self.clamped = max_thinking_tokens is None or max_thinking_tokens > room
        self.limit_tokens = room if max_thinking_tokens is None else min(max_thinking_tokens, room)
        self.ids: list[int] = []
        self.num_waits = 0
        self._ban_first: TokenIds = ()

    @property
    def left_tokens(self) -> int:
        """Thinking tokens that may still come."""
        return self.limit_tokens - len(self.ids)

    def think(
        self, max_tokens: int | None = None, also_stop: tuple[TokenIds, ...] = ()
    ) -> Move[bool]:
        """The model thinks until it ends, for `max_tokens` or to the limit; True: it ended.

        Args:
            max_tokens: tokens at most; None: to the limit.
            also_stop: sequences that end this piece of thinking, but not thinking itself.
        """
        wanted = self.left_tokens if max_tokens is None else min(max_tokens, self.left_tokens)
        stop = self.chat.thinking_stops + also_stop
        piece = yield Request(max_tokens=wanted, stop=stop, ban_first=self._ban_first)
        self._ban_first = ()
        self.ids += piece.token_ids
        return piece.stopped and piece.stop_ids not in also_stop

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

    def line_break(self) -> TokenIds:
        """Ids of the newline that is missing at the end of the thinking, if one is."""
        return self.chat.line_break(self.ids)

    def probe(self, as_cut: bool) -> Move[TokenIds]:
        """The answer the model would give now, which leaves the trace as it is."""
        cue = self.chat.format.cue if as_cut else ()
        ids = self.chat.closing_ids(self.ids, as_cut)
        piece = yield Probe(ids, cue, self.policy.answer_request(self.chat))
        return piece.token_ids

    def restart(self) -> Move[None]:
        """Throws the trace away: the next thinking is another sample."""
        yield Restart()
        self.ids, self.num_waits, self._ban_first = [], 0, ()

    def answer(self, ended: bool, num_tries: int = 1) -> Move[Outcome]:
        """Ends thinking and lets the model answer.

        Args:
            ended: whether the model ended its thinking; if not, it is cut: a newline (if need be),
                the delimiter and the cue are forced, else the delimiter only.
            num_tries: samples drawn.
        """
        yield Force(self.chat.closing_ids(self.ids, not ended), DELIMITER)
        if not ended and self.chat.format.cue:
            yield Force(self.chat.format.cue, CUE)
        yield self.policy.answer_request(self.chat)
        return Outcome(self._end_reason(ended), self.num_waits, num_tries)

    def _end_reason(self, ended: bool) -> str:
        if ended:
            return NATURAL
        return TRUNCATED if self.clamped and self.left_tokens <= 0 else CUT
