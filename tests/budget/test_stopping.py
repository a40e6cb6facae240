"""Searches that stop sampling early: live equals replay, at any engine's speed, tokens included."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_bench import chat_format

from s1x.budget.budget_forcing import BudgetForcing
from s1x.budget.policy import ANSWER
from s1x.budget.rollout import Trace, rollout
from s1x.budget.thinking import CLOSINGS
from s1x.curve.replays import adaptive_consistency, short_m_at_k
from s1x.curve.samples import Samples
from s1x.engine.engine import OnTokens, Request, Sampling, Writing
from s1x.engine.scripted import ScriptedEngine, hashed_confidence, random_tokens
from s1x.errors import SettingError
from s1x.model.chat_format import Chat
from s1x.rows import NATURAL
from s1x.search.adaptive_consistency import AdaptiveConsistency
from s1x.search.group import Books, CountingReader, Group
from s1x.search.majority_vote import MajorityVote
from s1x.search.search import Search, run_search
from s1x.search.short_m_at_k import ShortMAtK
from s1x.traces.store import TraceStore
from s1x.traces.streams import Streams

CHAT = Chat(chat_format(), (50, 51))
COMMON: dict[str, Any] = {"max_answer_tokens": 5, "answer_reserve_tokens": 5}


class Unsteady(ScriptedEngine):
    """Each sequence has a speed of its own, drawn by the clock's seed."""

    def __init__(self, vocabulary_size: int, clock: int | None, seed: int = 0) -> None:
        super().__init__(random_tokens(vocabulary_size, seed))
        self.clock = random.Random(clock) if clock is not None else None

    async def generate(self, request: Request, on_tokens: OnTokens) -> None:
        ids, writing = list(request.prefix_ids), Writing(request, on_tokens)
        pause = self.clock.choice([1, 1, 2, 5, 20]) if self.clock else 1
        while not writing.is_done:
            for _ in range(pause):
                await asyncio.sleep(0)
            ids.append(self.next_token(ids, request))
            asked = request.on_confidence is not None
            writing.take(ids[-1:], hashed_confidence(ids) if asked else None)


class Live:
    """One search over an engine."""

    def __init__(
        self,
        policy: Search,
        *,
        clock: int | None = None,
        store: TraceStore | None = None,
        seed: int = 0,
        vocabulary_size: int = 24,
    ) -> None:
        engine = Unsteady(vocabulary_size, clock, seed)
        self.streams = Streams(
            engine, store or TraceStore(None, "m", end_ids=CHAT.format.end_ids), Sampling(1.0), seed
        )
        reader = CountingReader(self.streams.of("p"))
        self.group = Group(policy, CHAT, reader, "q", 0, key_of)
        self.trace, self.books = asyncio.run(self._run(policy))

    async def _run(self, policy: Search) -> tuple[Trace, Books]:
        found = await run_search(policy, self.group)
        assert len(asyncio.all_tasks()) == 1, "nothing is left at work"
        return found

    @property
    def written_tokens(self) -> int:
        return self.streams.counts.generated_tokens

    def unstopped_tokens(self) -> int:
        """What was counted, without what ended thinking and answers, which rows do not count."""
        stops = 0
        for branch in self.group.branches:
            if branch.trace is not None:
                ended = branch.trace.outcome.end_reason == NATURAL or bool(branch.end_ids)
                stops += ended + (not branch.trace.answer_cut)
        return self.books.total_tokens - stops


def key_of(text: str) -> str | None:
    """Three answers, some of which are none."""
    first = text.partition(">")[0].strip("<\n")
    return str(int(first) % 2) if first.isdigit() and int(first) % 7 else None


def sampled(policy: Search, seed: int) -> list[Trace]:
    """The samples that a search draws from, each to its end."""
    streams = Streams(
        Unsteady(24, None, seed),
        TraceStore(None, "m", end_ids=CHAT.format.end_ids),
        Sampling(1.0),
        seed,
    )
    whole = BudgetForcing(
        max_thinking_tokens=policy.max_thinking_tokens, closing=policy.closing, **COMMON
    )

    async def run() -> list[Trace]:
        reader = streams.of("p")
        work = (rollout(whole, CHAT, reader, sample) for sample in range(policy.num_traces))
        return await asyncio.gather(*work)

    return asyncio.run(run())


def replayed(policy: Search, seed: int, rule: Callable[..., Any], right: str | None) -> Any:
    """Whether the rule's answer is the one that is right, and the tokens it takes."""
    traces = sampled(policy, seed)
    keys = [key_of(CHAT.decode(trace.answer_ids)) for trace in traces]
    groups = [-1 if key is None else int(key) for key in keys]
    thinking = [len(trace.thinking_ids) for trace in traces]
    total = [n + trace.part_tokens[ANSWER] for n, trace in zip(thinking, traces, strict=True)]
    table = Samples(
        np.array([[float(key == right) for key in keys]]),
        np.array([total], float),
        np.array([thinking], float),
        np.array([_in_order(groups)]),
    )
    subsets = np.arange(len(traces))[None]
    (is_right,), (tokens,) = rule(table, 0, subsets)
    return bool(is_right), tokens


def _in_order(groups: Sequence[int]) -> list[int]:
    """Groups numbered as they appear, as rows have them."""
    seen = list(dict.fromkeys(group for group in groups if group >= 0))
    return [seen.index(group) if group >= 0 else -1 for group in groups]


def answer_of(live: Live) -> str | None:
    return key_of(CHAT.decode(live.trace.answer_ids))


