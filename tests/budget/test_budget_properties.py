"""What holds for every policy over random streams, delimiters of 1-4 tokens and any limit."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from policy_bench import END_OF_TURN, WAIT, Bench, chat_format, decode, encode

from s1x.budget.budget_forcing import BudgetForcing
from s1x.budget.class_conditional import ClassConditional
from s1x.budget.direct_answer import DirectAnswer
from s1x.budget.early_exit import EarlyExit
from s1x.budget.policy import DELIMITER, THINKING, Policy
from s1x.budget.rejection_sampling import RejectionSampling
from s1x.budget.rollout import Trace
from s1x.budget.step_conditional import StepConditional
from s1x.budget.thinking import CLOSINGS
from s1x.budget.token_conditional import TokenConditional
from s1x.budget.unlimited import Unlimited
from s1x.budget.wait_window import WaitWindow
from s1x.model.chat_format import Chat
from s1x.rows import CUT, NATURAL, TRUNCATED

PROMPT = (50, 51, 52)
BOUNDS: dict[str, Any] = {"max_answer_tokens": 6, "answer_reserve_tokens": 5}
limits = st.one_of(st.none(), st.integers(0, 150))
wait_strings = st.sampled_from(["Wait", "Hmm wait", ""])
delimiters = st.sampled_from([(7,), (7, 8), (7, 7, 8), (8, 7, 8, 9)])


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any policy with any settings."""
    limit, wait = draw(limits), draw(wait_strings)
    small = draw(st.integers(0, 3))
    common: dict[str, Any] = {
        **BOUNDS,
        "closing": draw(st.sampled_from(CLOSINGS)),
        "closing_sentence": "bye",
    }
    kind = draw(st.integers(0, 8))
    if kind == 0:
        least = draw(st.integers(0, limit if limit is not None else 60))
        return BudgetForcing(
            max_thinking_tokens=limit,
            min_thinking_tokens=least,
            num_waits=small,
            wait_string=wait,
            count_flips=draw(st.booleans()),
            **common,
        )
    if kind == 1:
        return Unlimited(**common)
    if kind == 2:
        return TokenConditional(max_thinking_tokens=limit, force=draw(st.booleans()), **common)
    if kind == 3:
        return StepConditional(
            max_steps=small or None, step_tokens=16, force=draw(st.booleans()), **common
        )
    if kind == 4:
        return ClassConditional(max_thinking_tokens=limit, **common)
    if kind == 5:
        return RejectionSampling(max_thinking_tokens=limit, max_tries=4, **common)
    if kind == 6:
        return EarlyExit(check_every_tokens=1 + small * 5, max_thinking_tokens=limit, **common)
    if kind == 7:
        return WaitWindow(
            low_thinking_tokens=small,
            high_thinking_tokens=40,
            target_thinking_tokens=30,
            wait_string=wait,
            **common,
        )
    return DirectAnswer(**common)


def forced_limit(policy: Policy) -> int | None:
    """The limit that the policy enforces, if it does."""
    if isinstance(policy, (TokenConditional, StepConditional)) and not policy.force:
        return None
    return policy.limits()[1]


