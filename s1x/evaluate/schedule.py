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

from s1x.benchmark.forms import normal_form
from s1x.benchmark.grader import Grader
from s1x.benchmark.problem import Problem
from s1x.budget.policy import Policy
from s1x.budget.rollout import Trace, rollout
from s1x.engine.live import together
from s1x.model.chat_format import Chat
from s1x.scorer.scorer import LiveScorer
from s1x.search.group import Books, CountingReader, Group
from s1x.search.search import Search, run_search
from s1x.traces.streams import Streams


@dataclass(frozen=True)
class Answered:
    """One row to be: a trace, and whose it is."""

    problem: Problem
    point: int
    sample: int
    trace: Trace
    wall_seconds: float
    books: Books


@dataclass(frozen=True)
class Searching:
    """What policies over many traces need beside the streams.

    Attributes:
        grader: reads answers out of texts, for votes.
        scorer: None: nothing is scored.
        parameters: of the model; None: not known.
    """

    grader: Grader
    scorer: LiveScorer | None
    parameters: int | None = None

    def group(
        self, policy: Search, chat: Chat, reader: CountingReader, problem: Problem, sample: int
    ) -> Group:
        """The traces of one search, none of which has begun."""

        def key_of(text: str) -> str | None:
            found = self.grader.extract(problem, text)
            return normal_form(found.text) if found is not None else None

        return Group(
            policy,
            chat,
            reader,
            problem.question,
            sample,
            key_of,
            self.scorer,
            chat.format.holding(policy.step_end),
            self.parameters,
        )


async def answer(
    problem: Problem,
    sample: int,
    points: Sequence[Policy],
    chats: Sequence[Chat],
    streams: Streams,
    samples_per_problem: int = 1,
    searching: Searching | None = None,
) -> list[Answered]:
    """One sample of a problem under every point, in the order of the points.

    Args:
        problem: what is asked.
        sample: which of the problem's samples, 0 or more.
        points: policies of the curve, the smallest budget first (as `s1x.budget.points` has them).
        chats: the prompt of each point.
        streams: what the model writes.
        samples_per_problem: samples of each problem.
        searching: what policies over many traces need besides.
    """

    async def one(point: int) -> Answered:
        begun = time.perf_counter()
        policy = points[point]
        temperature = policy.temperature(streams.sampling.temperature)
        reader = CountingReader(streams.of(problem.problem_id, temperature))
        if isinstance(policy, Search):
            assert searching is not None, "a search wants to know how answers are compared"
            group = searching.group(policy, chats[point], reader, problem, sample)
            trace, books = await run_search(policy, group)
        else:
            trace = await rollout(policy, chats[point], reader, sample, samples_per_problem)
            books = Books(reader.num_tokens, num_traces=trace.outcome.num_tries)
        return Answered(problem, point, sample, trace, time.perf_counter() - begun, books)

    found = await together(one(point) for point in reversed(range(len(points))))
    return found[::-1]


def expected_length(problem: Problem) -> float:
    """How long a problem takes next to others, before its first sample has shown it.

    The number in its level: harder problems take longer traces.
    """
    number = re.search(r"\d+", problem.level or "")
    return float(number[0]) if number else 0.0