@settings(max_examples=120, deadline=None)
@given(
    k=st.integers(1, 9),
    m=st.integers(1, 4),
    limit=st.sampled_from([None, 4, 12, 40]),
    closing=st.sampled_from(CLOSINGS),
    seed=st.integers(0, 10_000),
    clock=st.one_of(st.none(), st.integers(0, 99)),
)
def test_short_m_at_k_live_is_its_replay(
    k: int, m: int, limit: int | None, closing: str, seed: int, clock: int | None
) -> None:
    policy = ShortMAtK(
        num_traces=k, num_finished=m, max_thinking_tokens=limit, closing=closing, **COMMON
    )
    live = Live(policy, clock=clock, seed=seed)

    def rule(*table: Any) -> Any:
        return short_m_at_k(*table, m=m)

    is_right, tokens = replayed(policy, seed, rule, answer_of(live))
    assert live.unstopped_tokens() == tokens
    assert is_right == (answer_of(live) is not None)
    fates = [row["fate"] for row in live.books.tree]
    assert fates.count("dropped") == max(0, k - m)
    answered = sum(row["answer"] is not None for row in live.books.tree)
    assert answered <= min(m, k)


@settings(max_examples=60, deadline=None)
@given(k=st.integers(1, 12), seed=st.integers(0, 10_000), limit=st.sampled_from([None, 4, 12]))
def test_adaptive_consistency_live_is_its_replay(k: int, seed: int, limit: int | None) -> None:
    policy = AdaptiveConsistency(num_traces=k, max_thinking_tokens=limit, **COMMON)
    live = Live(policy, seed=seed)
    is_right, tokens = replayed(policy, seed, adaptive_consistency, answer_of(live))
    assert live.unstopped_tokens() == tokens
    assert is_right == (answer_of(live) is not None)
    assert live.written_tokens == live.books.total_tokens


def test_traces_that_are_out_are_written_no_further() -> None:
    """In step, a few tokens are written past the m-th; the majority would have written all."""
    for seed in range(20):
        policy = ShortMAtK(num_traces=8, num_finished=2, **COMMON)
        live, all_ = Live(policy, seed=seed), Live(MajorityVote(num_traces=8, **COMMON), seed=seed)
        longest = max(len(branch.ids) for branch in live.group.branches)
        beyond = live.written_tokens - live.books.total_tokens
        assert 0 <= beyond <= 3 * 6, "three tokens of each of the six that are out"
        assert live.written_tokens < all_.written_tokens
        assert longest == sorted(len(branch.ids) for branch in all_.group.branches)[1]


def test_the_speed_of_engines_changes_nothing() -> None:
    policy = ShortMAtK(num_traces=8, num_finished=3, max_thinking_tokens=60, **COMMON)
    runs = [Live(policy, clock=clock) for clock in (None, *range(12))]
    assert all(run.trace == runs[0].trace for run in runs)
    assert all(run.books == runs[0].books for run in runs)
    assert len({run.written_tokens for run in runs}) > 1, "what is wasted is the engine's affair"


@pytest.mark.parametrize("clock", [None, 3])
def test_what_was_stopped_stays_so_in_a_second_run(clock: int | None, tmp_path: Any) -> None:
    policy = ShortMAtK(num_traces=8, num_finished=2, **COMMON)
    with TraceStore(tmp_path, "m") as store:
        first = Live(policy, clock=clock, store=store)
    with TraceStore(tmp_path, "m") as store:
        second = Live(policy, clock=5, store=store)
        assert second.written_tokens == 0
        more = Live(replace(policy, num_finished=4), store=store)
    assert (second.trace, second.books) == (first.trace, first.books)
    assert more.books == Live(replace(policy, num_finished=4)).books, "what was stopped goes on"


def test_a_context_without_room_for_answers_stops_nobody_for_ever() -> None:
    chat = Chat(chat_format(context_tokens=20), (50, 51))
    policy = ShortMAtK(num_traces=4, num_finished=1, answer_reserve_tokens=0)
    streams = Streams(Unsteady(400, None), TraceStore(None, "m"), Sampling(1.0))
    group = Group(policy, chat, CountingReader(streams.of("p")), "q", 0, key_of)
    trace, books = asyncio.run(asyncio.wait_for(run_search(policy, group), 10))
    assert len(trace.token_ids) == 18
    assert books.num_traces == 4


def test_draws_at_once_are_whole_batches() -> None:
    one = Live(AdaptiveConsistency(num_traces=12, **COMMON), seed=4)
    four = Live(AdaptiveConsistency(num_traces=12, draws_at_once=4, **COMMON), seed=4)
    assert four.books.num_traces == -(-one.books.num_traces // 4) * 4
    assert four.books.total_tokens == four.written_tokens >= one.books.total_tokens


def test_an_engine_that_fails_ends_the_race() -> None:
    class Failing(Unsteady):
        async def generate(self, request: Request, on_tokens: OnTokens) -> None:
            if request.sample == 2:
                raise RuntimeError("lost")
            await super().generate(request, on_tokens)

    policy = ShortMAtK(num_traces=4, num_finished=4, **COMMON)
    streams = Streams(Failing(24, None), TraceStore(None, "m"), Sampling(1.0))
    group = Group(policy, CHAT, CountingReader(streams.of("p")), "q", 0, key_of)
    with pytest.raises(RuntimeError, match="lost"):
        asyncio.run(run_search(policy, group))


def test_settings_and_labels() -> None:
    assert ShortMAtK(num_traces=8).label() == "short-3@8"
    assert AdaptiveConsistency(num_traces=16).label() == "adaptive up to 16"
    with pytest.raises(SettingError, match="min_certainty must be more than"):
        AdaptiveConsistency(min_certainty=0.5)
