"""The openai engine against a small server: ids, text, retries, refusals, concurrency."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from test_engine_transformers import ask

from s1x.engine.engine import Request, Sampling
from s1x.engine.live import run_in_loop
from s1x.engine.openai import OpenAI, OpenAIEngine
from s1x.errors import SettingError, UserError

Reply = tuple[int, dict[str, Any]]


class Letters:
    """A tokenizer of letters: id = code point, but "ab" is one token (id 1)."""

    eos_token_id = 3

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        ids: list[int] = []
        while text:
            pair = text.startswith("ab")
            ids.append(1 if pair else ord(text[0]))
            text = text[2 if pair else 1 :]
        return {"input_ids": ids}

    def decode(self, ids: list[int], **_: object) -> str:
        return "".join("ab" if i == 1 else chr(i) for i in ids)

    def get_vocab(self) -> dict[str, int]:
        return {self.decode([i]): i for i in range(256)}


class Server:
    """Answers with what `reply(body)` says and keeps what it was asked."""

    def __init__(self, reply: Callable[[dict[str, Any]], Reply]) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.open = self.most_open = 0
        lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    server.bodies.append(body)
                    server.headers.append({k.lower(): v for k, v in self.headers.items()})
                    server.open += 1
                    server.most_open = max(server.most_open, server.open)
                status, content = reply(body)
                with lock:
                    server.open -= 1
                raw = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[Server, OpenAIEngine]]]:
    servers: list[Server] = []

    def start(
        reply: Callable[[dict[str, Any]], Reply], **settings: Any
    ) -> tuple[Server, OpenAIEngine]:
        servers.append(Server(reply))
        option = OpenAI(**{"base_urls": [servers[-1].url], "backoff_seconds": 0.01, **settings})
        return servers[-1], OpenAIEngine(option, "m", Letters())

    yield start
    for server in servers:
        server.http.shutdown()


def with_ids(body: dict[str, Any]) -> Reply:
    """Counts up from the prefix's last id, to a stop id."""
    last = body["prompt"][-1]
    ids = [last + 1 + i for i in range(body["max_tokens"])]
    stops = [i for i in ids if i in body.get("stop_token_ids", [])]
    ids = ids[: ids.index(stops[0]) + 1] if stops else ids
    return 200, {"choices": [{"text": "?", "token_ids": ids}]}


def with_text(text: str, **more: Any) -> Callable[[dict[str, Any]], Reply]:
    def reply(body: dict[str, Any]) -> Reply:
        return 200, {"choices": [{"text": text[: body["max_tokens"]], **more}]}

    return reply


def test_ids_are_taken_as_they_are(serve: Any) -> None:
    server, engine = serve(with_ids)
    assert run_in_loop(ask(engine, Request(prefix_ids=(5, 10), max_tokens=4, stop=((13,),)))) == (
        11,
        12,
        13,
    )
    (body,) = server.bodies
    assert (body["prompt"], body["temperature"], body["stop_token_ids"]) == ([5, 10], 0.0, [13])
    assert body["return_token_ids"] is True


def test_long_pieces_come_in_several_requests(serve: Any) -> None:
    server, engine = serve(with_ids, max_request_tokens=4)
    assert run_in_loop(ask(engine, Request(prefix_ids=(10,), max_tokens=10))) == tuple(
        range(11, 21)
    )
    assert [body["max_tokens"] for body in server.bodies] == [4, 4, 2]
    assert run_in_loop(ask(engine, Request(prefix_ids=(10,), max_tokens=10), keep=3)) == (
        11,
        12,
        13,
        14,
    )


def test_sampling_and_bans_are_sent(serve: Any) -> None:
    server, engine = serve(with_ids)
    way = Sampling(0.7, 0.9, seed=2**40 + 5)
    run_in_loop(ask(engine, Request(prefix_ids=(10,), max_tokens=3, sampling=way, ban_first=(8,))))
    first, second = server.bodies
    assert (first["max_tokens"], first["logit_bias"], first["top_p"]) == (1, {"8": -100}, 0.9)
    assert first["seed"] == 5
    assert "logit_bias" not in second


def test_text_becomes_ids_and_its_stop_comes_back(serve: Any) -> None:
    reply = with_text("xyz", finish_reason="stop", stop_reason="!")
    server, engine = serve(reply, send_extensions=False, return_token_ids=False)
    stops = ((ord("!"),), (ord("?"),))
    ids = run_in_loop(ask(engine, Request(prefix_ids=(ord("k"),), max_tokens=9, stop=stops)))
    assert ids == tuple(map(ord, "xyz!"))
    assert server.bodies[0]["stop"] == ["!", "?"]
    assert "ignore_eos" not in server.bodies[0]
    assert engine.unstable_texts == 0


def test_text_that_does_not_keep_its_tokens_is_counted_or_refused(serve: Any) -> None:
    ends_in_a = (ord("k"), ord("a"))  # with "b" after it, it would be one token
    _, engine = serve(with_text("bc"))
    run_in_loop(ask(engine, Request(prefix_ids=ends_in_a, max_tokens=2)))
    assert engine.unstable_texts == 1
    _, strict = serve(with_text("bc"), require_stable_text=True)
    with pytest.raises(UserError, match="returns token ids"):
        run_in_loop(ask(strict, Request(prefix_ids=ends_in_a, max_tokens=2)))


