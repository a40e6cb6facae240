"""Who runs when: all points of a problem at once, largest budget first, and no barrier anywhere.

The points of one problem read the same streams, so the largest budget writes and the smaller ones
read; each goes on to its answer the moment its own tokens are there. Problems run side by side, as
many as the engine has an appetite for; a slow one holds nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
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


async def answer_all(
    problems: Sequence[Problem],
    points: Sequence[Policy],
    samples_per_problem: int,
    chat_for: Callable[[Policy, Problem], Chat],
    streams: Streams,
    on_answer: Callable[[int], None] = lambda _: None,
) -> list[Answered]:
    """Runs every point of every problem; rows come back by problem, point and sample.

    Args:
        problems: the benchmark.
        points: policies of the curve, the smallest budget first (as `s1x.budget.points` has them).
        samples_per_problem: samples of each.
        chat_for: the prompt of a problem under a policy.
        streams: what the model writes.
        on_answer: called with 1 whenever a row is there.
    """
    appetite = asyncio.Semaphore(max(1, -(-streams.engine.max_sequences // samples_per_problem)))

    async def one(problem: Problem, point: int, sample: int) -> Answered:
        begun = time.perf_counter()
        policy = points[point]
        temperature = policy.temperature(streams.sampling.temperature)
        reader = streams.of(problem.problem_id, temperature)
        chat = chat_for(policy, problem)
        trace = await rollout(policy, chat, reader, sample, samples_per_problem)
        on_answer(1)
        return Answered(problem, point, sample, trace, time.perf_counter() - begun)

    async def all_of(problem: Problem) -> list[Answered]:
        async with appetite:
            largest_first = reversed(range(len(points)))
            return await together(
                one(problem, point, sample)
                for point in largest_first
                for sample in range(samples_per_problem)
            )

    found = await together([all_of(problem) for problem in problems])
    return [row for rows in found for row in sorted(rows, key=lambda r: (r.point, r.sample))]
