"""One answer while it is written: its pieces as text, and what it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from s1x.budget.policy import ANSWER, CUE, DELIMITER, PARTS, THINKING
from s1x.budget.rollout import Trace
from s1x.search.group import Books
from s1x.serve.detokenize import Detokenizer, StopFinder
from s1x.serve.refusal import Json
from s1x.serve.tools import calls_in


@dataclass(frozen=True)
class Piece:
    """New text of an answer.

    Attributes:
        index: which of the request's answers.
        part: thinking, delimiter (without text), cue or answer.
        text: may be empty, while half a character waits.
        num_tokens: tokens behind it.
        forced: whether the policy put it there.
    """

    index: int
    part: str
    text: str
    num_tokens: int
    forced: bool

    def joined(self, other: Piece) -> Piece:
        """Both, where they are of one kind."""
        text, tokens = self.text + other.text, self.num_tokens + other.num_tokens
        return Piece(self.index, self.part, text, tokens, self.forced)

    @property
    def kind(self) -> tuple[int, str, bool]:
        """Pieces of one kind can be joined."""
        return self.index, self.part, self.forced


@dataclass
class Recorder:
    """Hears one trace (`s1x.budget.rollout.Listener`) and hands its text on.

    Attributes:
        index: which of the request's answers.
        decode: ids to text.
        stops: strings that end the answer.
        holds: string from which on the answer is handed out at its end only (a tool call).
        put: takes each piece.
        begun: when the request came in.
        calls: of tools, once the trace is whole.
        trace: once it is whole.
        books: what all traces took, where this one was chosen out of many.
    """

    index: int
    decode: Callable[[Sequence[int]], str]
    stops: Sequence[str]
    put: Callable[[Piece], None]
    begun: float
    holds: str = ""
    calls: list[Json] = field(default_factory=list)
    trace: Trace | None = None
    books: Books | None = None
    first_seconds: float | None = None
    thinking_seconds: float | None = None
    total_seconds: float = 0.0
    spent_tokens: dict[str, int] = field(default_factory=lambda: {"probe": 0, "discarded": 0})

    def __post_init__(self) -> None:
        self._thinking = Detokenizer(self.decode)
        self._answer = Detokenizer(self.decode)
        self._stop = StopFinder(self.stops)
        self._call = StopFinder([self.holds] if self.holds else [])
        self._held = ""

    def wrote(self, part: str, token_ids: Sequence[int], forced: bool) -> bool:
        """Tokens that stay; False once a stop string is there."""
        if not token_ids:
            return True
        if self.first_seconds is None:
            self.first_seconds = self._now()
        if part == THINKING:
            text = self._thinking.feed(token_ids)
        else:
            self._end_thinking()
            text = self._answer.feed(token_ids) if part != DELIMITER else ""
        if part == ANSWER:
            text = self._certain(self._stop.feed(text) if self.stops else text)
        self.put(Piece(self.index, part, text, len(token_ids), forced))
        return not self._stop.hit

    def spent(self, kind: str, num_tokens: int) -> None:
        """Tokens that are not in the trace."""
        self.spent_tokens[kind] += num_tokens

    def chose(self, trace: Trace, books: Books) -> Trace:
        """A search has chosen its trace, which is told at once."""
        self.books = books
        self.spent("discarded", books.total_tokens - trace.forced.count(False))
        for part, begin, end, forced in runs(trace):
            if not self.wrote(part, trace.token_ids[begin:end], forced):
                break
        return trace

    def end(self, trace: Trace) -> None:
        """The trace is whole."""
        self._end_thinking()
        rest = self._answer.end()
        rest = self._stop.feed(rest) + self._stop.end() if self.stops else rest
        if self.holds:
            rest = self._certain(rest) + self._call.end()
            text, self.calls = calls_in(self._held)
            rest += text
        if rest:
            self.put(Piece(self.index, ANSWER, rest, 0, False))
        self.trace, self.total_seconds = trace, self._now()

    def _certain(self, text: str) -> str:
        """The text that begins no call."""
        if not self.holds:
            return text
        if self._call.hit:
            self._held += text
            return ""
        before = self._call.feed(text)
        self._held = self._call.after
        return before

    def _end_thinking(self) -> None:
        if self.thinking_seconds is None:
            self.thinking_seconds = self._now()
            if rest := self._thinking.end():
                self.put(Piece(self.index, THINKING, rest, 0, False))

    def _now(self) -> float:
        return time.perf_counter() - self.begun

    def facts(self) -> Json:
        """What the reply says of the answer, beside its text."""
        assert self.trace is not None
        trace, parts, books = self.trace, self.trace.part_tokens, self.books
        return {
            **(
                {"num_traces": books.num_traces, "scorer_tokens": books.scorer_tokens}
                if books
                else {}
            ),
            "end_reason": trace.outcome.end_reason,
            "num_waits": trace.outcome.num_waits,
            "num_tries": trace.outcome.num_tries,
            "answer_cut": trace.answer_cut,
            "thinking_tokens": parts[THINKING],
            "delimiter_tokens": parts[DELIMITER],
            "cue_tokens": parts[CUE],
            "answer_tokens": parts[ANSWER],
            "forced_tokens": sum(trace.forced),
            "forced_spans": forced_spans(trace),
            "probe_tokens": self.spent_tokens["probe"],
            "discarded_tokens": self.spent_tokens["discarded"],
            "seconds": {
                "first_token": _rounded(self.first_seconds),
                "thinking": _rounded(self.thinking_seconds),
                "total": _rounded(self.total_seconds),
            },
        }


def runs(trace: Trace) -> Iterator[tuple[str, int, int, bool]]:
    """Runs of tokens of one kind: part, [start, end) among the completion's, whether forced."""
    of = [part for part in PARTS for _ in range(trace.part_tokens[part])]
    at = 0
    for (forced, part), run in groupby(zip(trace.forced, of, strict=True)):
        begin, at = at, at + len(list(run))
        yield part, begin, at, forced


def forced_spans(trace: Trace) -> list[Json]:
    """Where forced tokens stand."""
    return [{"start": a, "end": b, "part": part} for part, a, b, forced in runs(trace) if forced]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
