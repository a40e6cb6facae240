"""short-m@k: of k traces the m that have thought to their end first (arXiv 2505.17813)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from s1x.engine.live import together
from s1x.option import option, setting
from s1x.search.group import Branch, Group
from s1x.search.search import Search, most_voted
from s1x.traces.request import WATCH, Continuation, OnTokens, Request


@option("budget", "short_m_at_k")
@dataclass(frozen=True)
class ShortMAtK(Search):
    """N traces (k) think side by side; the m shortest answer and vote, the others are stopped.

    Which ones these are is decided by thinking tokens, not by the clock: engines of any speed give
    the same. Ties go to the shortest thinking, as in the replay (`s1x.curve.replays`).
    """

    needs_scorer = False
    title = "short"

    num_finished: int = setting(
        3, "traces that may think to their end (m); their answers vote", at_least=1
    )

    async def search(self, group: Group) -> Branch:
        race = _Race(group, [group.open(n) for n in range(self.num_traces)], self.num_finished)
        return most_voted(await race.run())

    def label(self) -> str:
        return f"short-{self.num_finished}@{self.num_traces}"


class _Race:
    """Traces of which the first few in thinking tokens may answer.

    A trace is out as soon as it has more tokens than the m-th of those that have ended. Tokens
    count as if all wrote in step, up to the length of the m-th; what a faster one wrote beyond is
    in the engine's counts only.
    """

    def __init__(self, group: Group, branches: Sequence[Branch], num_first: int) -> None:
        self.group, self.num_first = group, min(num_first, len(branches))
        self.runners = [_Runner(self, branch) for branch in branches]
        self.bound_tokens: int | None = None
        """Of the m-th of those that have ended; None: there are fewer."""
        self.first: list[_Runner] = []
        self.is_decided = asyncio.Event()

    async def run(self) -> list[Branch]:
        """The first ones, the shortest before the others."""
        for runner in self.runners:
            runner.task = asyncio.ensure_future(runner.run())
        await together([runner.task for runner in self.runners if runner.task])
        return [runner.branch for runner in self.first]

    def ended(self, runner: _Runner) -> None:
        """One has thought to its end."""
        runner.has_ended = True
        ranked = sorted((r for r in self.runners if r.has_ended), key=_Runner.rank)
        if len(ranked) >= self.num_first:
            self.bound_tokens = len(ranked[self.num_first - 1].branch.ids)
            for other in self.runners:
                if not other.has_ended and other.is_beyond(self.bound_tokens) and other.task:
                    other.task.cancel()  # what it is reading is not written on
        self.decide()

    def decide(self) -> None:
        """Says who may answer, once nobody else can be among the first."""
        if self.first or not all(runner.has_ended or runner.is_out for runner in self.runners):
            return
        ranked = sorted((r for r in self.runners if r.has_ended), key=_Runner.rank)
        self.first = ranked[: self.num_first]
        for runner in self.runners:
            del runner.branch.ids[self.bound_tokens :]
            self.group.reader.num_tokens += len(runner.branch.ids)
            if runner in self.first:
                self.group.reader.num_tokens += len(runner.branch.end_ids)
            else:
                runner.is_out, runner.branch.fate = True, "dropped"
        self.is_decided.set()


class _OutError(Exception):
    """A trace that nobody waits for any more."""


class _Runner:
    """The reader of one trace: it hears what is thought, and answers when its place is known."""

    def __init__(self, race: _Race, branch: Branch) -> None:
        self.race, self.branch = race, branch
        self.has_ended, self.is_out = False, False
        self.task: asyncio.Task[None] | None = None

    def rank(self) -> tuple[int, int]:
        """The order in which traces end that write in step."""
        return len(self.branch.ids), self.branch.index

    async def run(self) -> None:
        """Reads the trace until it has answered or is out."""
        try:
            await self.race.group.read_whole(self.branch, self)
            if not self.has_ended:  # the context has no room for an answer
                self.race.ended(self)
        except (asyncio.CancelledError, _OutError):
            if not self.is_out:
                raise

    def is_beyond(self, bound_tokens: int) -> bool:
        """Whether it has just come to be out, with more tokens than the m-th."""
        beyond = not self.is_out and len(self.branch.ids) > bound_tokens
        self.is_out |= beyond
        return beyond

    async def read(self, request: Request, on_tokens: OnTokens | None = None) -> Continuation:
        """See `Reader.read`."""
        branch, group = self.branch, self.race.group
        if not request.may_go_on:
            self.race.ended(self)
            await self.race.is_decided.wait()
            if self.is_out:
                raise _OutError
            return await group.reader.read(request)
        piece = await group.reader.reader.read(request, self._hear)
        if self.is_out:
            raise _OutError
        softly = piece.finish_reason == WATCH  # closed in place of that token
        if softly or piece.stop_ids in group.chat.thinking_stops:
            branch.end_ids = piece.stop_ids
        else:
            branch.ids += piece.stop_ids  # of a line's end, which is thinking
        return replace(piece, cached_tokens=None)  # there is no listener outside

    def _hear(self, ids: Sequence[int]) -> bool:
        if not self.is_out:
            self.branch.ids += ids
            bound = self.race.bound_tokens
            if bound is not None and self.is_beyond(bound):
                self.race.decide()
        return not self.is_out
