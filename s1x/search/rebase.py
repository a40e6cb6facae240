"""REBASE: a tree whose widths follow the scores (Wu et al. 2024, arXiv 2408.00724, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.option import option, setting
from s1x.search.group import Branch, Group
from s1x.search.search import StepSearch, dealt, shares


@option("budget", "rebase")
@dataclass(frozen=True)
class Rebase(StepSearch):
    """Traces that are done leave the tree and take their place with them.

    The widths left are dealt to the others by a softmax over the scores of their last steps, at
    `balance_temperature`; a trace with none is dropped. At the end the answers vote, each with its
    trace's weight.
    """

    title = "REBASE"

    balance_temperature: float = setting(0.2, "of the softmax over scores (paper: 0.2)", above=0)

    async def search(self, group: Group) -> Branch:
        live = [group.open(number) for number in range(self.num_traces)]
        done: list[Branch] = []
        for _ in range(self.max_steps):
            await group.grow(live, self.step_tokens)
            done += [branch for branch in live if group.is_done(branch)]
            live = [branch for branch in live if not group.is_done(branch)]
            width = self.num_traces - len(done)
            if not live or width <= 0:
                break
            if len(live) > 1:
                await group.score(live)
            live = self._next(group, live, width)
        return await self.finished(group, [*done, *live])

    def _next(self, group: Group, live: list[Branch], width: int) -> list[Branch]:
        """`width` traces: each lives on as often as its share of the width says."""
        scores = [branch.scores[-1] for branch in live] if len(live) > 1 else [0.0]
        widths = dealt(width, shares(scores, self.balance_temperature))
        found: list[Branch] = []
        for branch, count in zip(live, widths, strict=True):
            if count:
                found += [branch, *(group.fork(branch) for _ in range(count - 1))]
            else:
                branch.fate = "dropped"
        return found
