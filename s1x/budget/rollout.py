"""Drives one policy over one prompt: from the steps it yields to a whole trace.

The driver keeps the books that no policy should have to keep: ids, which of them were forced, what
part each belongs to, and which token stream (`s1x.traces.streams`) the model is writing on. A
stream begins at the last forced token, so that one policy's continuation is another one's prefix.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, takewhile
from typing import Protocol

import numpy as np

from s1x.budget.policy import Policy
from s1x.budget.thinking import (
    ANSWER,
    CUE,
    DELIMITER,
    PARTS,
    THINKING,
    Force,
    Outcome,
    Probe,
    Restart,
    Step,
    Steps,
)
from s1x.errors import UserError
from s1x.model.chat_format import Chat, TokenIds
from s1x.rows import LOOP, NATURAL, TRUNCATED
from s1x.traces.confidence import NUM_VALUES, Confidence
from s1x.traces.request import LENGTH, Continuation, OnTokens, Reader, Request


@dataclass
class Trace:
    """What one policy made of one prompt.

    Attributes:
        prompt_ids: the prompt, `thinking_start` included.
        token_ids: all tokens after it: thinking, delimiters, answer; no end of turn.
        forced: for each of them whether the policy put it there.
        part_tokens: tokens of each part; the parts stand in the order of `PARTS`.
        probes: (thinking tokens, answer ids with the cue) where an answer was asked for in passing.
        answer_cut: whether the answer came to its limit (`max_answer_tokens`, or what the context
            held) before its end.
        outcome: what the policy said at its end.
        cached_prompt_tokens: those that needed no computing, where there is a listener and the
            engine knows.
        first_token_seconds, thinking_seconds: from the prompt to the first token and to the end of
            thinking; None where the reader does not say, or tokens had been written before.
    """

    prompt_ids: TokenIds
    token_ids: list[int] = field(default_factory=list)
    forced: list[bool] = field(default_factory=list)
    part_tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    probes: list[tuple[int, TokenIds]] = field(default_factory=list)
    answer_cut: bool = False
    outcome: Outcome = field(default_factory=lambda: Outcome(NATURAL))
    cached_prompt_tokens: int | None = None
    first_token_seconds: float | None = field(default=None, compare=False)
    thinking_seconds: float | None = field(default=None, compare=False)
    _confidence: list[Confidence | int] = field(default_factory=list, compare=False, repr=False)

    @property
    def confidence(self) -> Confidence | None:
        """(tokens, 4), NaN where a token was forced; None where nothing was recorded."""
        if all(isinstance(piece, int) for piece in self._confidence):
            return None
        return np.concatenate(
            [
                np.full((piece, NUM_VALUES), np.nan, np.float16)
                if isinstance(piece, int)
                else piece
                for piece in self._confidence
            ]
        )

    @property
    def written_confidence(self) -> Confidence | None:
        """(tokens, 4) of what the model wrote of thinking and answer, in their order."""
        rows = self.confidence
        if rows is None:
            return None
        places = np.arange(len(rows))
        thinking = places < self.part_tokens[THINKING]
        answer = places >= len(rows) - self.part_tokens[ANSWER]
        own = ~np.asarray(self.forced, bool)
        written: Confidence = rows[(thinking | answer) & own]
        return written

    @property
    def thinking_ids(self) -> list[int]:
        return self.token_ids[: self.part_tokens[THINKING]]

    @property
    def answer_ids(self) -> list[int]:
        """The answer's tokens, cue included."""
        count = self.part_tokens[CUE] + self.part_tokens[ANSWER]
        return self.token_ids[len(self.token_ids) - count :]

    def add(
        self,
        ids: Sequence[int],
        forced: Sequence[bool],
        part: str,
        confidence: Confidence | None = None,
    ) -> None:
        """Puts tokens at the end of the trace; confidence is that of the first of them."""
        rows = confidence if confidence is None else confidence[: len(ids)]
        known = 0 if rows is None else len(rows)
        self._confidence += [*([] if rows is None else [rows]), len(ids) - known]
        later = PARTS[PARTS.index(part) + 1 :]
        assert not any(self.part_tokens[name] for name in later), f"{part} after {later}"
        self.token_ids += ids
        self.forced += forced
        self.part_tokens[part] += len(ids)


