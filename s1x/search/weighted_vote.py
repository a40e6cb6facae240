"""A vote over whole traces, each weighed by its score."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.option import option
from s1x.search.group import Branch, Group
from s1x.search.search import Search, most_voted


@option("budget", "weighted_vote")
@dataclass(frozen=True)
class WeightedVote(Search):
    """N samples; every N reads the same ones, which the majority and best-of-N read too."""

    title = "weighted vote"

    async def search(self, group: Group) -> Branch:
        branches = await group.whole(range(self.num_traces))
        if self.num_traces > 1:
            await group.score(branches)
            self.weigh(branches)
        return most_voted(branches)
