"""Policies that look at how sure the model was."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from policy_bench import END_OF_TURN, WAIT, chat_format

from s1x.budget.budget_forcing import BudgetForcing
from s1x.budget.policy import Policy
from s1x.budget.rollout import Trace, rollout
from s1x.budget.wait_gate import WaitGate
from s1x.engine.engine import Sampling
from s1x.engine.scripted import ScriptedEngine, hashed_confidence, random_tokens
from s1x.model.chat_format import Chat, TokenIds
from s1x.rows import CUT, NATURAL
from s1x.traces.confidence import END_RANK, ENTROPY, Confidence
from s1x.traces.store import TraceStore
from s1x.traces.streams import Streams

PROMPT = (50, 51, 52)
SMALL = {"max_answer_tokens": 9, "answer_reserve_tokens": 9}


def expected(prefix: TokenIds, ids: Sequence[int]) -> Confidence:
    whole = [*prefix, *ids]
    places = range(len(prefix) + 1, len(whole) + 1)
    return np.concatenate([hashed_confidence(whole[:end]) for end in places])


def traces_of(
    policy: Policy, number: int = 8, delimiter: TokenIds = (7,), vocabulary_size: int = 12
) -> list[Trace]:
    """One trace each after prompts that differ in their last token."""
    form = chat_format(delimiter)
    store = TraceStore(None, "m", end_ids=form.end_ids)
    streams = Streams(ScriptedEngine(random_tokens(vocabulary_size)), store, Sampling())

    async def all_() -> list[Trace]:
        chats = [Chat(form, (*PROMPT, i)) for i in range(number)]
        return await asyncio.gather(*(rollout(policy, chat, streams.of("p")) for chat in chats))

    return asyncio.run(all_())


@pytest.mark.parametrize("delimiter", [(7,), (7, 8)])
def test_of_a_trace_all_that_the_model_wrote_has_it(delimiter: TokenIds) -> None:
    policy = BudgetForcing(max_thinking_tokens=60, num_waits=2, **SMALL)
    traces = traces_of(policy, delimiter=delimiter)
    assert any(trace.outcome.num_waits for trace in traces) or len(delimiter) > 1
    for trace in traces:
        rows, forced = trace.confidence, np.array(trace.forced)
        assert rows is not None
        assert len(rows) == len(trace.token_ids)
        assert np.isnan(rows[forced]).all()
        known = expected(trace.prompt_ids, trace.token_ids)
        assert np.array_equal(rows[~forced], known[~forced])


def test_a_gate_says_wait_where_the_end_was_written_in_doubt() -> None:
    """By hand, from the values that the scripted engine gives for each end of thinking."""
    always, gated = (
        traces_of(WaitGate(min_entropy_nats=nats, max_waits=2, max_thinking_tokens=80, **SMALL), 24)
        for nats in (0.0, 2.0)
    )
    same = traces_of(BudgetForcing(num_waits=2, max_thinking_tokens=80, **SMALL), 24)
    assert [t.token_ids for t in always] == [t.token_ids for t in same]
    counts = set()
    for trace in gated:
        waits = trace.outcome.num_waits
        counts.add(waits)
        assert waits == expected_waits(trace, 2.0, 2)
    assert counts == {0, 1, 2}


def expected_waits(trace: Trace, nats: float, most: int) -> int:
    """Ends that were dropped: the model's end of thinking stood where "Wait" stands."""
    number = 0
    ends = [i for i, own in enumerate(trace.forced) if own and trace.token_ids[i] == WAIT]
    for end in ends:
        entropies = [
            float(hashed_confidence([*trace.prompt_ids, *trace.token_ids[:end], stop])[0, ENTROPY])
            for stop in (7, END_OF_TURN)
        ]
        assert max(entropies) > nats
        number += 1
    natural = trace.outcome.end_reason == NATURAL
    if natural and number < most:
        last = hashed_confidence([*trace.prompt_ids, *trace.thinking_ids, 7])[0, ENTROPY]
        ended = hashed_confidence([*trace.prompt_ids, *trace.thinking_ids, END_OF_TURN])[0, ENTROPY]
        assert min(last, ended) <= nats
    return number


def test_a_soft_close_waits_until_the_end_is_likely() -> None:
    """By hand: before the first token past the limit where the end was of rank 3 or better."""
    limit, margin, others = 40, 4, (120, (7,), 90)
    common = {"max_thinking_tokens": limit, **SMALL}
    plain = traces_of(BudgetForcing(**common), *others)
    whole = traces_of(BudgetForcing(**{**common, "max_thinking_tokens": 60}), *others)
    soft = traces_of(BudgetForcing(closing="soft", **common), *others)
    lengths = set()
    for cut, long, found in zip(plain, whole, soft, strict=True):
        if cut.outcome.end_reason != CUT or len(long.thinking_ids) < limit + margin:
            continue
        known = expected(found.prompt_ids, long.thinking_ids)
        likely = [i for i in range(limit, limit + margin) if known[i, END_RANK] <= 3]
        length = likely[0] if likely else limit + margin
        assert found.thinking_ids == long.thinking_ids[:length]
        assert found.outcome.end_reason == CUT
        lengths.add(length)
    assert lengths == {40, 41, 42, 43, 44}
    policy = BudgetForcing(closing="soft", **common)
    assert policy.limits() == (None, limit + margin)
    assert policy.reads_confidence
    assert not BudgetForcing(**common).reads_confidence
