"""Before another server: the gateway drives its completions, and lets go of them at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from gateways import MODEL, QUESTION, Client, joined, listening, served

from s1x.engine.openai import OpenAI

END = 30
"""The upstream model ends its thinking after N tokens, and its answer after four."""


class Upstream:
    """A completions server that streams token ids, slowly once it is told to."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.app.add_api_route("/v1/completions", self.complete, methods=["POST"])
        self.gate = asyncio.Event()
        self.gate.set()
        self.bodies: list[dict[str, Any]] = []
        self.open = 0

    async def complete(self, request: Request) -> StreamingResponse:
        self.bodies.append(await request.json())
        return StreamingResponse(self.events(self.bodies[-1]), media_type="text/event-stream")

    async def events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        self.open += 1
        stops = body["stop_token_ids"]
        try:
            for i in range(body["max_tokens"]):
                await self.gate.wait()
                await asyncio.sleep(0)
                ended = i == (END if len(stops) > 2 else 4)
                token = stops[0] if ended else 100 + i % 7
                choice = {"index": 0, "text": "?", "token_ids": [token]}
                yield f"data: {json.dumps({'choices': [choice]})}\n\n"
                if ended:
                    break
            yield "data: [DONE]\n\n"
        finally:
            self.open -= 1


async def with_upstream(test: Any) -> None:
    upstream = Upstream()
    async with listening(upstream.app) as url:
        engine = OpenAI(base_urls=[f"{url}/v1"]).start(MODEL)
        async with served(engine) as client:
            await test(client, upstream)


def test_a_policy_is_kept_before_a_server_that_knows_none() -> None:
    async def ask(client: Client, upstream: Upstream) -> None:
        wish = {"num_waits": 2, "max_thinking_tokens": 80}
        whole = await client.chat(budget=wish)
        said = whole["s1x"]
        assert (said["num_waits"], said["end_reason"]) == (2, "cut")
        assert said["thinking_tokens"] == 80
        chunks = await client.stream(budget=wish)
        assert joined(chunks, "content") == whole["choices"][0]["message"]["content"]
        # no budget is asked of the server: it is driven by ids
        known = {"model", "prompt", "max_tokens", "temperature", "stream", "return_token_ids"}
        assert all("budget" not in key for body in upstream.bodies for key in set(body) - known)
        assert all(isinstance(body["prompt"][0], int) for body in upstream.bodies)

    asyncio.run(with_upstream(ask))


def test_a_client_that_hangs_up_frees_the_server() -> None:
    async def ask(client: Client, upstream: Upstream) -> None:
        upstream.gate.clear()
        body = {"messages": [{"role": "user", "content": QUESTION}], "stream": True}
        asking = asyncio.ensure_future(client.post("/v1/chat/completions", body))
        while not upstream.open:
            await asyncio.sleep(0.001)
        asking.cancel()
        while upstream.open:
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(with_upstream(ask), 60))


def test_a_server_that_is_gone_is_an_error_object() -> None:
    async def ask() -> None:
        engine = OpenAI(base_urls=["http://127.0.0.1:9/v1"], max_tries=1).start(MODEL)
        async with served(engine) as client:
            body = {"messages": [{"role": "user", "content": QUESTION}]}
            reply = await client.post("/v1/chat/completions", body)
            assert reply.status_code == 500
            assert "engine" in reply.json()["error"]["message"]
            chunks = await client.stream()
            assert "engine" in chunks[-1]["error"]["message"]

    asyncio.run(ask())
