"""Particle filtering over steps (Puri et al. 2025, arXiv 2502.01618)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from s1x.option import option, setting
from s1x.search.group import Branch, Group
from s1x.search.search import StepSearch, shares

#: scores are kept this far from 0 and 1, where their log-odds end
_EDGE = 1e-6


@option("budget", "particle_filter")
@dataclass(frozen=True)
class ParticleFilter(StepSearch):
    """N traces are drawn anew after each step, in proportion to softmax of the scores' log-odds.

    Drawing is systematic (one random number for all), so that equal scores leave every trace as it
    is. Traces that are done stay and are drawn like the others.
    """

    title = "particles"

    resampling_temperature: float = setting(1.0, "of the softmax over log-odds", above=0)
    drawing_seed: int = setting(0, "of what is drawn", at_least=0)

    async def search(self, group: Group) -> Branch:
        live = [group.open(number) for number in range(self.num_traces)]
        rng = random.Random(f"{self.drawing_seed}:{group.sample}:{group.question}")
        for _ in range(self.max_steps):
            await group.grow(live, self.step_tokens)
            if all(map(group.is_done, live)):
                break
            if len(live) > 1:
                await group.score(live)
                live = self._drawn(group, live, rng)
        return await self.finished(group, live)

    def _drawn(self, group: Group, live: Sequence[Branch], rng: random.Random) -> list[Branch]:
        odds = [_log_odds((branch.scores or (0.5,))[-1]) for branch in live]
        counts = systematic(shares(odds, self.resampling_temperature), rng.random())
        found: list[Branch] = []
        for branch, count in zip(live, counts, strict=True):
            if not count:
                branch.fate = "dropped"
                continue
            found += [branch, *(group.fork(branch) for _ in range(count - 1))]
        return found


def _log_odds(score: float) -> float:
    inside = min(max(score, _EDGE), 1 - _EDGE)
    return math.log(inside / (1 - inside))


def systematic(parts: Sequence[float], offset: float) -> list[int]:
    """How often each of N is drawn in N draws at evenly spaced places; `offset` in [0, 1)."""
    count, total, place = len(parts), 0.0, 0
    found = []
    for part in parts:
        total += part * count
        drawn = 0
        while place < count and offset + place < total - 1e-9:
            drawn, place = drawn + 1, place + 1
        found.append(drawn)
    found[-1] += count - place  # what rounding left
    return found
