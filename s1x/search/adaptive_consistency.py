"""Adaptive consistency: samples until the majority is settled (Aggarwal et al. 2023)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from s1x.curve.replays import lead_certainty
from s1x.option import option, setting
from s1x.search.group import Branch, Group
from s1x.search.search import Search, most_voted


@option("budget", "adaptive_consistency")
@dataclass(frozen=True)
class AdaptiveConsistency(Search):
    """Draws traces one after another until the leading answer is unlikely to be overtaken.

    The Beta stopping rule (arXiv 2305.11860) that reports replay over samples that are there
    (`s1x.curve.replays`); N traces at most, the same ones as the majority's.
    """

    needs_scorer = False
    title = "adaptive"

    min_certainty: float = setting(
        0.95, "that the leading answer stays ahead, from which no more is drawn", above=0.5
    )
    draws_at_once: int = setting(
        1, "traces between two looks, side by side: sooner done, for more tokens", at_least=1
    )

    async def search(self, group: Group) -> Branch:
        drawn: list[Branch] = []
        while len(drawn) < self.num_traces and not self._is_sure(drawn):
            most = min(len(drawn) + self.draws_at_once, self.num_traces)
            drawn += await group.whole(range(len(drawn), most))
        return most_voted(drawn)

    def _is_sure(self, drawn: Sequence[Branch]) -> bool:
        votes = Counter(branch.answer for branch in drawn if branch.answer is not None)
        first, second, *_ = [*(count for _, count in votes.most_common(2)), 0, 0]
        return lead_certainty(first, second) >= self.min_certainty

    def label(self) -> str:
        return f"adaptive up to {self.num_traces}"
