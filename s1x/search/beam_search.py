"""Beam search over steps (Snell et al. 2024, arXiv 2408.03314, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from s1x.errors import SettingError
from s1x.option import option, setting
from s1x.search.group import Branch, Group
from s1x.search.search import StepSearch


@option("budget", "beam_search")
@dataclass(frozen=True)
class BeamSearch(StepSearch):
    """After each step the N / M best traces stay and go on in M ways; N of 1 is a single trace."""

    title = "beam"

    beam_width: int = setting(2, "ways on from each trace that stays (M)", at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_traces > self.beam_width and self.num_traces % self.beam_width:
            raise SettingError(
                "num_traces", f"a multiple of beam_width ({self.beam_width})", self.num_traces
            )

    async def search(self, group: Group) -> Branch:
        live = [group.open(number) for number in range(self.num_traces)]
        for _ in range(self.max_steps):
            await group.grow(live, self.step_tokens)
            if all(map(group.is_done, live)):
                break
            if self.num_traces > 1:
                await group.score(live)
                live = self.kept(group, live)
        return await self.finished(group, live)

    def kept(self, group: Group, live: Sequence[Branch]) -> list[Branch]:
        """The best ones and their forks."""
        ways = min(self.beam_width, self.num_traces)
        ranked = sorted(live, key=lambda one: (-(one.scores or (0.0,))[-1], one.index))
        stay = ranked[: self.num_traces // ways]
        for branch in ranked[len(stay) :]:
            branch.fate = "dropped"
        # a trace that is done has one way on: the place of its forks goes to nobody
        return [
            made
            for branch in stay
            for made in [
                branch,
                *(group.fork(branch) for _ in range(ways - 1) if not group.is_done(branch)),
            ]
        ]
