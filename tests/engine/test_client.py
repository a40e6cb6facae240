"""The client of servers, against a server that misbehaves in every way: engine, annotation, judge.

Whoever asks gets the same clear error after the same number of tries, in bounded time and memory,
without the key in it; and the right result where the server comes to its senses.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_engine_openai import Letters
from test_engine_transformers import ask

from s1x.annotate.annotate import Annotate
from s1x.annotate.stage import run
from s1x.benchmark.grader import make_grader
from s1x.benchmark.problem import Problem
from s1x.compose import ROOT
from s1x.engine.client import Client, UnreachableError, _Holders
from s1x.engine.engine import Request
from s1x.engine.live import run_in_loop
from s1x.engine.openai import OpenAI, OpenAIEngine
from s1x.engine.servers import Patience, Servers
from s1x.errors import SettingError, UserError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "annotate"))
from unreliable_server import COMPLETIONS_ONLY, WAYS, LocalServer

KEY = "sk-Very-Secret-0123456789abcdef"
#: what the error says of each way; the others are "malformed reply: ..."
SAID = {
    "slow": "no whole reply within 0.3 seconds",
    "drip": "no whole reply within 0.3 seconds",
    "drip_headers": "no whole reply within 0.3 seconds",
    "429": "status 429: {}",
    "500": "status 500: {}",
    "retry_after": "status 429: {}",
    "cut": "RemoteProtocolError",
    "huge": "malformed reply: longer than 8 MiB",
    "huge_headers": "RemoteProtocolError",
    "gzip": "malformed reply: compressed (gzip",
    "echo": "your key ***",
    "half": "malformed reply: Invalid JSON: EOF",
    "not_utf8": "malformed reply: Invalid JSON: invalid unicode",
    "error": "overloaded",
    "event_error": "overloaded",
    "event_cut": "malformed reply: ",
}
TRIES = 2
PATIENCE: dict[str, Any] = {
    "max_tries": TRIES,
    "timeout_seconds": 10.0,
    "backoff_seconds": 0.01,
    "max_backoff_seconds": 0.02,
}


def patience(way: str) -> dict[str, Any]:
    """Little time for replies that never end; enough for the others on a busy machine."""
    return PATIENCE | ({"timeout_seconds": 0.3} if "no whole reply" in SAID.get(way, "") else {})


def wish(
    prefix_ids: tuple[int, ...], max_tokens: int, stop: tuple[tuple[int, ...], ...] = ()
) -> Request:
    return Request(prefix_ids=prefix_ids, max_tokens=max_tokens, stop=stop)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    made = LocalServer(tmp_path_factory.mktemp("server"), 0.0)
    yield made
    made.kill()


@pytest.fixture(scope="module")
def moody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    made = LocalServer(tmp_path_factory.mktemp("moody"), 0.4)
    yield made
    made.kill()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def by_engine(url: str, way: str, folder: Path) -> str:
    settings = OpenAI(base_urls=[url], **patience(way))
    with pytest.raises(UserError) as error:
        run_in_loop(ask(OpenAIEngine(settings, f"engine:{way}", Letters()), wish((10,), 4)))
    return str(error.value)


def by_annotation(url: str, way: str, folder: Path) -> str:
    (folder / "pool").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"question": ["What is 1 plus 2?"]}), folder / "pool" / "a.parquet")
    teacher = {"base_urls": [url], "model": f"teacher:{way}"}
    settings = Annotate(tasks=["trace"], teacher=teacher, **patience(way))
    with pytest.raises(UserError) as error:
        run(folder / "pool", settings, folder / "out", folder / "store")
    return str(error.value)


def by_judge(url: str, way: str, folder: Path) -> str:
    settings = {"base_urls": [url], "model": f"grader:{way}", **patience(way)}
    problem = Problem("p", "What is 1 plus 2?", "3", "d")
    grade = make_grader("llm_judge", settings).grade(problem, "3")
    assert grade.verdict == "ungraded"
    return str(grade.reason)


@pytest.mark.parametrize("way", sorted(WAYS))
def test_every_way_to_misbehave_is_one_clear_error(
    way: str, server: LocalServer, tmp_path: Path
) -> None:
    for by in (by_engine, by_annotation, by_judge):
        if by is not by_engine and way in COMPLETIONS_ONLY:
            continue
        before, begun = len(server.calls()), time.monotonic()
        said = by(server.url, way, tmp_path)
        assert time.monotonic() - begun < 15, "it ends long before the server does"
        assert SAID.get(way, "malformed reply: ") in said
        assert f"after {TRIES} tries" in said
        calls = server.calls()[before:]
        # a stream that merely ends early has brought something: the rest is asked for anew
        assert len(calls) == (4 if way == "event_cut" else TRIES)
        assert {authorization for _, authorization in calls} == {f"Bearer {KEY}"}
        assert "secret" not in said.lower()
        assert said.isprintable()


@pytest.mark.timeout(300)
def test_a_moody_server_gives_the_right_results(moody: LocalServer, tmp_path: Path) -> None:
    patience = {**PATIENCE, "max_tries": 60, "timeout_seconds": 2.0}
    engine = OpenAIEngine(OpenAI(base_urls=[moody.url], **patience), "engine", Letters())

    async def many() -> list[Any]:
        requests = [wish((i,), 20, ((i + 15,),)) for i in range(40)]
        return list(await asyncio.gather(*(ask(engine, request) for request in requests)))

    found = run_in_loop(many())
    assert found == [tuple(range(i + 1, i + 16)) for i in range(40)]
    assert engine.usage.generated_tokens == 40 * 15
    grader = make_grader("llm_judge", {"base_urls": [moody.url], "model": "grader", **patience})
    pairs = [
        (Problem("p", f"What is {i} plus 1?", str(i + 1), "d"), str(i + i % 2)) for i in range(40)
    ]
    verdicts = [grade.verdict for grade in grader.grade_all(pairs)]
    assert verdicts == ["correct" if i % 2 else "wrong" for i in range(40)]


def test_huge_replies_and_bombs_take_no_memory(server: LocalServer) -> None:
    code = """
