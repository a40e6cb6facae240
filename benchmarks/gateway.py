"""The gateway against vLLM's own server: 32 clients that stream, the same requests, in turns.

    python benchmarks/gateway.py [--clients 32] [--requests 128] [--tokens 96] [--rounds 12]

Both serve the embedded model with vLLM (CPU build), each as a process of its own. The peer is
`vllm serve`; clients ask its completions endpoint for N tokens at most, ids in and text
out. The gateway gets the same prompts under `budget=unlimited`. Both sample natural traces.
Printed: tokens per second and time to the first token of each; their ratio and difference round by
round, as median and quartiles; the gateway's memory before and after 2,000 requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from s1x.console import say
from s1x.model.chat import thinking_prompt_ids
from s1x.model.load import load_tokenizer
from s1x.model.model import Model
from s1x_puzzles.puzzles import Puzzles

MODEL = Model(name="puzzle-base", path="package:s1x_puzzles/puzzle_base", dtype="float32")
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Measured:
    """What 32 clients saw of one server."""

    tokens: int
    seconds: float
    first_token_seconds: list[float]

    @property
    def tokens_per_second(self) -> float:
        """Over all clients."""
        return self.tokens / self.seconds


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server, once it answers; ended afterwards."""
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 300
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).raise_for_status()
                break
            except httpx.HTTPError:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{command[1:4]} did not start") from None
                time.sleep(0.5)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def has_text(choice: dict[str, object]) -> bool:
    """Whether anything that was written came with it."""
    return bool(choice.get("text") or choice.get("reasoning") or choice.get("reasoning_content"))


async def stream(http: httpx.AsyncClient, url: str, body: dict[str, object]) -> tuple[int, float]:
    """Tokens written and seconds to the first; the usage chunk counts them."""
    begun, first, tokens = time.perf_counter(), 0.0, 0
    async with http.stream("POST", url, json=body) as reply:
        assert reply.status_code == 200, await reply.aread()
        async for line in reply.aiter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            if chunk.get("usage"):
                tokens = int(chunk["usage"]["completion_tokens"])
            if not first and any(map(has_text, chunk["choices"])):
                first = time.perf_counter() - begun
    return tokens, first


async def load(url: str, bodies: list[dict[str, object]], num_clients: int) -> Measured:
    """All requests, by N clients at a time."""
    waiting = list(reversed(bodies))
    found: list[tuple[int, float]] = []

    async def client(http: httpx.AsyncClient) -> None:
        while waiting:
            found.append(await stream(http, url, waiting.pop()))

    limits = httpx.Limits(max_connections=num_clients)
    async with httpx.AsyncClient(timeout=300, limits=limits) as http:
        begun = time.perf_counter()
        await asyncio.gather(*(client(http) for _ in range(num_clients)))
        seconds = time.perf_counter() - begun
    return Measured(sum(t for t, _ in found), seconds, [f for _, f in found])


def memory_mib(process: subprocess.Popen[bytes]) -> float:
    """Resident memory of a server's own process."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def gateway_body(prompt: list[int], tokens: int) -> dict[str, object]:
    """A request of the gateway: a natural trace and its answer, sampled with a seed of its own."""
    return {
        **shared_body(prompt, tokens),
        "budget": {"policy": "unlimited", "max_answer_tokens": None, "answer_reserve_tokens": 0},
    }


def peer_body(prompt: list[int], tokens: int) -> dict[str, object]:
    """The same for vLLM's own server."""
    return {**shared_body(prompt, tokens), "add_special_tokens": False}


def shared_body(prompt: list[int], tokens: int) -> dict[str, object]:
    """What both are asked: N tokens at most, as a stream that ends with its counts."""
    return {
        "model": MODEL.name,
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 1.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def prompts(count: int) -> list[list[int]]:
    """Prompts of puzzles, all different."""
    tokenizer = load_tokenizer(MODEL)
    problems = Puzzles(split="hard", grader="exact", answer_format="", in_domain=True).load()
    texts = [p.question for p in problems]
    return [
        list(thinking_prompt_ids(tokenizer, MODEL, texts[i % len(texts)])) for i in range(count)
    ]


def gateway_command(port: int, folder: str) -> list[str]:
    """The gateway over vLLM; sampled requests have seeds of their own, so each is written anew."""
    return [
        *(sys.executable, "run.py", "stages=[serve]", "model=puzzle_base", "engine=vllm"),
        *(f"serve.port={port}", "serve.keep_traces=false", "serve.max_requests=256"),
        f"output={folder}",
    ]


def peer_command(port: int) -> list[str]:
    """vLLM's own server."""
    return [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--port", str(port)),
        *("--model", str(MODEL.source()), "--served-model-name", MODEL.name),
        *("--dtype", "float32", "--max-model-len", "512", "--max-num-seqs", "256"),
    ]


def main() -> None:
    """Both servers in turns, then the gateway's memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--many", type=int, default=2000, help="requests of the memory test")
    args = parser.parse_args()
    asked = prompts(args.requests)
    ports = {"gateway": free_port(), "vllm serve": free_port()}
    bodies = {"gateway": gateway_body, "vllm serve": peer_body}
    with tempfile.TemporaryDirectory() as folder:
        commands = {"gateway": gateway_command(ports["gateway"], folder)}
        commands["vllm serve"] = peer_command(ports["vllm serve"])
        with ExitStack() as stack:
            servers = {n: stack.enter_context(running(c, ports[n])) for n, c in commands.items()}
            found: dict[str, list[Measured]] = {name: [] for name in servers}
            for turn in range(args.rounds + 1):  # the first warms up
                for name in servers:
                    url = f"http://127.0.0.1:{ports[name]}/v1/completions"
                    requests = [bodies[name](prompt, args.tokens) for prompt in asked]
                    measured = asyncio.run(load(url, requests, args.clients))
                    if turn:
                        found[name].append(measured)
            _tell(found)
            url = f"http://127.0.0.1:{ports['gateway']}/v1/completions"
            many = [gateway_body(asked[i % len(asked)], 16) for i in range(args.many)]
            before = memory_mib(servers["gateway"])
            asyncio.run(load(url, many, args.clients))
            after = memory_mib(servers["gateway"])
            say(f"memory of the gateway: {before:.0f} MiB, after {args.many} more: {after:.0f} MiB")


def _tell(found: dict[str, list[Measured]]) -> None:
    for name, ms in found.items():
        speed = statistics.median(m.tokens_per_second for m in ms)
        first = statistics.median(map(first_ms, ms))
        tokens = statistics.mean(m.tokens for m in ms)
        say(f"{name}: {speed:.0f} tokens/s, first token after {first:.1f} ms ({tokens:.0f} tokens)")
    pairs = list(zip(found["gateway"], found["vllm serve"], strict=True))
    ratios = [ours.tokens_per_second / peer.tokens_per_second for ours, peer in pairs]
    say(f"ratio of tokens/s: {spread(ratios, '.2f')} (bar 0.9)")
    later = [first_ms(ours) - first_ms(peer) for ours, peer in pairs]
    say(f"first token later by {spread(later, '.1f')} ms (bar 15)")


def first_ms(measured: Measured) -> float:
    """Milliseconds to the first token: the median over the requests of a round."""
    return 1000 * statistics.median(measured.first_token_seconds)


def spread(values: list[float], form: str) -> str:
    """The median over the rounds, and the quartiles."""
    low, middle, high = (format(q, form) for q in statistics.quantiles(values, n=4))
    return f"{middle}, quartiles {low} and {high} of {len(values)} rounds"


if __name__ == "__main__":
    main()
