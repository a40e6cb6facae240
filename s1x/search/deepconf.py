"""Deep Think with Confidence, online (Fu et al. 2025, arXiv 2508.15260, section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from s1x.engine.live import together
from s1x.errors import UserError
from s1x.option import option, setting
from s1x.search.group import Branch, Group
from s1x.search.search import Search, best, most_voted
from s1x.traces.confidence import (
    ENTROPY,
    GROUP_TOKENS,
    MEAN_LOG_PROB,
    GroupWatch,
    OnConfidence,
    confidence_measures,
)
from s1x.traces.request import WATCH, Continuation, OnTokens, Reader, Request


@option("budget", "deepconf")
@dataclass(frozen=True)
class DeepConf(Search):
    """The first traces are written to their end and set a bar; later ones that fall below it stop.

    A trace's confidence is that of its lowest group of tokens. The bar is the percentile of the
    first traces' confidences that keeps `keep_percent` of them. Those at or above the bar vote,
    each with its confidence. No scorer is needed.
    """

    needs_scorer = False
    needs_confidence = True
    title = "DeepConf"

    num_warmup: int = setting(16, "traces that set the bar (paper: 16)", at_least=1)
    keep_percent: float = setting(
        10.0,
        "of the first traces, at or above the bar (paper: 10, 90)",
        above=0,
        at_most=100,
    )
    group_tokens: int = setting(GROUP_TOKENS, "tokens of a group (paper: 2048)", at_least=1)

    async def search(self, group: Group) -> Branch:
        first = min(self.num_warmup, self.num_traces)
        warm = await group.whole(range(first))
        for branch in warm:
            branch.weight = self._lowest(branch)
        bar = float(np.percentile([one.weight or 0.0 for one in warm], 100 - self.keep_percent))
        numbers = range(first, self.num_traces)
        later = await together(self._watched(group, number, bar) for number in numbers)
        for branch in later:
            branch.weight = self._lowest(branch)
        everyone = [*warm, *later]
        voters = [one for one in everyone if (one.weight or 0.0) >= bar]
        for branch in everyone:
            if branch not in voters:
                branch.weight = 0.0
        return most_voted(voters) if voters else best(warm)

    async def _watched(self, group: Group, number: int, bar: float) -> Branch:
        """A trace that is dropped, without an answer, where a group falls below the bar."""
        branch = group.open(number)
        watch = GroupWatch(bar, self.group_tokens)
        try:
            return await group.read_whole(branch, _Watched(group.reader, watch, branch.ids))
        except _EnoughError:
            branch.fate = "dropped"
            return branch

    def _lowest(self, branch: Branch) -> float:
        """The confidence of a trace; 0 for one that was stopped."""
        if branch.trace is None:
            return 0.0
        rows = branch.trace.written_confidence
        if rows is None:
            raise UserError("deepconf reads traces with confidence (sampling.confidence=true)")
        found = confidence_measures(-rows[:, MEAN_LOG_PROB], rows[:, ENTROPY], self.group_tokens)
        return found["lowest"]

    def label(self) -> str:
        return f"{super().label()}, best {self.keep_percent:g}%"


class _EnoughError(Exception):
    """A trace is given up."""


@dataclass
class _Watched:
    """Reads streams, and gives a trace up where its confidence is watched and too low."""

    reader: Reader
    watch: OnConfidence
    written: list[int]

    async def read(self, request: Request, on_tokens: OnTokens | None = None) -> Continuation:
        """See `Reader.read`."""
        piece = await self.reader.read(replace(request, on_confidence=self.watch), on_tokens)
        self.written += piece.token_ids
        if piece.finish_reason == WATCH:
            raise _EnoughError
        return piece