import asyncio, resource, sys
from s1x.engine.client import Client
from s1x.engine.servers import Patience, Servers
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
patience = Patience(max_tries=1, timeout_seconds=20)
client = Client(Servers(base_urls=[sys.argv[1]]), patience, "m", "x")
async def calls():
    for way in ("huge", "huge_headers", "gzip", "gzip", "nested", "deep"):
        body = {"model": f"m:{way}", "messages": [{"content": "What is 1 plus 1?"}]}
        for _ in range(3):
            try:
                await client.ask("/chat/completions", body, lambda reply: reply)
            except Exception as error:
                pass
            else:
                raise AssertionError(way)
    await client.close()
asyncio.run(calls())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, server.url], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100, "MiB"


# -- refusals -------------------------------------------------------------------------------------


def client_of(*urls: str, **patience: Any) -> Client:
    return Client(
        Servers(base_urls=list(urls)), Patience(**{**PATIENCE, **patience}), "m", "engine"
    )


class Once:
    """A server that answers all calls with some bytes."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.heads: list[bytes] = []
        self.answer = answer
        self.server: asyncio.Server | None = None

    async def __aenter__(self) -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            writer.write(self.answer(head))
            await writer.drain()
            writer.close()

        self.server = await asyncio.start_server(serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1"

    async def __aexit__(self, *_: object) -> None:
        assert self.server is not None
        self.server.close()


def said_by(answer: Callable[[bytes], bytes], **patience: Any) -> tuple[str, int]:
    """The error that an answer gives, and the number of calls."""
    server = Once(answer)

    async def call() -> str:
        async with server as url:
            client = client_of(url, **patience)
            try:
                await client.ask("/chat/completions", {"model": "m"}, lambda reply: reply)
            except Exception as error:
                return str(error)
            finally:
                await client.close()
        raise AssertionError("no error")

    return run_in_loop(call()), len(server.heads)


def test_a_redirect_is_told_and_never_followed() -> None:
    other = Once(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async def call() -> None:
        async with other as target:
            head = f"HTTP/1.1 307 Go\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
            async with Once(lambda _: head) as url:
                client = client_of(url)
                with pytest.raises(UserError, match=r"redirects to http.*engine\.base_urls"):
                    await client.ask("/chat/completions", {"model": "m"}, lambda reply: reply)
                await client.close()

    run_in_loop(call())
    assert other.heads == []


def test_what_cannot_pass_is_told_at_once() -> None:
    body = f'{{"error": "no such key: {KEY[:-3]}***"}}'.encode()
    head = b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n" % len(body)
    said, num_calls = said_by(lambda _: head + body)
    assert num_calls == 1
    assert "refuses the key" in said
    assert "$OPENAI_API_KEY" in said
    assert KEY[:10] not in said


def test_an_endless_pause_is_capped() -> None:
    head = b"HTTP/1.1 429 Busy\r\nRetry-After: 100000\r\nContent-Length: 0\r\n\r\n"
    begun = time.monotonic()
    said, num_calls = said_by(lambda _: head)
    assert (num_calls, time.monotonic() - begun < 60) == (TRIES, True)
    assert "status 429" in said


def test_nobody_there_is_told() -> None:
    client = client_of("http://127.0.0.1:9/v1")
    with pytest.raises(UnreachableError, match=r"no server of m answers.*engine\.base_urls"):
        run_in_loop(client.ask("/chat/completions", {}, lambda reply: reply))


def test_no_key_no_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    heads: list[bytes] = []

    def answer(head: bytes) -> bytes:
        heads.append(head.lower())
        return b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"

    said_by(answer)
    assert b"authorization" not in heads[0]
    assert b"org-secret" not in heads[0]
    monkeypatch.setenv("OPENAI_API_KEY", "two\nlines")
    with pytest.raises(UserError, match="OPENAI_API_KEY holds no key"):
        client_of("http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x", "http://", "http://x:99999", "http://x y", "http://a\nb"]
)
def test_an_address_is_checked_when_it_is_set(url: str) -> None:
    with pytest.raises(SettingError, match="base_urls must be addresses"):
        Servers(base_urls=[url])


# -- several servers ------------------------------------------------------------------------------


def test_a_trace_stays_with_the_server_that_wrote_it(server: LocalServer, tmp_path: Path) -> None:
    other = LocalServer(tmp_path, 0.0)
    try:
        urls = [server.url, other.url]
        engine = OpenAIEngine(OpenAI(base_urls=urls, max_request_tokens=40), "engine", Letters())

        async def trace(first: int) -> Any:
            prompt = tuple([first] * 40)
            return prompt + await ask(engine, wish(prompt, 80))

        before = len(server.calls())
        traces = [run_in_loop(trace(first)) for first in range(10, 18)]
        calls = [len(server.calls()) - before, len(other.calls())]
        assert sum(calls) == 2 * len(traces)
        assert all(number % 2 == 0 for number in calls), "both pieces of a trace at one server"
        homes = [urls.index(engine.client._holders.find(trace) or "") for trace in traces]
        for ids, home in zip(traces, homes, strict=True):
            counts = [len(server.calls()), len(other.calls())]
            run_in_loop(ask(engine, wish((*ids[:100], 5, 5), 3)))  # a fork of the trace
            after = [len(server.calls()), len(other.calls())]
            assert after[home] == counts[home] + 1
    finally:
        other.kill()


def test_calls_go_to_the_least_loaded_and_prompts_alike_spread() -> None:
    client = client_of("http://a/v1", "http://b/v1", "http://c/v1")
    client._connect()

    async def choose() -> list[int]:
        prompt = list(range(100))
        return [client._servers.index(await client._choose(prompt)) for _ in range(6)]

    assert sorted(run_in_loop(choose())) == [0, 0, 1, 1, 2, 2]


def test_holders_know_the_longest_prefix_and_forget_the_oldest() -> None:
    holders = _Holders()
    holders.MOST = 8
    holders.note(range(96), 32, "a")
    assert holders.find(range(40)) is None  # only read
    assert holders.find(range(90)) == "a"
    holders.note([*range(64), *[7] * 64], 64, "b")
    assert holders.find(range(96)) == "a"
    assert holders.find([*range(64), *[7] * 40]) == "b"
    holders.note(range(1000, 1256), 0, "c")
    assert holders.find(range(96)) is None


def test_tokens_come_as_they_are_written(server: LocalServer) -> None:
    engine = OpenAIEngine(OpenAI(base_urls=[server.url]), "engine", Letters())
    pieces: list[list[int]] = []

    def on_tokens(ids: Any) -> bool:
        pieces.append(list(ids))
        return len(pieces) < 3

    run_in_loop(engine.generate(wish((10,), 100), on_tokens))
    assert pieces == [[11], [12], [13]]
    whole = OpenAIEngine(OpenAI(base_urls=[server.url], stream=False), "engine", Letters())
    assert run_in_loop(ask(whole, wish((10,), 5))) == (11, 12, 13, 14, 15)


def test_a_server_that_is_down_is_left_aside_and_taken_again(
    server: LocalServer, tmp_path: Path
) -> None:
    other = LocalServer(tmp_path, 0.0)
    other.kill()
    slow = {"backoff_seconds": 5.0, "max_backoff_seconds": 5.0, "max_tries": 2}
    engine = OpenAIEngine(OpenAI(base_urls=[other.url, server.url], **slow), "engine", Letters())

    async def many(first: int) -> list[Any]:
        requests = (ask(engine, wish((i,), 5)) for i in range(first, first + 12))
        return list(await asyncio.gather(*requests))

    begun = time.monotonic()
    assert run_in_loop(many(0)) == [tuple(range(i + 1, i + 6)) for i in range(12)]
    down, up = engine.client._servers
    assert down.resting_until > begun, "nobody asks it for a while"
    assert (up.resting_until, up.in_flight, down.in_flight) == (0.0, 0, 0)
    try:
        other.start()
        down.resting_until = 0.0  # the while is over
        assert run_in_loop(many(20)) == [tuple(range(i + 1, i + 6)) for i in range(20, 32)]
        assert other.calls()
        assert down.failures_in_a_row == 0
    finally:
        other.kill()


class Pouring:
    """Streams events of a kind without an end, and knows when a client has hung up."""

    def __init__(self, event: dict[str, Any]) -> None:
        self.event = b"data: " + json.dumps({"choices": [event]}).encode() + b"\n\n"
        self.hung_up = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        try:
            while True:
                writer.write(self.event)
                await writer.drain()
                await asyncio.sleep(0.01)
        except OSError:
            self.hung_up.set()
        finally:
            writer.close()


@pytest.mark.parametrize(
    ("event", "piece"),
    [({"token_ids": [7]}, [7]), ({"text": "go on "}, [ord(letter) for letter in "go on"])],
)
def test_a_stream_that_nobody_wants_any_more_is_closed_at_once(
    event: dict[str, Any], piece: list[int]
) -> None:
    pieces: list[list[int]] = []

    def on_tokens(ids: Any) -> bool:
        pieces.append(list(ids))
        return False

    async def first_piece() -> None:
        pouring = Pouring(event)
        async with await asyncio.start_server(pouring.serve, "127.0.0.1", 0) as http:
            url = f"http://127.0.0.1:{http.sockets[0].getsockname()[1]}/v1"
            engine = OpenAIEngine(OpenAI(base_urls=[url]), "m", Letters())
            await engine.generate(wish((10,), 1000), on_tokens)
            await asyncio.wait_for(pouring.hung_up.wait(), 60)
            await engine.client.close()

    run_in_loop(first_piece())
    assert pieces == [piece]


# -- one name for each model ----------------------------------------------------------------------


def test_one_served_model_is_not_compared_with_itself() -> None:
    url = {"base_urls": ["http://x/v1"]}
    both = ["base", "fine_tuned"]
    with pytest.raises(SettingError, match=r"engine\.served_model must .*got 'm'.*served_models="):
        OpenAI(served_model="m", **url).check_roles(both)
    OpenAI(served_model="m", **url).check_roles(["base"])
    OpenAI(**url).check_roles(both)
    same = {"base": "m", "fine_tuned": "m"}
    with pytest.raises(SettingError, match=r"engine\.served_models"):
        OpenAI(served_models=same, **url).check_roles(both)
    named = OpenAI(served_models={"base": "a", "fine_tuned": "b"}, **url)
    named.check_roles(both)
    assert [named.for_role(role).served_model for role in both] == ["a", "b"]
    with pytest.raises(SettingError, match="names for base and fine_tuned"):
        OpenAI(served_models={"teacher": "a"}, **url)


def test_old_names_are_told_on_the_command_line() -> None:
    command = ["run.py", "engine=openai", "engine.max_retries=1", "--cfg", "job"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "engine.max_retries is now called engine.max_tries" in done.stderr
    assert "Traceback" not in done.stderr
    names = {field.name for field in dataclasses.fields(OpenAI)}
    assert set(OpenAI.renamed.values()) <= names
