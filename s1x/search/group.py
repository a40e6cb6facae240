"""The traces of one search: they grow step by step, fork, are scored, and come to answers.

A branch reads token streams as a single trace does (`s1x.budget.rollout`): a fresh one is sample i
of the prompt, so that every search, majority voting and budget forcing read the same samples; a
fork is a stream of its own that begins where its parent stands, and shares all before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from s1x.budget.budget_forcing import BudgetForcing
from s1x.budget.policy import LimitedPolicy
from s1x.budget.rollout import Driver, Trace, rollout
from s1x.budget.thinking import Thinking, loops
from s1x.engine.live import together
from s1x.errors import UserError
from s1x.model.chat_format import Chat, TokenIds
from s1x.rows import NATURAL
from s1x.scorer.scorer import LiveScorer
from s1x.traces.confidence import Confidence
from s1x.traces.request import Continuation, OnTokens, Reader, Request

#: samples of one search; the next one's begin after them
SAMPLES_OF_A_SEARCH = 1 << 16
#: of them, those from here on are forks
FIRST_FORK = 1 << 12


@dataclass
class CountingReader:
    """Reads streams, and counts what a run of its own would generate."""

    reader: Reader
    num_tokens: int = 0

    async def read(self, request: Request, on_tokens: OnTokens | None = None) -> Continuation:
        """See `Reader.read`."""
        piece = await self.reader.read(request, on_tokens)
        self.num_tokens += len(piece.token_ids) + len(piece.stop_ids)
        return piece


@dataclass(eq=False)
class Branch:
    """One trace of a search.

    Attributes:
        index: among all branches; `parent`: the branch that it was forked from.
        sample: of the streams that it reads.
        ids: thinking tokens; the first `fork_tokens` are the parent's.
        step_ends: of its steps, exclusive offsets into `ids`.
        confidence: of `ids` and `end_ids`, piece by piece, where it is recorded.
        scores: of its steps, as far as they were asked for.
        ended: whether the model ended its thinking; `end_ids`: what it wrote for that.
        looped: whether a loop was found, which ends it too.
        trace: the whole, once it has answered.
        answer: what it answers, in the form that votes compare; None: nothing.
        weight: what it counts in the choice.
        fate: what became of it: "chosen", "finished", "dropped", "forked".
    """

    index: int
    parent: int | None
    sample: int
    root: TokenIds
    ids: list[int] = field(default_factory=list)
    fork_tokens: int = 0
    start: int = 0
    step_ends: list[int] = field(default_factory=list)
    scores: tuple[float, ...] = ()
    ended: bool = False
    end_ids: TokenIds = ()
    looped: bool = False
    confidence: list[Confidence] = field(default_factory=list)
    trace: Trace | None = None
    answer: str | None = None
    weight: float | None = None
    fate: str = "finished"

    def confidence_rows(self) -> Confidence | None:
        """Of the whole trace, once it has answered, else of its thinking so far."""
        if self.trace is not None:
            return self.trace.confidence
        return np.concatenate(self.confidence) if self.confidence else None

    def _scores_of_steps(self) -> list[float | None]:
        """One a step; of a scorer that scores whole traces the last step's alone."""
        missing = [None] * (len(self.step_ends) - len(self.scores))
        return [*missing, *(round(score, 4) for score in self.scores)] if self.scores else []

    def tree_row(self) -> dict[str, object]:
        """For the viewer of search trees."""
        return {
            "index": self.index,
            "parent": self.parent,
            "thinking_tokens": len(self.ids),
            "fork_tokens": self.fork_tokens,
            "step_ends": list(self.step_ends),
            "scores": self._scores_of_steps(),
            "answer": self.answer,
            "weight": self.weight,
            "fate": self.fate,
        }


