"""Every way to ask for a budget: what was asked, what is applied, and what is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from gateways import EFFORTS, MODEL, budget, served

from s1x.engine.engine import LiveEngine
from s1x.engine.scripted import ScriptedEngine
from s1x.serve.dialects import DIALECTS, EFFORT, KIND, SWITCH


def nested(field: str, value: object) -> dict[str, Any]:
    """{"a": {"b": value}} of "a.b"."""
    for key in reversed(field.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def script() -> ScriptedEngine:
    """Thinks a while, then ends; the answer is short."""
    return ScriptedEngine(lambda ids, request: request.stop[0][0] if len(ids) > 150 else 100)


def values_of(kind: str, unlimited: bool) -> list[tuple[object, int | None]]:
    """(value, the limit that it must come to) for each kind of field; the own limit is 60."""
    if kind == EFFORT:
        return list(EFFORTS.items())
    if kind == SWITCH:
        return [(False, 0), (True, 60)]
    if kind == KIND:
        return [("disabled", 0), ("enabled", 60), ("adaptive", 60)]
    return [(0, 0), (17, 17), *([(-1, None)] if unlimited else [])]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.field)
def test_every_field_is_applied_and_told(dialect: Any) -> None:
    async def ask() -> None:
        async with served(script(), max_thinking_tokens=60) as client:
            for value, limit in values_of(dialect.value, dialect.unlimited):
                reply = await client.chat(**nested(dialect.field, value))
                said = budget(reply)
                assert said["asked"] == {dialect.field: value}
                assert said["applied"]["max_thinking_tokens"] == limit
                most = said["thinking_limit_tokens"] if limit is None else limit
                details = reply["usage"]["completion_tokens_details"]
                assert details["reasoning_tokens"] == min(most, 126)
                changed = value not in (True, "enabled", "adaptive")
                sources = {"max_thinking_tokens": dialect.field} if changed else {}
                assert said["sources"] == sources

    asyncio.run(ask())


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.field)
def test_wrong_values_are_refused_by_name(dialect: Any) -> None:
    async def ask() -> None:
        async with served(script()) as client:
            for value in ("some", -7, 1.5, [], [1], {"much": 1}):
                sentence = await client.refused(**nested(dialect.field, value))
                assert sentence.startswith((f"{dialect.field} must be", f"{dialect.field}.much"))

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"reasoning_effort": "low", "thinking_budget": 99},
            "reasoning_effort ('low') and thinking_budget (99) disagree: max_thinking_tokens would "
            "be 16 and 99; give one",
        ),
        (
            {"enable_thinking": True, "thinking_budget": 0},
            "thinking_budget (0) and enable_thinking (True) disagree",
        ),
        (
            {"reasoning": {"effort": "none", "enabled": True}},
            "reasoning.effort ('none') and reasoning.enabled (True) disagree",
        ),
        (
            {"model": f"{MODEL.name}@max=8", "budget": {"max_thinking_tokens": 9}},
            "model, max (8) and budget.max_thinking_tokens (9) disagree: max_thinking_tokens "
            "would be 8 and 9; give one",
        ),
        (
            {"model": f"{MODEL.name}@early_exit", "budget": {"policy": "unlimited"}},
            "model ('early_exit') and budget.policy ('unlimited') name two budget policies; "
            "name one",
        ),
        (
            {"model": f"{MODEL.name}@wait_window", "thinking_token_budget": 9},
            "thinking_token_budget (9): budget policy wait_window has no max_thinking_tokens; it "
            "has answer_reserve_tokens, ",
        ),
        (
            {"budget": {"num_wait": 2}},
            "budget.num_wait (2): budget policy budget_forcing has no num_wait; did you mean "
            "num_waits?",
        ),
        (
            {"budget": {"num_waits": -1}},
            "budget.num_waits must be 0 or more, got -1; use budget=unlimited",
        ),
        ({"budget": {"num_waits": "${oc.env:HOME}"}}, "budget.num_waits must be a plain value"),
        ({"budget": {"num_waits": "???"}}, "budget.num_waits must be a plain value"),
        ({"budget": {"num_waits": [1]}}, "budget.num_waits ([1]): "),
        ({"budget": {"num_waits": True}}, "budget.num_waits (True): "),
        (
            {"budget": {"policy": "think"}},
            "budget.policy ('think') is not known here; the policies",
        ),
        ({"budget": 100}, "budget must be an object of a policy's settings, got 100"),
        ({"max_thinking_tokens": 5}, "max_thinking_tokens (5) is not known here; did you mean"),
        ({"reasoning": {"tokens": 5}}, "reasoning.tokens (5) is not known here; "),
        ({"chat_template_kwargs": {"foo": 1}}, "chat_template_kwargs.foo (1) is not known here; "),
        ({"model": f"{MODEL.name}@waits"}, "model ('waits') is not known here; the policies are"),
        ({"model": f"{MODEL.name}@waits=x"}, "model, waits ('x'): "),
        (
            {"model": f"{MODEL.name}@direct_answer", "enable_thinking": True},
            "enable_thinking (True) and budget policy direct_answer (direct) disagree: it does not "
            "think; choose another policy or limit",
        ),
        (
            {"model": f"{MODEL.name}@direct_answer", "thinking_token_budget": -1},
            "thinking_token_budget (-1): budget policy direct_answer has no max_thinking_tokens; ",
        ),
        ({"logprobs": True}, "logprobs must be false or 0 here, got True"),
        (
            {"response_format": {"type": "json_object"}},
            """response_format must be {"type": "text"} here, got {'type': 'json_object'}""",
        ),
        (
            {"stream_options": {"continuous_usage_stats": True}},
            "stream_options must be an object with include_usage, got",
        ),
        ({"parallel_tool_calls": False}, "parallel_tool_calls must be true here, got False"),
        (
            {"messages": [{"role": "user", "content": "?", "audio": {"id": "1"}}]},
            "messages[0].audio ({'id': '1'}) is not known here; the known ones are content,",
        ),
        ({"tool_choice": "required"}, "tool_choice must be none or auto without tools, got"),
        ({"model": f"{MODEL.name}@("}, "model must be a policy, or settings such as waits=2"),
    ],
)
def test_what_disagrees_or_is_not_there_is_told_in_a_sentence(
    fields: dict[str, Any], sentence: str
) -> None:
    async def ask() -> str:
        async with served(script()) as client:
            return await client.refused(**fields)

    assert asyncio.run(ask()).startswith(sentence)


@pytest.mark.parametrize(
    ("fields", "path", "applied"),
    [
        ({"model": "{}@budget_forcing(num_waits=2)"}, "/v1", {"num_waits": 2}),
        ({"model": "{}@waits=2,max=50"}, "/v1", {"num_waits": 2, "max_thinking_tokens": 50}),
        ({"model": '{}@wait="Hmm, so"'}, "/v1", {"wait_string": "Hmm, so", "num_waits": 1}),
        ({"model": "{}@low"}, "/v1", {"max_thinking_tokens": 16}),
        ({}, "/v1/budget_forcing", {"num_waits": 1}),
        ({}, "/v1/waits=3", {"num_waits": 3}),
        ({"model": "{}@early_exit(checks=1)"}, "/v1/early_exit", {"num_unchanged_checks": 1}),
        ({"budget": {"policy": "wait_window", "max_waits": 1}}, "/v1", {"max_waits": 1}),
        ({"budget": {"num_waits": 2}, "thinking_budget": 50}, "/v1", {"num_waits": 2}),
        ({"thinking_budget": 50, "reasoning": {"max_tokens": 50}}, "/v1", {"num_waits": 1}),
        ({"reasoning_effort": None, "budget": {}}, "/v1", {"num_waits": 1}),
        ({"enable_thinking": False}, "/v1/direct_answer", {"max_answer_tokens": 24}),
    ],
)
def test_a_policy_is_chosen_by_name_path_or_object(
    fields: dict[str, Any], path: str, applied: dict[str, Any]
) -> None:
    fields = {k: v.format(MODEL.name) if k == "model" else v for k, v in fields.items()}

    async def ask() -> Any:
        async with served(script(), num_waits=1) as client:
            return budget(await client.chat(path=path, **fields))

    said = asyncio.run(ask())
    assert {name: said["applied"][name] for name in applied} == applied


def test_the_page_has_every_field() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
    for dialect in DIALECTS:
        last = dialect.field.rpartition(".")[2]
        assert f"`{dialect.field}`" in page or f"`.{last}`" in page


def test_a_budget_that_is_only_told_is_not_called_a_limit() -> None:
    async def ask() -> None:
        async with served(script()) as client:
            path = "/v1/token_conditional"
            told = await client.chat(path=path, budget={"max_thinking_tokens": 10})
            assert budget(told)["label"] == "told 10"
            assert budget(told)["thinking_limit_tokens"] > 300
            assert told["usage"]["completion_tokens_details"]["reasoning_tokens"] > 10
            forced = await client.chat(path=path, thinking_budget=10)
            assert budget(forced)["thinking_limit_tokens"] == 10
            assert forced["usage"]["completion_tokens_details"]["reasoning_tokens"] == 10

    asyncio.run(ask())


def test_all_sources_are_named(puzzle: LiveEngine) -> None:
    async def ask() -> Any:
        async with served(puzzle) as client:
            wish: dict[str, Any] = {"budget": {"num_waits": 1}, "reasoning_effort": "low"}
            return budget(await client.chat(model=f"{MODEL.name}@budget_forcing", **wish))

    said = asyncio.run(ask())
    assert said["policy"] == "budget_forcing"
    assert said["asked"] == {
        "model": "budget_forcing",
        "budget.num_waits": 1,
        "reasoning_effort": "low",
    }
    assert said["sources"] == {
        "num_waits": "budget.num_waits",
        "max_thinking_tokens": "reasoning_effort",
    }
    assert (said["thinking_limit_tokens"], said["limited_by"]) == (16, "budget")


def test_a_limit_of_the_protocol_is_kept_by_a_policy_that_tells_it(puzzle: LiveEngine) -> None:
    async def ask() -> list[Any]:
        async with served(puzzle) as client:
            model = f"{MODEL.name}@token_conditional"
            return [
                await client.chat(model=model, thinking_token_budget=8),
                await client.chat(model=model, enable_thinking=False),
                await client.chat(model=model, budget={"max_thinking_tokens": 8}),
            ]

    kept, off, told = asyncio.run(ask())
    assert kept["s1x"]["thinking_tokens"] <= 8
    assert budget(kept)["label"] == "told 8, forced"
    assert off["s1x"]["thinking_tokens"] == 0
    assert budget(told)["label"] == "told 8", "the policy's own fields say what they say"


def test_two_values_that_disagree_are_both_named(puzzle: LiveEngine) -> None:
    async def ask() -> str:
        async with served(puzzle) as client:
            return await client.refused(model=f"{MODEL.name}@waits=2,waits=3")

    said = asyncio.run(ask())
    assert "2" in said.split(" and ")[0]
    assert "3" in said.split(" and ")[1]
