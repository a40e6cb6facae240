"""One question and its answer: whole and as a stream, under every policy."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from gateways import (
    MODEL,
    NAMES,
    QUESTION,
    SHORT_QUESTION,
    budget,
    gateway,
    joined,
    presets,
    served,
)

from s1x.budget.rollout import Trace, rollout
from s1x.engine.engine import LiveEngine, Sampling
from s1x.traces.store import TraceStore
from s1x.traces.streams import Streams


def trace_of(engine: LiveEngine, policy: Any) -> Trace:
    """What evaluation would write."""
    chat = gateway(engine).prompts.conversation([{"role": "user", "content": QUESTION}], policy)
    streams = Streams(engine, TraceStore(None, "m"), Sampling())
    return asyncio.run(rollout(policy, chat, streams.of("0")))


@pytest.mark.parametrize("name", [n for n in NAMES if n != "rejection_sampling"])
def test_a_reply_is_the_trace_of_its_policy_whole_or_streamed(
    puzzle: LiveEngine, name: str
) -> None:
    trace = trace_of(puzzle, presets()[name])
    decode = gateway(puzzle).prompts.format.decode

    async def both() -> tuple[Any, list[dict[str, Any]]]:
        async with served(puzzle) as client:
            model = f"{MODEL.name}@{name}"
            whole = await client.chat(model=model)
            options = {"include_usage": True}
            return whole, await client.stream(model=model, stream_options=options)

    whole, chunks = asyncio.run(both())
    message = whole["choices"][0]["message"]
    assert message.get("reasoning_content", "") == decode(trace.thinking_ids)
    assert message["content"] == decode(trace.answer_ids)
    for field in ("reasoning_content", "reasoning", "content"):
        assert joined(chunks, field) == message.get(field, "")
    assert whole["usage"]["completion_tokens"] == len(trace.token_ids)
    details = whole["usage"]["completion_tokens_details"]
    assert details["reasoning_tokens"] == trace.part_tokens["thinking"]
    for usage in (chunks[-1]["usage"], whole["usage"]):
        usage.pop("prompt_tokens_details", None)  # the second time it is all there
    assert chunks[-1]["usage"] == whole["usage"]
    said = whole["s1x"]
    assert said["end_reason"] == trace.outcome.end_reason
    assert said["probe_tokens"] == sum(len(ids) for _, ids in trace.probes)
    covered = [i for s in said["forced_spans"] for i in range(s["start"], s["end"])]
    assert covered == [i for i, forced in enumerate(trace.forced) if forced]
    finish = whole["choices"][0]["finish_reason"]
    assert finish == ("length" if trace.answer_cut else "stop")
    last = next(c for c in chunks if c["choices"] and c["choices"][0]["finish_reason"])
    assert last["choices"][0]["finish_reason"] == finish
    assert {k: v for k, v in last["s1x"].items() if k != "seconds"} == {
        k: v for k, v in said.items() if k != "seconds"
    }


def test_forced_tokens_are_marked_in_the_stream(puzzle: LiveEngine) -> None:
    async def ask() -> list[dict[str, Any]]:
        async with served(puzzle) as client:
            return await client.stream(SHORT_QUESTION, budget={"num_waits": 2})

    chunks = asyncio.run(ask())
    said = [(chunk, chunk["s1x"]) for chunk in chunks if "part" in chunk.get("s1x", {})]
    waits = [joined([c], "reasoning") for c, s in said if s["forced"] and s["part"] == "thinking"]
    assert waits == ["Wait", "Wait"]
    tokens = sum(s["tokens"] for _, s in said)
    parts = chunks[-1]["s1x"]
    assert tokens == sum(parts[f"{p}_tokens"] for p in ("thinking", "delimiter", "cue", "answer"))
    assert sum(s["tokens"] for _, s in said if s["forced"]) == parts["forced_tokens"]


def test_rejected_tries_are_never_seen(puzzle: LiveEngine) -> None:
    async def ask() -> list[dict[str, Any]]:
        async with served(puzzle) as client:
            wish = {"policy": "rejection_sampling", "max_thinking_tokens": 12, "max_tries": 3}
            return await client.stream(budget=wish, seed=1)

    chunks = asyncio.run(ask())
    said = chunks[-1]["s1x"]
    assert said["num_tries"] == 3
    assert said["discarded_tokens"] == 24
    thinking = [c["s1x"] for c in chunks if c.get("s1x", {}).get("part") == "thinking"]
    assert sum(s["tokens"] for s in thinking) == said["thinking_tokens"] == 12


def test_a_larger_budget_goes_on_with_the_stored_trace(puzzle: LiveEngine, tmp_path: Path) -> None:
    async def ask(tokens: int) -> tuple[str, int]:
        async with served(puzzle, store=tmp_path) as client:
            reply = await client.chat(budget={"max_thinking_tokens": tokens})
            text = reply["choices"][0]["message"]["reasoning_content"]
            return text, client.gate.streams.counts.generated_tokens

    short, _ = asyncio.run(ask(20))
    long, generated = asyncio.run(ask(30))
    again, nothing = asyncio.run(ask(30))
    assert long.startswith(short)
    assert generated <= 10 + 24
    assert (again, nothing) == (long, 0)


def test_sampled_requests_are_their_own_unless_they_name_a_seed(puzzle: LiveEngine) -> None:
    async def ask() -> list[list[str]]:
        async with served(puzzle) as client:
            limits = {"max_thinking_tokens": 24, "min_thinking_tokens": 24, "wait_string": ""}
            wish: dict[str, Any] = {"temperature": 8.0, "budget": limits}
            seeds: list[dict[str, Any]] = [{}, {}, {"seed": 7}, {"seed": 7}, {"n": 3}]
            replies = [await client.chat(**wish, **seed) for seed in seeds]
            again = await client.chat(**wish, seed=replies[0]["s1x"]["sampling"]["seed"])
            texts = [
                [c["message"].get("reasoning_content", "") for c in r["choices"]]
                for r in (*replies, again)
            ]
            assert await client.refused(n=2) == (
                "n (2) answers at temperature 0 would all be the same; give a temperature above 0"
            )
            return texts

    one, two, seven, seven_again, three, one_again = asyncio.run(ask())
    assert one != two
    assert seven == seven_again
    assert len(set(three)) == 3
    assert one == one_again  # the seed that was drawn is told


def test_a_stop_string_ends_the_answer_and_never_the_thinking(puzzle: LiveEngine) -> None:
    async def ask() -> tuple[Any, Any, list[dict[str, Any]]]:
        async with served(puzzle) as client:
            plain = await client.chat(budget={"max_thinking_tokens": 40})
            wish: dict[str, Any] = {"budget": {"max_thinking_tokens": 40}, "stop": ["6", "\n"]}
            return plain, await client.chat(**wish), await client.stream(**wish)

    plain, stopped, chunks = asyncio.run(ask())
    message = stopped["choices"][0]["message"]
    whole = plain["choices"][0]["message"]
    assert "\n" in message["reasoning_content"] == whole["reasoning_content"]
    cue = "Final Answer:"
    after = whole["content"].removeprefix(cue)
    cut = min(after.index(stop) for stop in ("6", "\n") if stop in after)
    assert message["content"] == cue + after[:cut] == joined(chunks, "content")
    assert stopped["choices"][0]["finish_reason"] == "stop"


def test_max_tokens_hold_thinking_delimiters_and_answer(puzzle: LiveEngine) -> None:
    async def ask() -> None:
        async with served(puzzle) as client:
            for limit in (10, 30, 64):
                for field in ("max_tokens", "max_completion_tokens"):
                    wish: dict[str, Any] = {field: limit}
                    reply = await client.chat(**wish)
                    assert reply["usage"]["completion_tokens"] <= limit
                    assert reply["choices"][0]["message"]["content"]
                    assert budget(reply)["limited_by"] == field
            sentence = await client.refused(max_tokens=3)
            assert sentence.startswith("max_tokens must be 8 or more (delimiters, and")
            assert "disagree" in await client.refused(max_tokens=30, max_completion_tokens=31)

    asyncio.run(ask())


def test_thinking_can_be_merged_hidden_or_named_once(puzzle: LiveEngine) -> None:
    async def ask() -> None:
        async with served(puzzle) as client:
            wish: dict[str, Any] = {"budget": {"max_thinking_tokens": 20}}
            both = (await client.chat(**wish))["choices"][0]["message"]
            for fields in ({"reasoning_format": "none"}, {"separate_reasoning": False}):
                merged = (await client.chat(**wish, **fields))["choices"][0]["message"]
                text = f"<think>{both['reasoning']}</think>{both['content']}"
                assert merged["content"] == text
                assert "reasoning" not in merged
                assert joined(await client.stream(**wish, **fields), "content") == text
            one = await client.chat(**wish, reasoning_format="reasoning")
            assert set(one["choices"][0]["message"]) == {"role", "content", "refusal", "reasoning"}
            hidden = await client.chat(**wish, include_reasoning=False)
            assert set(hidden["choices"][0]["message"]) == {"role", "content", "refusal"}
            assert hidden["usage"]["completion_tokens_details"]["reasoning_tokens"] == 20

    asyncio.run(ask())


def test_completions_go_on_from_markup_or_ids(puzzle: LiveEngine) -> None:
    markup = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"

    async def ask() -> None:
        async with served(puzzle) as client:
            chat = await client.chat(budget={"max_thinking_tokens": 20})
            ids = client.gate.prompts.format.encode(markup)
            opened = markup + MODEL.thinking_start
            for prompt in (markup, list(ids), opened, [markup, list(ids)]):
                body = {"prompt": prompt, "budget": {"max_thinking_tokens": 20}}
                reply = (await client.post("/v1/completions", body)).json()
                assert reply["object"] == "text_completion"
                message = chat["choices"][0]["message"]
                for choice in reply["choices"]:
                    assert choice["text"] == message["content"]
                    assert choice["reasoning_content"] == message["reasoning_content"]
            assert [c["index"] for c in reply["choices"]] == [0, 1]

    asyncio.run(ask())


def test_each_of_several_prompts_has_its_own_limit(puzzle: LiveEngine) -> None:
    async def ask() -> tuple[Any, Any, Any]:
        async with served(puzzle) as client:
            short, long = "Find x. ", "Find x. " * 9
            replies = [
                await client.post("/v1/completions", {"prompt": prompt, "temperature": 1, "n": 2})
                for prompt in (short, long, [short, long])
            ]
            assert "x-s1x-thinking-limit" not in replies[2].headers
            return tuple(reply.json() for reply in replies)

    short, long, both = asyncio.run(ask())
    assert budget(short)["limited_by"] == "context"
    limits = [budget(reply)["thinking_limit_tokens"] for reply in (short, long)]
    assert limits[0] > limits[1]
    assert not {"thinking_limit_tokens", "limited_by"} & set(budget(both))
    said = [choice["thinking_limit_tokens"] for choice in both["s1x"]["choices"]]
    assert said == [limits[0], limits[0], limits[1], limits[1]]


def test_cached_prompt_tokens_are_counted(puzzle: LiveEngine, tmp_path: Path) -> None:
    question = "At which x is 9x+1 equal to 22 (mod 23)?"  # no other test has asked it

    async def ask() -> None:
        async with served(puzzle, store=tmp_path) as client:

            async def counts(asked: str, **wish: Any) -> tuple[int, int]:
                usage = (await client.chat(asked, **wish))["usage"]
                return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]

            long = asyncio.ensure_future(counts(question))
            while client.gate.streams.counts.generated_tokens < 5:
                await asyncio.sleep(0.001)
            # another prompt finds the beginning that both have
            other, shared = await counts(question + " Find x.", budget={"max_thinking_tokens": 5})
            assert 10 < shared < other
            prompt, cached = await long
            assert cached < 10
            assert await counts(question) == (prompt, prompt)  # it came out of the store

    asyncio.run(ask())


def test_a_budget_that_is_told_needs_a_users_turn(puzzle: LiveEngine) -> None:
    async def ask() -> tuple[int, str]:
        async with served(puzzle) as client:
            wish = {"policy": "token_conditional", "max_thinking_tokens": 20}
            reply = await client.post("/v1/completions", {"prompt": "a", "budget": wish})
            return reply.status_code, reply.json()["error"]["message"]

    status, said = asyncio.run(ask())
    assert status == 400
    assert "prompt has no user's turn" in said


def test_a_request_says_how_thinking_is_closed(puzzle: LiveEngine) -> None:
    async def ask() -> list[Any]:
        limit: dict[str, Any] = {"policy": "budget_forcing", "max_thinking_tokens": 20}
        async with served(puzzle) as client:
            refused = await client.refused(budget={**limit, "closing": "abruptly"})
            assert "budget.closing must be one of delimiter, sentence, line_end" in refused
            asked = [
                {"closing": "delimiter"},
                {"closing": "sentence", "closing_sentence": "no time left"},
                {"closing": "line_end"},
            ]
            return [(await client.chat(budget={**limit, **way}))["s1x"] for way in asked]

    plain, sentence, line = asyncio.run(ask())
    assert [said["end_reason"] for said in (plain, sentence)] == ["cut", "cut"]
    assert sentence["delimiter_tokens"] == plain["delimiter_tokens"] + 4  # and its newline
    assert sentence["thinking_tokens"] == plain["thinking_tokens"] == 20
    assert line["thinking_tokens"] <= line["budget"]["thinking_limit_tokens"] == 22


def test_an_answer_at_once_has_no_room_for_thinking(puzzle: LiveEngine) -> None:
    async def ask() -> Any:
        async with served(puzzle) as client:
            return budget(await client.chat(model=f"{MODEL.name}@direct_answer"))

    said = asyncio.run(ask())
    assert (said["thinking_limit_tokens"], said["limited_by"]) == (0, "budget")