def test_text_comes_a_word_at_a_time_with_the_ids_of_the_whole(serve: Any) -> None:
    text = "kabc ab cab  xyz"
    _, engine = serve(with_text(text))
    pieces: list[list[int]] = []

    def on_tokens(ids: Any) -> bool:
        pieces.append(list(ids))
        return True

    run_in_loop(engine.generate(Request(prefix_ids=(5,), max_tokens=len(text)), on_tokens))
    assert [engine.decode(ids) for ids in pieces][:2] == ["kabc ab cab", "  xyz"]
    first = pieces[0] + pieces[1]
    assert first == Letters()(text)["input_ids"]
    assert engine.unstable_texts == 0


def test_busy_servers_are_asked_again(serve: Any) -> None:
    statuses = iter([429, 503])

    def reply(body: dict[str, Any]) -> Reply:
        status = next(statuses, 200)
        return with_ids(body) if status == 200 else (status, {"error": "busy"})

    server, engine = serve(reply)
    assert run_in_loop(ask(engine, Request(prefix_ids=(10,), max_tokens=2))) == (11, 12)
    assert len(server.bodies) == 3


def test_refusals_and_silence_are_told(serve: Any) -> None:
    _, engine = serve(lambda _: (401, {"error": "no key"}))
    with pytest.raises(UserError, match=r"refuses the key .*OPENAI_API_KEY"):
        run_in_loop(ask(engine, Request(prefix_ids=(10,), max_tokens=2)))
    _, engine = serve(lambda _: (500, {}), max_tries=2)
    with pytest.raises(UserError, match=r"after 2 tries"):
        run_in_loop(ask(engine, Request(prefix_ids=(10,), max_tokens=2)))
    _, engine = serve(lambda _: (200, {"nothing": 1}), max_tries=2)
    with pytest.raises(UserError, match=r"malformed reply: choices: Field required in .*nothing"):
        run_in_loop(ask(engine, Request(prefix_ids=(10,), max_tokens=2)))
    nobody = OpenAI(base_urls=["http://127.0.0.1:9/v1"], max_tries=1)
    with pytest.raises(UserError, match=r"check engine\.base_urls"):
        run_in_loop(
            ask(OpenAIEngine(nobody, "m", Letters()), Request(prefix_ids=(10,), max_tokens=2))
        )


def test_no_more_requests_are_open_than_asked_for(serve: Any) -> None:
    def reply(body: dict[str, Any]) -> Reply:
        time.sleep(0.02)
        return with_ids(body)

    server, engine = serve(reply, concurrency=3)

    async def many() -> None:
        await asyncio.gather(
            *(ask(engine, Request(prefix_ids=(i,), max_tokens=2)) for i in range(12))
        )

    run_in_loop(many())
    assert 1 < server.most_open <= 3


def test_an_address_is_checked_before_anything() -> None:
    with pytest.raises(
        SettingError, match=r"base_urls must be addresses of servers.*http://localhost"
    ):
        OpenAI(base_urls=["localhost"])


def with_log_probs(likeliest: int, name: str = "token_id:{}") -> Callable[[dict[str, Any]], Reply]:
    """Each token at log-probability -0.5, the others lower by one each."""

    def reply(body: dict[str, Any]) -> Reply:
        code, content = with_ids(body)
        ids = content["choices"][0]["token_ids"]
        assert body["logprobs"] == 20
        tops = [
            {
                name.format(i): -0.5,
                **{name.format(i + 1000 * (1 + n)): -1.5 - n for n in range(likeliest - 1)},
            }
            for i in ids
        ]
        found = {"token_logprobs": [-0.5] * len(ids), "top_logprobs": tops}
        return code, {"choices": [content["choices"][0] | {"logprobs": found}]}

    return reply


def test_log_probabilities_are_asked_for_and_read(serve: Any) -> None:
    _, engine = serve(with_log_probs(21))
    rows: list[Any] = []
    asked = Request(
        prefix_ids=(5, 10),
        max_tokens=3,
        on_confidence=lambda row: bool(rows.append(row)) or True,
        end_ids=(2012,),
    )
    assert run_in_loop(ask(engine, asked)) == (11, 12, 13)
    (found,) = rows
    mean = sum([-0.5, *(-1.5 - n for n in range(19))]) / 20
    assert found[:, 0].tolist() == [-0.5] * 3
    assert found[:, 2].tolist() == pytest.approx([mean] * 3, rel=1e-3)
    assert found[:, 3].tolist() == [255, 3, 255]


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (with_ids, "no log-probabilities"),
        (with_log_probs(5), "fewer than 20"),
        (with_log_probs(20, "<{}>"), "by their text"),
        (with_text("abc"), "without token ids"),
    ],
)
def test_servers_that_do_not_tell_are_refused(serve: Any, reply: Any, told: str) -> None:
    _, engine = serve(reply)
    asked = Request(prefix_ids=(5, 10), max_tokens=3, on_confidence=lambda row: True)
    with pytest.raises(UserError, match=told):
        run_in_loop(ask(engine, asked))


def test_more_stops_than_a_strict_server_takes_are_refused(serve: Any) -> None:
    server, engine = serve(with_text("abc", finish_reason="stop"), send_extensions=False)
    stops = tuple((i,) for i in range(70, 75))
    with pytest.raises(UserError, match="4 stop strings at most, and 5"):
        run_in_loop(ask(engine, Request(prefix_ids=(65,), max_tokens=3, stop=stops)))
    assert not server.bodies


def test_of_stops_that_begin_alike_the_shortest_is_sent(serve: Any) -> None:
    server, engine = serve(with_text("abc"), send_extensions=False, return_token_ids=False)
    stops = ((70,), *((70, i) for i in range(71, 76)), (72,))
    run_in_loop(ask(engine, Request(prefix_ids=(65,), max_tokens=3, stop=stops)))
    assert server.bodies[0]["stop"] == [engine.decode([70]), engine.decode([72])]
