"""Best of N: whole traces, and the one that a scorer likes most."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.option import option
from s1x.search.group import Branch, Group
from s1x.search.search import Search, best


@option("budget", "best_of_n")
@dataclass(frozen=True)
class BestOfN(Search):
    """N samples; every N reads the same ones, so that all sizes cost the largest."""

    title = "best"

    async def search(self, group: Group) -> Branch:
        branches = await group.whole(range(self.num_traces))
        if self.num_traces > 1:
            await group.score(branches)
            self.weigh(branches)
        return best(branches)
