"""The majority of whole traces, as self-consistency takes it (Wang et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.option import option
from s1x.search.group import Branch, Group
from s1x.search.search import Search, most_voted


@option("budget", "majority_vote")
@dataclass(frozen=True)
class MajorityVote(Search):
    """N samples; every N reads the same ones. It needs no scores."""

    needs_scorer = False
    title = "majority"

    async def search(self, group: Group) -> Branch:
        return most_voted(await group.whole(range(self.num_traces)))
