"""The gateway before a real vLLM server (its CPU build), by engine=openai."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gateways import MODEL, QUESTION, SHORT_QUESTION, joined, served

from s1x.budget.budget_forcing import BudgetForcing
from s1x.engine.engine import LiveEngine, Request
from s1x.engine.live import run_in_loop
from s1x.engine.openai import OpenAI
from s1x.serve.prompts import Prompts

pytestmark = pytest.mark.vllm
BUDGETS: list[dict[str, Any]] = [
    {"max_thinking_tokens": 8},
    {"max_thinking_tokens": 24},
    {"max_thinking_tokens": 96, "num_waits": 2},
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a vLLM server with the embedded model."""
    pytest.importorskip("vllm")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    log = tmp_path_factory.mktemp("vllm") / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--port", str(port)]
    command += ["--model", MODEL.source(), "--served-model-name", MODEL.name]
    command += ["--dtype", "float32", "--max-model-len", "512", "--enforce-eager"]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with log.open("w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 400
    while True:
        assert process.poll() is None, log.read_text(encoding="utf-8")[-3000:]
        assert time.monotonic() < until, log.read_text(encoding="utf-8")[-3000:]
        try:
            httpx.get(address, timeout=2).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.5)


def test_a_budget_is_kept_before_a_vllm_server_token_for_token(
    puzzle: LiveEngine, url: str
) -> None:
    async def ask(engine: LiveEngine) -> list[Any]:
        found = []
        async with served(engine) as client:
            for question in (QUESTION, SHORT_QUESTION):
                for budget in BUDGETS:
                    whole = await client.chat(question, budget=budget)
                    chunks = await client.stream(question, budget=budget)
                    message, said = whole["choices"][0]["message"], whole["s1x"]
                    assert joined(chunks, "reasoning_content") == message["reasoning_content"]
                    assert joined(chunks, "content") == message["content"]
                    texts = (message["reasoning_content"], message["content"])
                    counts = (said["thinking_tokens"], said["num_waits"], said["forced_spans"])
                    found.append((*texts, *counts, said["end_reason"]))
        return found

    upstream = OpenAI(base_urls=[url], served_model=MODEL.name).start(MODEL)
    try:
        assert asyncio.run(ask(upstream)) == asyncio.run(ask(puzzle))
    finally:
        upstream.close()


def test_a_vllm_server_says_how_sure_the_model_was(puzzle: LiveEngine, url: str) -> None:
    """The same four numbers as the engine in this process has for the same tokens."""
    prefix = tuple(Prompts(MODEL).text(QUESTION, BudgetForcing()).prompt_ids)

    async def ask(engine: LiveEngine) -> tuple[list[int], Any]:
        ids: list[int] = []
        rows: list[Any] = []
        request = Request(
            prefix_ids=prefix,
            max_tokens=24,
            on_confidence=lambda new: bool(rows.append(new)) or True,
            end_ids=(7, 11),
        )
        await engine.generate(request, lambda new: bool(ids.extend(new)) or True)
        return ids, np.concatenate(rows)

    upstream = OpenAI(base_urls=[url], served_model=MODEL.name).start(MODEL)
    try:
        theirs, ours = run_in_loop(ask(upstream)), run_in_loop(ask(puzzle))
    finally:
        upstream.close()
    assert theirs[0] == ours[0]
    assert theirs[1] == pytest.approx(ours[1], rel=5e-3, abs=5e-3)
