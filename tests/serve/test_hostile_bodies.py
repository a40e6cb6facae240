"""Two thousand bodies that no client should send: each is refused in a sentence."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from gateways import MODEL, QUESTION, served

from s1x.engine.scripted import ScriptedEngine
from s1x.serve.dialects import DIALECTS

WRONG: tuple[Any, ...] = (
    *(-1, 0.5, 1e308, 10**400, "", "x", "\u0000", "<|im_end|>", "\U0001f469" * 50),
    *([], [[]], {}, {"a": {}}, [None], {"policy": None}, True, False, ["user"], "${oc.env:HOME}"),
)
FIELDS = (
    *("model", "messages", "stream", "stream_options", "n", "temperature", "top_p", "seed", "stop"),
    *(
        "max_tokens",
        "max_completion_tokens",
        "budget",
        "tools",
        "tool_choice",
        "prompt",
        "logprobs",
    ),
    *("reasoning_format", "include_reasoning", "separate_reasoning", "response_format", "best_of"),
    *("logit_bias", "metadata", "user", "echo", "whatever", "budget_tokens", "\ud800", ""),
    *(dialect.field for dialect in DIALECTS),
)


def bodies(count: int) -> Iterator[tuple[str, bytes]]:
    """(path, body), drawn with a fixed seed."""
    draw = random.Random(0)
    for _ in range(count):
        path = draw.choice(
            ("/v1/chat/completions", "/v1/completions", "/v1/early_exit/completions")
        )
        yield path, draw.choice((broken_text, deep, wrong_field, wrong_field, wrong_message))(draw)


def good() -> dict[str, Any]:
    return {"model": MODEL.name, "messages": [{"role": "user", "content": QUESTION}]}


def as_bytes(body: Any) -> bytes:
    return json.dumps(body).encode("utf-8", "surrogatepass")


def broken_text(draw: random.Random) -> bytes:
    """JSON that is cut, has noise in it, is in another encoding, says a thing twice or NaN."""
    whole = as_bytes(good())
    at = draw.randrange(len(whole))
    noise = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 9)))
    return draw.choice(
        (
            whole[:at],
            whole[:at] + b"\xff" + noise + whole[at:],
            json.dumps(good()).encode("utf-16"),
            noise,
            b'{"n": 1, "n": 2}',
            b'{"temperature": NaN}',
            b'{"temperature": 1e999, "messages": [{"role": "user", "content": "1"}]}',
            b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
            b'{"seed": ' + b"9" * 5000 + b"}",
            b'"text"',
            b"[1]",
            b"null",
            b"",
        )
    )


def deep(draw: random.Random) -> bytes:
    """Nested past what is sensible, somewhere in the body."""
    depth = draw.choice((50, 500, 5_000, 100_000))
    nest = draw.choice((b"[", b'{"a":'))
    inner = nest * depth + b"1" + (b"]" if nest == b"[" else b"}") * depth
    field = draw.choice((b"messages", b"budget", b"tools", b"stop", b"prompt", b"reasoning"))
    return b'{"' + field + b'": ' + inner + b"}"


def wrong_field(draw: random.Random) -> bytes:
    """A good body with a field or two of the wrong kind."""
    body = good()
    for _ in range(draw.choice((1, 1, 2))):
        keys = draw.choice(FIELDS).split(".")
        value = draw.choice(WRONG)
        for key in reversed(keys):
            value = {key: value}
        body |= value
    return as_bytes(body)


def wrong_message(draw: random.Random) -> bytes:
    """A conversation that is none."""
    message: dict[str, Any] = {"role": "user", "content": "1"}
    key = draw.choice(("role", "content", "tool_calls", "reasoning_content", "bad"))
    message[key] = draw.choice(WRONG)
    end = draw.choice(([], [{"role": "assistant", "content": "2"}], [{"content": "2"}], [7]))
    return as_bytes({**good(), "messages": [message, *end]})


@pytest.mark.timeout(600)
def test_hostile_bodies_are_refused_in_a_sentence(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # another test may have left a log handler whose stream is closed: its complaint is not ours
    monkeypatch.setattr(logging, "raiseExceptions", False)
    engine = ScriptedEngine(lambda ids, request: request.stop[0][0])
    statuses: Counter[int] = Counter()

    async def ask() -> None:
        async with served(engine) as client:

            async def one(path: str, body: bytes) -> None:
                reply = await client.post(path, body)
                statuses[reply.status_code] += 1
                if reply.status_code == 200:
                    return  # some of the wrong ones happen to be right
                assert 400 <= reply.status_code < 500, (body[:300], reply.text[:300])
                error = reply.json()["error"]
                assert 5 < len(error["message"]) < 2_000, body[:300]
                assert error["message"].strip().count("\n") == 0, error["message"]
                assert "Traceback" not in reply.text

            waiting = list(bodies(2_000))
            for start in range(0, len(waiting), 50):
                await asyncio.gather(*(one(*item) for item in waiting[start : start + 50]))
            # and it still answers
            assert (await client.chat(budget={"max_thinking_tokens": 5}))["usage"]
            assert not client.gate.open

    asyncio.run(ask())
    said = capfd.readouterr()
    assert "Traceback" not in said.out + said.err
    assert statuses[200] < 200, statuses
    assert sum(statuses.values()) == 2_000
