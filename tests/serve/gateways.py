"""Gateways for tests: a real server on a free port, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from s1x.budget import Policy
from s1x.budget.budget_forcing import BudgetForcing
from s1x.engine.engine import LiveEngine, Sampling
from s1x.model.model import Model
from s1x.option import option_class
from s1x.scorer.scorer import LiveScorer
from s1x.serve.gateway import Gateway
from s1x.serve.policies import Policies
from s1x.serve.prompts import Prompts
from s1x.serve.serve import Serve
from s1x.serve.server import App, listening_socket
from s1x.traces.store import TraceStore

MODEL = Model(
    name="puzzle-base",
    path="package:s1x_puzzles/puzzle_base",
    dtype="float32",
    context_tokens=512,
    direct_prompt="{question}\nAnswer:",
)
QUESTION = "Find x with 7x+3 = 5 (mod 31)."
#: its natural trace has some 30 tokens
SHORT_QUESTION = "x/7 leaves 3, x/11 leaves 5. Find x."
EFFORTS: dict[str, int | None] = {"none": 0, "low": 16, "medium": 48, "high": 96, "max": None}
NAMES = (
    *(
        "budget_forcing",
        "wait_window",
        "early_exit",
        "rejection_sampling",
        "unlimited",
    ),
    *("token_conditional", "step_conditional", "class_conditional", "direct_answer"),
)


def presets() -> dict[str, Policy]:
    found = {}
    for name in NAMES:
        cls: Any = option_class("budget", name, "budget")
        found[name] = cls(max_answer_tokens=24)
    return found


def gateway(
    engine: LiveEngine,
    settings: Serve | None = None,
    store: Path | None = None,
    scorer: LiveScorer | None = None,
    confidence: bool = False,
    **own: Any,
) -> Gateway:
    prompts = Prompts(MODEL)
    policy = BudgetForcing(max_answer_tokens=24, **own)
    traces = TraceStore(store, "puzzle", end_ids=prompts.format.end_ids if confidence else None)
    policies = Policies("budget_forcing", policy, presets(), (settings or Serve()).efforts)
    return Gateway(engine, prompts, policies, Sampling(), traces, settings or Serve(), scorer)


@contextlib.asynccontextmanager
async def served(
    engine: LiveEngine, settings: Serve | None = None, store: Path | None = None, **own: Any
) -> AsyncIterator[Client]:
    """A client of a running server."""
    settings = settings or Serve(efforts=EFFORTS)
    gate = gateway(engine, settings, store, **own)
    async with listening(App(gate, settings).build()) as url:
        try:
            async with httpx.AsyncClient(base_url=url, timeout=60) as http:
                yield Client(http, gate)
        finally:
            gate.store.close()


@contextlib.asynccontextmanager
async def listening(app: Any) -> AsyncIterator[str]:
    """The address of an application that runs in this loop."""
    sock = listening_socket(Serve(port=0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, log_level="warning", lifespan="off")
    )
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.ensure_future(server.serve(sockets=[sock]))
    while not server.started:
        await asyncio.sleep(0.001)
    try:
        yield "http://{}:{}".format(*sock.getsockname()[:2])
    finally:
        server.should_exit = server.force_exit = True
        await task


class Client:
    """Asks a gateway."""

    def __init__(self, http: httpx.AsyncClient, gate: Gateway) -> None:
        self.http, self.gate = http, gate

    async def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        return await self.http.post(path, content=content, headers=headers, **more)

    async def chat(self, question: str = QUESTION, path: str = "/v1", **fields: Any) -> Any:
        """A whole reply."""
        body = {"messages": [{"role": "user", "content": question}], **fields}
        reply = await self.post(f"{path}/chat/completions", body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def refused(self, **fields: Any) -> str:
        """The sentence of a refusal."""
        body = {"messages": [{"role": "user", "content": QUESTION}], **fields}
        reply = await self.post("/v1/chat/completions", body)
        assert reply.status_code == 400, reply.text
        return str(reply.json()["error"]["message"])

    async def stream(
        self, question: str = QUESTION, path: str = "/v1", **fields: Any
    ) -> list[dict[str, Any]]:
        """The chunks of a stream, which ends in [DONE]."""
        body = {"messages": [{"role": "user", "content": question}], "stream": True, **fields}
        found, ends = [], []
        async with self.http.stream("POST", f"{path}/chat/completions", json=body) as reply:
            assert reply.status_code == 200, await reply.aread()
            async for line in reply.aiter_lines():
                if line == "data: [DONE]":
                    ends.append(line)
                elif line.startswith("data: "):
                    assert not ends, "something came after the end"
                    found.append(json.loads(line.removeprefix("data: ")))
        assert ends, "the stream has no end"
        return found


def joined(chunks: list[dict[str, Any]], field: str, index: int = 0) -> str:
    """The text of one field of a stream's deltas."""
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(c["delta"].get(field, "") for c in choices if c["index"] == index)


def budget(reply: Mapping[str, Any]) -> Any:
    """What a reply says of its budget."""
    return reply["s1x"]["budget"]
