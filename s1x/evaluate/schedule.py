"""Who runs when: all points of a problem's sample at once, largest budget first, and no barrier.

The points of one sample read the same streams, so the largest budget writes and the smaller ones
read; each goes on to its answer the moment its own tokens are there. Samples run side by side, as
many as the engines have an appetite for (`s1x.workers`); a slow one holds nobody.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from s1x.benchmark.problem import Problem
from s1x.budget.policy import Policy
from s1x.budget.rollout import Trace, rollout
from s1x.engine.live import together
from s1x.model.chat_format import Chat
from s1x.traces.streams import Streams


@dataclass(frozen=True)
class Answered:
    """One row to be: a trace, and whose it is."""

    problem: Problem
    point: int
    sample: int
    trace: Trace
    wall_seconds: float


async def answer(
    problem: Problem,
    sample: int,
    points: Sequence[Policy],
    chats: Sequence[Chat],
    streams: Streams,
    samples_per_problem: int = 1,
) -> list[Answered]:
    """One sample of a problem under every point, in the order of the points.

    Args:
        problem: what is asked.
        sample: which of the problem's samples, 0 or more.
        points: policies of the curve, the smallest budget first (as `s1x.budget.points` has them).
        chats: the prompt of each point.
        streams: what the model writes.
        samples_per_problem: samples of each problem.
    """

    async def one(point: int) -> Answered:
        begun = time.perf_counter()
        policy = points[point]
        temperature = policy.temperature(streams.sampling.temperature)
        reader = streams.of(problem.problem_id, temperature)
        trace = await rollout(policy, chats[point], reader, sample, samples_per_problem)
        return Answered(problem, point, sample, trace, time.perf_counter() - begun)

    found = await together(one(point) for point in reversed(range(len(points))))
    return found[::-1]


def expected_length(problem: Problem) -> float:
    """How long a problem takes next to others, before its first sample has shown it.

    The number in its level: harder problems take longer traces.
    """
    number = re.search(r"\d+", problem.level or "")
    return float(number[0]) if number else 0.0