class Listener(Protocol):
    """Hears a trace while it is written: each token when no policy can take it back."""

    def wrote(self, part: str, token_ids: Sequence[int], forced: bool) -> bool:
        """Tokens at the end of the trace; False ends what the model writes of the part."""
        ...

    def spent(self, kind: str, num_tokens: int) -> None:
        """Tokens that are not in the trace: of a "probe", or "discarded" by a restart."""
        ...


async def rollout(
    policy: Policy,
    chat: Chat,
    reader: Reader,
    sample: int = 0,
    sample_stride: int = 1,
    listener: Listener | None = None,
) -> Trace:
    """Runs a policy to its end.

    Args:
        policy: the budget policy.
        chat: prompt and delimiters.
        reader: where the model's tokens come from.
        sample: which sample of the problem this is, 0 or more.
        sample_stride: samples of the problem; the n-th restart draws sample `sample + n * stride`,
            so that rejection sampling and majority voting read the same samples.
        listener: hears the trace as it is written, if anybody does.
    """
    driver = Driver(chat, reader, sample, sample_stride, listener)
    driver.holds_back = policy.may_restart
    return await driver.whole(policy.run(chat))


class Driver:
    """Drives one trace; see `rollout`."""

    def __init__(
        self,
        chat: Chat,
        reader: Reader,
        sample: int,
        sample_stride: int = 1,
        listener: Listener | None = None,
    ) -> None:
        self.chat, self.reader = chat, reader
        self.sample, self.sample_stride = sample, sample_stride
        self.listener, self.holds_back = listener, False
        self.trace = Trace(chat.prompt_ids)
        self.root: TokenIds = chat.prompt_ids
        self.start = 0
        self.stop_ids: TokenIds = ()
        self.stop_confidence: Confidence | None = None
        self.ban_first: TokenIds = ()
        self.overran = False
        self.begun = time.perf_counter()
        self.first_token_seconds: float | None = None
        self.thinking_seconds: float | None = None
        self.replayed = False

    def resume(
        self,
        ids: Sequence[int],
        root: TokenIds,
        start: int,
        stop_ids: TokenIds,
        confidence: Confidence | None = None,
    ) -> None:
        """Goes on where somebody else has read thinking.

        Args:
            ids: thinking tokens.
            root, start: the stream that they were read from last, and how many of its tokens.
            stop_ids: what ended it, if the model did.
            confidence: of both, where it is recorded.
        """
        self.trace.add(ids, [False] * len(ids), THINKING, confidence)
        self.stop_confidence = None if confidence is None else confidence[len(ids) :]
        self.root, self.start, self.stop_ids = root, start, stop_ids
        self.replayed = True

    async def whole(self, steps: Steps) -> Trace:
        """The trace that a policy's steps make."""
        try:
            step = next(steps)
            while True:
                step = steps.send(await self.take(step))
        except StopIteration as end:
            outcome = end.value
        finally:
            steps.close()
        assert isinstance(outcome, Outcome), "a policy's run must return an Outcome"
        if self.overran and outcome.end_reason not in (TRUNCATED, LOOP):
            # the end of the context made the cut, whatever the policy calls it
            outcome = replace(outcome, end_reason=TRUNCATED)
        self.trace.outcome = outcome
        if not self.replayed:
            self.trace.first_token_seconds = self.first_token_seconds
            self.trace.thinking_seconds = self.thinking_seconds
        return self.trace

    async def take(self, step: Step) -> Continuation:
        """One step."""
        if isinstance(step, Request):
            return await self._generate(step)
        if isinstance(step, Force):
            self._force(step)
        elif isinstance(step, Probe):
            return await self._probe(step)
        else:
            assert isinstance(step, Restart), step
            self._restart()
        return Continuation()

    async def _generate(self, wish: Request) -> Continuation:
        if self.stop_ids or wish.ban_first:
            self._new_root()
            self.ban_first = wish.ban_first  # of the stream, whatever is read of it later
        wish = replace(wish, ban_first=self.ban_first)
        part = THINKING if wish.may_go_on else ANSWER
        piece = await self._read(wish, self.root, self.start, self._ear(part))
        if not self.trace.token_ids:
            self.trace.cached_prompt_tokens = piece.cached_tokens
        ran_out = piece.finish_reason == LENGTH
        short = self._room(self.root, self.start) < wish.max_tokens and ran_out
        self.overran |= short and part == THINKING
        self.trace.answer_cut = part == ANSWER and not piece.stopped
        number = len(piece.token_ids)
        self.trace.add(piece.token_ids, [False] * number, part, piece.confidence)
        self.start += number
        self.stop_ids = piece.stop_ids
        self.stop_confidence = None if piece.confidence is None else piece.confidence[number:]
        return piece

    def _force(self, step: Force) -> None:
        # the delimiter that the model has just written itself is not counted as forced
        pairs = zip(step.token_ids, self.stop_ids, strict=False)
        own = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        count = len(step.token_ids)
        if step.part == DELIMITER:
            self.thinking_seconds = time.perf_counter() - self.begun
        forced = [i >= own for i in range(count)]
        if self._ear(step.part):
            self._tell(step.part, step.token_ids, forced)
        known = self.stop_confidence
        self.trace.add(step.token_ids, forced, step.part, None if known is None else known[:own])
        if count:
            self._new_root()

    def _ear(self, part: str) -> OnTokens | None:
        """Who hears the tokens of a part as they come; what was held back is told first."""
        listener = self.listener
        if listener is None or (self.holds_back and part == THINKING):
            return None
        if self.holds_back:
            self.holds_back = False
            self._tell(THINKING, self.trace.token_ids, self.trace.forced)
        return lambda ids: listener.wrote(part, ids, False)

    def _tell(self, part: str, ids: Sequence[int], forced: Sequence[bool]) -> None:
        assert self.listener is not None
        begin = 0
        for is_forced, run in groupby(forced):
            end = begin + len(list(run))
            self.listener.wrote(part, ids[begin:end], is_forced)
            begin = end

    async def _probe(self, step: Probe) -> Continuation:
        root = (*self.chat.prompt_ids, *self.trace.token_ids, *step.token_ids, *step.cue_ids)
        piece = await self._read(step.answer, root, 0)
        answer = (*step.cue_ids, *piece.token_ids)
        self.trace.probes.append((self.trace.part_tokens[THINKING], answer))
        if self.listener is not None:
            self.listener.spent("probe", len(answer))
        return piece

    def _restart(self) -> None:
        if self.listener is not None:
            if not self.holds_back:
                raise UserError("the budget policy restarts; its class must say may_restart = True")
            self.listener.spent("discarded", len(self.trace.token_ids))
        self.trace = Trace(self.chat.prompt_ids)
        self.sample += self.sample_stride
        self._new_root()

    def _new_root(self) -> None:
        self.root = (*self.chat.prompt_ids, *self.trace.token_ids)
        self.start, self.stop_ids, self.ban_first = 0, (), ()
        self.stop_confidence = None

    def _room(self, root: TokenIds, start: int) -> int:
        return max(0, self.chat.format.context_tokens - len(root) - start)

    async def _read(
        self, wish: Request, root: TokenIds, start: int, ear: OnTokens | None = None
    ) -> Continuation:
        most = min(wish.max_tokens, self._room(root, start))
        if most <= 0:
            return Continuation()
        wish = replace(wish, max_tokens=most, prefix_ids=root, start=start, sample=self.sample)
        asked = time.perf_counter() - self.begun
        piece = await (self.reader.read(wish, ear) if ear else self.reader.read(wish))
        if piece.first_seconds is None:
            self.replayed = True
        elif self.first_token_seconds is None:
            self.first_token_seconds = asked + piece.first_seconds
        return piece
