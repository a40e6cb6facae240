"""A request whose policy runs many traces is answered by the one that is chosen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import gateways
import pytest
from gateways import MODEL, QUESTION, Client, budget, gateway, joined, served

from s1x.budget.wait_gate import WaitGate
from s1x.engine.engine import LiveEngine, Sampling
from s1x.scorer.scorer import LiveScorer, Scored
from s1x.search.adaptive_consistency import AdaptiveConsistency
from s1x.search.group import CountingReader
from s1x.search.majority_vote import MajorityVote
from s1x.search.rebase import Rebase
from s1x.search.search import Search
from s1x.search.short_m_at_k import ShortMAtK
from s1x.search.weighted_vote import WeightedVote

COMMON: dict[str, Any] = {"max_thinking_tokens": 60, "max_answer_tokens": 12}
POLICIES: dict[str, Search] = {
    "weighted_vote": WeightedVote(**COMMON),
    "majority_vote": MajorityVote(**COMMON),
    "rebase": Rebase(num_traces=3, **COMMON),
    "adaptive_consistency": AdaptiveConsistency(num_traces=3, **COMMON),
    "short_m_at_k": ShortMAtK(num_traces=5, num_finished=2, **COMMON),
}
GATE = WaitGate(max_answer_tokens=24)


class Evens(LiveScorer):
    """Likes traces with an even last id, and keeps what it was asked."""

    def __init__(self) -> None:
        self.questions: set[str] = set()

    async def score(self, question: str, ids: Sequence[int], ends: Sequence[int]) -> Scored:
        self.questions.add(question)
        return Scored(tuple(0.9 if ids[end - 1] % 2 == 0 else 0.1 for end in ends), len(ids))


@pytest.fixture(autouse=True)
def _presets(monkeypatch: pytest.MonkeyPatch) -> None:
    own = gateways.presets()
    monkeypatch.setattr(gateways, "presets", lambda: {**own, **POLICIES, "wait_gate": GATE})


@pytest.mark.parametrize("name", list(POLICIES))
def test_the_chosen_trace_is_the_reply(puzzle: LiveEngine, name: str) -> None:
    wish: dict[str, Any] = {"model": f"{MODEL.name}@{name}", "seed": 5}

    async def both() -> tuple[Any, list[dict[str, Any]]]:
        async with served(puzzle, scorer=Evens()) as client:
            options = {"include_usage": True}
            return await client.chat(**wish), await client.stream(**wish, stream_options=options)

    async def alone() -> Any:
        gate = gateway(puzzle, scorer=Evens())
        turn: list[Any] = [{"role": "user", "content": QUESTION}]
        chat = gate.prompts.conversation(turn, POLICIES[name])
        sampling = Sampling(1.0, 1.0, 5)
        reader = CountingReader(gate._reader(sampling, chat))
        trace, books = await gate.searches.run(POLICIES[name], chat, turn, reader, 0)
        return trace, books, gate.prompts.format.decode

    whole, chunks = asyncio.run(both())
    trace, books, decode = asyncio.run(alone())
    message, said, usage = whole["choices"][0]["message"], whole["s1x"], whole["usage"]
    assert message.get("reasoning_content", "") == decode(trace.thinking_ids)
    assert message["content"] == decode(trace.answer_ids) == joined(chunks, "content")
    assert joined(chunks, "reasoning_content") == message.get("reasoning_content", "")
    assert said["num_traces"] == books.num_traces > 1
    assert said["scorer_tokens"] == books.scorer_tokens
    assert (books.scorer_tokens > 0) is POLICIES[name].needs_scorer
    # all that was written is counted: the reply, and the other traces as thinking
    forced = sum(trace.forced)
    assert usage["completion_tokens"] == books.total_tokens + forced
    reply = len(trace.token_ids) - trace.part_tokens["thinking"]
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    assert reasoning == usage["completion_tokens"] - reply
    assert chunks[-1]["usage"]["completion_tokens"] == usage["completion_tokens"]
    assert budget(whole)["thinking_limit_tokens"] == 60
    assert whole["s1x"]["sampling"]["temperature"] == 1.0


def test_the_scorer_reads_the_last_users_turn(puzzle: LiveEngine) -> None:
    scorer = Evens()

    async def ask() -> None:
        async with served(puzzle, scorer=scorer) as client:
            await client.chat(model=f"{MODEL.name}@rebase")
            body = {"prompt": "a", "budget": {"policy": "rebase"}}
            reply = await client.post("/v1/completions", body)
            assert reply.status_code == 400
            assert "the scorer reads the last user's turn" in reply.json()["error"]["message"]

    asyncio.run(ask())
    assert scorer.questions == {QUESTION}


def test_what_cannot_be_searched_is_refused(puzzle: LiveEngine) -> None:
    async def ids(client: Client) -> set[str]:
        models = (await client.http.get("/v1/models")).json()["data"]
        return {model["id"].partition("@")[2] for model in models}

    async def ask() -> None:
        async with served(puzzle) as client:
            assert "without scorer=" in await client.refused(budget={"policy": "rebase"})
            offered = await ids(client)
            assert "majority_vote" in offered
            assert "rebase" not in offered
            vote = {"policy": "majority_vote", "num_traces": 9}
            assert "serve.max_samples allows 16" in await client.refused(budget=vote, n=2)
            reply = await client.chat(budget={"policy": "majority_vote", "num_traces": 2})
            assert reply["s1x"]["scorer_tokens"] == 0
            assert (
                await client.post("/v1/completions", {"prompt": "a", "budget": vote})
            ).is_success
        async with served(puzzle, scorer=Evens()) as client:
            assert "rebase" in await ids(client)

    asyncio.run(ask())


def test_a_search_that_nobody_waits_for_stops(puzzle: LiveEngine) -> None:
    async def hang_up() -> None:
        written = puzzle.usage.generated_tokens
        async with served(puzzle, scorer=Evens()) as client:
            limits = {"policy": "weighted_vote", "max_thinking_tokens": 300}
            asking = asyncio.ensure_future(client.chat(budget=limits, temperature=9))
            while puzzle.usage.generated_tokens < written + 20:
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            gone = puzzle.usage.generated_tokens
            while client.gate.open:
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            assert puzzle.usage.generated_tokens <= gone + 4  # one step of four traces

    asyncio.run(hang_up())


def test_what_looks_at_confidence_is_served_where_it_is_kept(puzzle: LiveEngine) -> None:
    asked = {"policy": "wait_gate", "min_entropy_nats": 0, "max_waits": 1}

    async def run() -> None:
        async with served(puzzle) as client:
            assert "without sampling.confidence=true" in await client.refused(budget=asked)
        async with served(puzzle, confidence=True) as client:
            gated = await client.chat(budget=asked)
            forced = await client.chat(budget={"policy": "budget_forcing", "num_waits": 1})
            same = ("content", "reasoning_content")
            assert [gated["choices"][0]["message"][name] for name in same] == [
                forced["choices"][0]["message"][name] for name in same
            ]

    asyncio.run(run())