def check_books(trace: Trace, policy: Policy, chat: Chat) -> None:
    """What must hold of any trace."""
    ids, parts = trace.token_ids, trace.part_tokens
    assert len(ids) == len(trace.forced) == sum(parts.values())
    assert len(trace.prompt_ids) + len(ids) <= chat.format.context_tokens
    limit = forced_limit(policy)
    room = policy.room_tokens(chat)
    assert parts[THINKING] <= room
    assert limit is None or parts[THINKING] <= limit
    assert decode(trace.thinking_ids) + decode(ids[parts[THINKING] :]) == decode(ids)
    outcome = trace.outcome
    if outcome.end_reason == TRUNCATED:
        assert limit is None or limit > room
    delimiter = ids[parts[THINKING] : parts[THINKING] + parts[DELIMITER]]
    start = list(chat.format.answer_start)
    if isinstance(policy, DirectAnswer):
        assert not delimiter
    else:
        closed = [*policy.closing_sentence_ids(chat), *start]
        cut = outcome.end_reason != NATURAL
        assert delimiter in ((closed, [0, *closed]) if cut else (start,))
        assert (outcome.end_reason == NATURAL) == (parts["cue"] == 0)
    assert END_OF_TURN not in trace.answer_ids


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    policy=policies(),
    delimiter=delimiters,
    context=st.integers(4, 120),
    vocabulary=st.integers(9, 30),
    seed=st.integers(0, 10_000),
)
def test_every_policy_keeps_its_limit_and_its_books(
    policy: Policy, delimiter: tuple[int, ...], context: int, vocabulary: int, seed: int
) -> None:
    chat = Chat(chat_format(delimiter, context + 12), PROMPT)
    trace = Bench.random(vocabulary, seed).run([policy], chat)[0]
    check_books(trace, policy, chat)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    chosen=st.lists(policies(), min_size=2, max_size=6),
    delimiter=delimiters,
    context=st.integers(20, 150),
    vocabulary=st.integers(9, 30),
    seed=st.integers(0, 10_000),
)
def test_one_pass_gives_what_separate_runs_give(
    chosen: list[Policy],
    delimiter: tuple[int, ...],
    context: int,
    vocabulary: int,
    seed: int,
) -> None:
    chat = Chat(chat_format(delimiter, context), PROMPT)
    together = Bench.random(vocabulary, seed)
    traces = together.run(chosen, chat)
    alone, separate_tokens = [], 0
    for policy in chosen:
        bench = Bench.random(vocabulary, seed)
        alone.append(bench.run([policy], chat)[0])
        separate_tokens += bench.engine.usage.generated_tokens
    assert [trace.token_ids for trace in traces] == [trace.token_ids for trace in alone]
    assert [trace.outcome for trace in traces] == [trace.outcome for trace in alone]
    assert [trace.forced for trace in traces] == [trace.forced for trace in alone]
    assert together.engine.usage.generated_tokens <= separate_tokens


@settings(max_examples=150, deadline=None)
@given(
    waits=st.integers(0, 5),
    wait_string=wait_strings,
    delimiter=delimiters,
    limit=limits,
    seed=st.integers(0, 10_000),
)
def test_k_waits_are_exactly_k_wait_strings(
    waits: int, wait_string: str, delimiter: tuple[int, ...], limit: int | None, seed: int
) -> None:
    chat = Chat(chat_format(delimiter, 4_000), PROMPT)
    policy = BudgetForcing(
        num_waits=waits, wait_string=wait_string, max_thinking_tokens=limit, **BOUNDS
    )
    trace = Bench.random(14, seed).run([policy], chat)[0]
    forced = [
        token
        for token, was_forced in zip(trace.thinking_ids, trace.forced, strict=False)
        if was_forced
    ]
    done = trace.outcome.num_waits
    assert forced == list(encode(wait_string)) * done
    assert done <= waits
    if limit is None and trace.outcome.end_reason == NATURAL:
        assert done == waits


@pytest.mark.parametrize("vocabulary", [9, 40])
def test_waits_extend_the_trace_with_fewer(vocabulary: int) -> None:
    chat = Chat(chat_format(context_tokens=2_000), PROMPT)
    bench = Bench.random(vocabulary)
    traces = bench.run([BudgetForcing(num_waits=k, **BOUNDS) for k in range(4)], chat)
    for fewer, more in itertools.pairwise(traces):
        assert more.thinking_ids[: len(fewer.thinking_ids) + 1] == [*fewer.thinking_ids, WAIT]


@pytest.mark.parametrize("limit", [0, 1, 7, 20, 60])
def test_a_cut_trace_is_the_beginning_of_the_natural_one(limit: int) -> None:
    chat = Chat(chat_format((7, 8, 9), 400), PROMPT)
    bench = Bench.random(15)
    cut, natural = bench.run(
        [BudgetForcing(max_thinking_tokens=limit, **BOUNDS), Unlimited(**BOUNDS)], chat
    )
    assert cut.thinking_ids == natural.thinking_ids[:limit]
    assert cut.outcome.end_reason in (CUT, NATURAL)