@dataclass(eq=False)
class Group:
    """All traces of one search.

    Attributes:
        policy: the settings that all of them share: limit, answers.
        chat, reader, question: the prompt, the streams, and the problem's words.
        sample: which of the problem's searches this is.
        key_of: an answer's text → the form that votes compare, None without an answer.
        scorer: None where the policy wants none.
        step_stops: sequences that end a step.
        parameters: of the model; None: not known.
    """

    policy: LimitedPolicy
    chat: Chat
    reader: CountingReader
    question: str
    sample: int
    key_of: Callable[[str], str | None]
    scorer: LiveScorer | None = None
    step_stops: tuple[TokenIds, ...] = ()
    parameters: int | None = None
    branches: list[Branch] = field(default_factory=list)
    num_scorer_tokens: int = 0

    @property
    def limit_tokens(self) -> int:
        """Thinking tokens of a trace at most."""
        room = self.policy.room_tokens(self.chat)
        most = self.policy.max_thinking_tokens
        return room if most is None else min(most, room)

    @property
    def scorer_weighed_tokens(self) -> float | None:
        """What the scorer read, in tokens of the model: one costs as much as its parameters."""
        if not self.num_scorer_tokens:
            return 0.0
        own = self.scorer.num_parameters if self.scorer else 0
        return self.num_scorer_tokens * own / self.parameters if own and self.parameters else None

    # -- traces -----------------------------------------------------------------------------------

    def open(self, number: int) -> Branch:
        """A trace that has not begun: sample N of the prompt."""
        sample = self.sample * SAMPLES_OF_A_SEARCH + number
        return self._add(Branch(len(self.branches), None, sample, self.chat.prompt_ids))

    def fork(self, parent: Branch) -> Branch:
        """Another continuation of a trace, from where it stands."""
        sample = self.sample * SAMPLES_OF_A_SEARCH + FIRST_FORK + len(self.branches)
        parent.fate = "forked"
        root = (*self.chat.prompt_ids, *parent.ids)
        ids = list(parent.ids)
        made = Branch(len(self.branches), parent.index, sample, root, ids, len(ids))
        made.step_ends, made.scores = list(parent.step_ends), parent.scores
        made.confidence = list(parent.confidence)
        return self._add(made)

    def _add(self, branch: Branch) -> Branch:
        self.branches.append(branch)
        return branch

    async def whole(self, numbers: Sequence[int]) -> list[Branch]:
        """Samples of the prompt from beginning to answer, as budget forcing cuts them."""
        return await together(self.read_whole(self.open(n), self.reader) for n in numbers)

    async def read_whole(self, branch: Branch, reader: Reader) -> Branch:
        """A trace that has not begun, from beginning to answer."""
        shared = {f.name: getattr(self.policy, f.name) for f in fields(LimitedPolicy)}
        trace = await rollout(BudgetForcing(**shared), self.chat, reader, branch.sample)
        branch.ids, branch.trace = list(trace.thinking_ids), trace
        branch.ended = trace.outcome.end_reason == NATURAL
        branch.step_ends = self._steps_in(branch.ids)
        branch.answer = self._answer_of(trace)
        return branch

    async def grow(self, branches: Sequence[Branch], step_tokens: int) -> None:
        """Each goes on by one step, or to its end."""
        await together(self._grow(branch, step_tokens) for branch in branches)

    async def _grow(self, branch: Branch, step_tokens: int) -> None:
        most = min(step_tokens, self.limit_tokens - len(branch.ids))
        if branch.ended or branch.looped or most <= 0:
            return
        piece = await self.reader.read(
            Request(
                max_tokens=most,
                stop=(*self.chat.thinking_stops, *self.step_stops),
                prefix_ids=branch.root,
                start=branch.start,
                sample=branch.sample,
            )
        )
        branch.ended = piece.stopped and piece.stop_ids in self.chat.thinking_stops
        branch.end_ids = piece.stop_ids if branch.ended else ()
        new = [*piece.token_ids, *(() if branch.ended else piece.stop_ids)]
        branch.ids += new
        if piece.confidence is not None:
            branch.confidence.append(piece.confidence)
        branch.start += len(new)
        if new:
            branch.step_ends.append(len(branch.ids))
        branch.looped = not branch.ended and loops(self.policy, self.chat, branch.ids, len(new))

    def is_done(self, branch: Branch) -> bool:
        """Whether its thinking is over: by itself, in a loop, or because nothing more fits."""
        return branch.ended or branch.looped or len(branch.ids) >= self.limit_tokens

    async def finish(self, branches: Sequence[Branch]) -> None:
        """Each ends its thinking (a cut where it had not ended) and answers."""
        await together(self._finish(branch) for branch in branches)

    async def _finish(self, branch: Branch) -> None:
        driver = Driver(self.chat, self.reader, branch.sample)
        known = np.concatenate(branch.confidence) if branch.confidence else None
        driver.resume(branch.ids, branch.root, branch.start, branch.end_ids, known)
        thinking = Thinking(self.chat, self.policy, self.policy.max_thinking_tokens)
        thinking.ids, thinking.looped = branch.ids, branch.looped
        trace = await driver.whole(thinking.answer(branch.ended))
        branch.trace, branch.answer, branch.fate = trace, self._answer_of(trace), "finished"

    def _answer_of(self, trace: Trace) -> str | None:
        return self.key_of(self.chat.decode(trace.answer_ids))

    def _steps_in(self, ids: Sequence[int]) -> list[int]:
        lasts = {stop[0] for stop in self.step_stops if len(stop) == 1}
        ends = [place + 1 for place, token in enumerate(ids) if token in lasts]
        return ends if (ends and ends[-1] == len(ids)) or not ids else [*ends, len(ids)]

    # -- scores -----------------------------------------------------------------------------------

    async def score(self, branches: Sequence[Branch]) -> None:
        """Scores of all steps of each; the answer of one that has answered is its last step."""
        await together(self._score(branch) for branch in branches)

    async def _score(self, branch: Branch) -> None:
        if self.scorer is None:
            raise UserError("this budget policy needs scores; give a scorer (scorer=...)")
        ids, ends = branch.ids, branch.step_ends
        if branch.trace is not None:
            ids = branch.trace.token_ids
            ends = [*[end for end in ends if end < len(ids)], len(ids)]
        if not ends:
            branch.scores = ()
            return
        ends = ends[-1:] if self.scorer.scores_whole else ends
        if self.scorer.reads_confidence:
            rows = branch.confidence_rows()
            found = await self.scorer.score(self.question, ids, ends, rows)
        else:
            found = await self.scorer.score(self.question, ids, ends)
        branch.scores = found.scores
        self.num_scorer_tokens += found.num_tokens


@dataclass(frozen=True)
class Books:
    """What a search took, beside the trace that it chose.

    Attributes:
        total_tokens: generated in all traces; what several share counts once.
        scorer_tokens: that the scorer read.
        scorer_weighed_tokens: times its parameters / the model's; None where these are not known.
        num_traces: that were begun, forks included.
        tree: all traces, for the viewer.
    """

    total_tokens: int
    scorer_tokens: int = 0
    scorer_weighed_tokens: float | None = 0.0
    num_traces: int = 1
    tree: tuple[dict[str, object], ...] = ()
