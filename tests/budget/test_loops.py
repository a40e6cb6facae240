"""Traces that go round in circles: their end reason, and the exit that policies can use."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import policy_bench as world
import pytest
from policy_bench import Bench, chat_format

from s1x.budget.budget_forcing import BudgetForcing
from s1x.budget.early_exit import EarlyExit
from s1x.budget.policy import CUE, Policy
from s1x.budget.rejection_sampling import RejectionSampling
from s1x.budget.rollout import Trace
from s1x.budget.unlimited import Unlimited
from s1x.engine.engine import Request
from s1x.engine.scripted import ScriptedEngine
from s1x.model.chat_format import Chat
from s1x.rows import CUT, LOOP, NATURAL
from s1x.search.beam_search import BeamSearch
from s1x.search.group import CountingReader, Group
from s1x.search.majority_vote import MajorityVote
from s1x.search.search import Search, run_search
from s1x.traces.loops import is_loop

END, PROMPT = 7, (50, 51)
BOUNDS: dict[str, Any] = {"max_answer_tokens": 3, "answer_reserve_tokens": 5}
FORM = replace(
    chat_format((END,), 900),
    decode=lambda ids: "".join("\n" if i == world.NEWLINE else f"w{i} " for i in ids),
)
CHAT = Chat(FORM, PROMPT)
#: 60 words of its own, then 40 again and again
LOOPS = [100 + i if i < 60 else 200 + i % 40 for i in range(800)]


def writes(*texts: Sequence[int]) -> Bench:
    """Each new seed thinks the next of the texts; answers are one token."""
    seeds: list[int] = []

    def next_token(ids: Sequence[int], request: Request) -> int:
        if world.ANSWER in ids:
            return 30 if ids[-1] in (world.ANSWER, world.CUE) else world.END_OF_TURN
        if request.sampling.seed not in seeds:
            seeds.append(request.sampling.seed)
        text = texts[min(seeds.index(request.sampling.seed), len(texts) - 1)]
        at = len(ids) - len(PROMPT)
        return text[at] if at < len(text) else END

    return Bench.of(ScriptedEngine(next_token))


def run(policy: Policy, *texts: Sequence[int]) -> Trace:
    return writes(*texts).run([policy], CHAT)[0]


def first_loop(every: int) -> int:
    """The first look at which the text repeats itself."""
    return next(n for n in range(every, 800, every) if is_loop(FORM.decode(LOOPS[:n])))


@pytest.mark.parametrize("every", [1, 7, 50, 200])
def test_a_loop_is_ended_at_the_first_look_that_finds_it(every: int) -> None:
    trace = run(Unlimited(loop_check_every_tokens=every, **BOUNDS), LOOPS)
    assert trace.thinking_ids == LOOPS[: first_loop(every)]
    assert (trace.outcome.end_reason, trace.part_tokens[CUE]) == (LOOP, 1)
    assert trace.answer_ids == [world.CUE, 30]


def test_looking_changes_nothing_else() -> None:
    plain = list(range(1000, 1300))
    looking: dict[str, Any] = {"loop_check_every_tokens": 7, **BOUNDS}
    for policy in (Unlimited, BudgetForcing):
        assert run(policy(**looking), plain) == run(policy(**BOUNDS), plain)
    cut = run(BudgetForcing(max_thinking_tokens=120, **looking), plain)
    assert (len(cut.thinking_ids), cut.outcome.end_reason) == (120, CUT)
    waited = run(BudgetForcing(num_waits=1, **looking), plain)
    assert waited.token_ids == run(BudgetForcing(num_waits=1, **BOUNDS), plain).token_ids


def test_a_trace_that_is_closed_in_a_loop_says_so_without_the_exit() -> None:
    cut = run(BudgetForcing(max_thinking_tokens=400, **BOUNDS), LOOPS)
    assert (len(cut.thinking_ids), cut.outcome.end_reason) == (400, LOOP)
    early = run(BudgetForcing(max_thinking_tokens=90, **BOUNDS), LOOPS)
    assert early.outcome.end_reason == CUT, "nothing stood there twice yet"
    truncated = run(Unlimited(**BOUNDS), [*LOOPS, *LOOPS])
    assert truncated.outcome.end_reason == LOOP
    ended = run(Unlimited(**BOUNDS), LOOPS)
    assert ended.outcome.end_reason == NATURAL


def test_a_loop_is_closed_at_once_and_asked_no_more() -> None:
    looking: dict[str, Any] = {"loop_check_every_tokens": 50, "closing": "line_end", **BOUNDS}
    found = first_loop(50)
    assert len(run(Unlimited(**looking), LOOPS).thinking_ids) == found
    exit_ = EarlyExit(check_every_tokens=60, num_unchanged_checks=9, **looking)
    trace = run(exit_, LOOPS)
    assert (len(trace.thinking_ids), trace.outcome.end_reason) == (found, LOOP)
    assert [count for count, _ in trace.probes] == list(range(60, found, 60))


def test_rejection_sampling_draws_another_in_place_of_a_loop() -> None:
    policy = RejectionSampling(loop_check_every_tokens=50, **BOUNDS)
    bench = writes(LOOPS, [20, 21])
    trace = bench.run([policy], CHAT)[0]
    assert (trace.thinking_ids, trace.outcome.num_tries) == ([20, 21], 2)
    assert bench.engine.usage.generated_tokens == first_loop(50) + 3 + 2


@pytest.mark.parametrize("kind", [MajorityVote, BeamSearch])
def test_searches_leave_loops_too(kind: type[Search]) -> None:
    own = {"step_tokens": 25, "max_steps": 99, "beam_width": 1} if kind is BeamSearch else {}
    policy = kind(num_traces=1, loop_check_every_tokens=50, **BOUNDS, **own)
    bench = writes(LOOPS)
    reader = CountingReader(bench.streams.of("p"))
    group = Group(policy, CHAT, reader, "q", 0, lambda text: text)
    trace, books = asyncio.run(run_search(policy, group))
    assert (len(trace.thinking_ids), trace.outcome.end_reason) == (first_loop(50), LOOP)
    assert books.total_tokens == bench.engine.usage.generated_tokens
