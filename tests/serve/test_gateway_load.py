"""Many clients, impatient ones, slow ones; keys, limits and counts."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from collections.abc import Sequence
from typing import Any

import pytest
from gateways import EFFORTS, MODEL, QUESTION, Client, served

from s1x.engine import transformers_live
from s1x.engine.engine import LiveEngine, OnTokens, Request
from s1x.engine.scripted import ScriptedEngine
from s1x.serve.serve import Serve
from s1x.serve.server import listening_socket

BODY = {"messages": [{"role": "user", "content": QUESTION}]}


class Gated(ScriptedEngine):
    """Writes endless tokens, each when somebody opens the gate; knows what it works on."""

    def __init__(self) -> None:
        numbers = itertools.count()
        super().__init__(lambda ids, request: 100 + next(numbers) % 50)
        self.working: set[int] = set()
        self.gate = asyncio.Event()

    async def generate(self, request: Request, on_tokens: OnTokens) -> None:
        mark = id(request)
        self.working.add(mark)
        try:
            for _ in range(request.max_tokens):
                await self.gate.wait()
                await asyncio.sleep(0)
                if not on_tokens([self.next_token(request.prefix_ids, request)]):
                    return
        finally:
            self.working.discard(mark)

    async def until(self, count: int) -> None:
        while len(self.working) != count:
            await asyncio.sleep(0.001)


def own_question(number: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"{QUESTION} {number}"}]}


def test_whoever_hangs_up_costs_nothing_more() -> None:
    async def hang_up() -> None:
        engine = Gated()
        async with served(engine) as client:
            for stream in (True, False):
                asking = asyncio.ensure_future(
                    client.post("/v1/chat/completions", {**BODY, "stream": stream, "n": 1})
                )
                await engine.until(1)
                asking.cancel()
                await engine.until(0)  # although no token has come
                while client.gate.open:
                    await asyncio.sleep(0.001)
            text = client.gate.metrics.text().decode()
            assert 's1x_requests_total{ended="abandoned",policy="budget_forcing"} 2.0' in text
            # a stream that is half read
            engine.gate.set()
            async with client.http.stream(
                "POST", "/v1/chat/completions", json={**BODY, "stream": True}
            ) as reply:
                async for line in reply.aiter_lines():
                    if "reasoning" in line:
                        engine.gate.clear()
                        break
            await engine.until(0)

    asyncio.run(hang_up())


@pytest.mark.parametrize("stream", [True, False])
def test_a_hung_up_sequence_leaves_the_engine_within_a_step(
    puzzle: LiveEngine, stream: bool
) -> None:
    async def hang_up() -> None:
        written = puzzle.usage.generated_tokens
        async with served(puzzle) as client:
            body = {**BODY, "stream": stream, "budget": {"num_waits": 50}}
            asking = asyncio.ensure_future(client.post("/v1/chat/completions", body))
            while puzzle.usage.generated_tokens < written + 20:
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            gone = puzzle.usage.generated_tokens
            while client.gate.open:
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            assert puzzle.usage.generated_tokens <= gone + 1

    asyncio.run(hang_up())


def test_a_full_queue_sends_clients_away_with_a_time_to_come_again() -> None:
    async def crowd() -> None:
        engine = Gated()
        async with served(engine, Serve(max_requests=2, max_queued=1)) as client:
            asking = [
                asyncio.ensure_future(client.post("/v1/chat/completions", own_question(i)))
                for i in range(3)
            ]
            while len(client.gate.open) < 3:
                await asyncio.sleep(0.001)
            await engine.until(2)
            text = client.gate.metrics.text().decode()
            assert "s1x_requests_working 2.0" in text
            assert "s1x_requests_queued 1.0" in text
            refused = await client.post("/v1/chat/completions", own_question(4))
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["error"]["type"] == "rate_limit_error"
            engine.gate.set()
            assert [reply.status_code for reply in await asyncio.gather(*asking)] == [200] * 3
            assert (await client.post("/v1/chat/completions", own_question(4))).status_code == 200

    asyncio.run(crowd())


def test_one_request_never_takes_the_whole_engine() -> None:
    async def share() -> None:
        engine = Gated()
        engine.max_sequences = 6
        async with served(engine) as client:
            prompts = {"prompt": [f"{QUESTION} {i}" for i in range(40)]}
            many = asyncio.ensure_future(client.post("/v1/completions", prompts))
            await engine.until(3)
            one = asyncio.ensure_future(client.post("/v1/chat/completions", own_question(1)))
            await engine.until(4)
            engine.gate.set()
            assert len((await many).json()["choices"]) == 40
            assert (await one).status_code == 200

    asyncio.run(share())


def test_a_slow_reader_holds_nobody_and_loses_nothing() -> None:
    async def slow() -> None:
        engine = Gated()
        engine.gate.set()
        async with served(engine, Serve(max_requests=1)) as client:
            body = {**own_question(0), "stream": True, "n": 16, "temperature": 1}
            async with client.http.stream("POST", "/v1/chat/completions", json=body) as reply:
                # it has not read a line, and others are answered all the same
                for number in (1, 2):
                    answer = await client.post("/v1/chat/completions", own_question(number))
                    assert answer.status_code == 200
                lines = [line async for line in reply.aiter_lines() if line]
            assert lines[-1] == "data: [DONE]"
            ends = [json.loads(line[6:])["choices"][0]["finish_reason"] for line in lines[:-1]]
            assert ends.count("length") == 16

    asyncio.run(slow())


def test_a_silent_stream_says_that_it_is_at_work() -> None:
    async def wait() -> None:
        engine = Gated()
        async with served(engine, Serve(keep_alive_seconds=0.01)) as client:
            async with client.http.stream(
                "POST", "/v1/chat/completions", json={**BODY, "stream": True}
            ) as reply:
                async for line in reply.aiter_lines():
                    if line.startswith(":"):
                        engine.gate.set()
                last = line
            assert last == ""

    asyncio.run(asyncio.wait_for(wait(), 60))


def test_a_stream_is_kept_alive_while_a_long_prompt_is_computed(
    puzzle: LiveEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(puzzle, transformers_live.TransformersEngine)
    forward = puzzle._forward

    def slow(first: int, last: int, width: int) -> Any:
        if width > 1:
            time.sleep(0.3)
        return forward(first, last, width)

    monkeypatch.setattr(puzzle, "_forward", slow)
    monkeypatch.setattr(transformers_live, "_LONG_TOKENS", 16)

    async def ask() -> list[str]:
        async with served(puzzle, Serve(keep_alive_seconds=0.05)) as client:
            message = {"role": "user", "content": "Which x has 9x+4 = 20 (mod 29)? " * 3}
            body = {"messages": [message], "stream": True}
            async with client.http.stream("POST", "/v1/chat/completions", json=body) as reply:
                return [line async for line in reply.aiter_lines() if line]

    lines = asyncio.run(ask())
    first = next(i for i, line in enumerate(lines) if "reasoning" in line)
    assert sum(line.startswith(":") for line in lines[:first]) >= 3


def test_pieces_go_out_at_once() -> None:
    async def connect() -> int:
        nodelay: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            sock = writer.get_extra_info("socket")
            nodelay.set_result(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        server = await asyncio.start_server(accepted, sock=listening_socket(Serve(port=0)))
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.close()
        server.close()
        return await nodelay

    assert asyncio.run(connect()) == 1  # else small pieces wait for the client's next packet


def test_a_failing_engine_is_an_error_object_not_a_cut_connection() -> None:
    def fail(ids: Sequence[int], request: Request) -> int:
        if len(ids) < 40:
            return 100
        raise ZeroDivisionError("secret detail")

    async def ask() -> None:
        async with served(ScriptedEngine(fail)) as client:
            whole = await client.post("/v1/chat/completions", BODY)
            assert whole.status_code == 500
            assert "secret" not in whole.text
            chunks = await client.stream()
            assert "the gateway has failed" in chunks[-1]["error"]["message"]
            assert not client.gate.open

    asyncio.run(ask())


def test_bodies_and_prompts_have_limits() -> None:
    async def ask() -> None:
        async with served(Gated(), Serve(max_body_mib=0.01)) as client:
            long = await client.post("/v1/chat/completions", b" " * 20_000)
            assert long.status_code == 413
            assert "serve.max_body_mib" in long.json()["error"]["message"]
            sentence = await client.refused(
                messages=[{"role": "user", "content": "Find x. " * 300}]
            )
            assert "and the model's context of 512 must hold" in sentence

    asyncio.run(ask())


def test_a_key_is_asked_for_and_told_to_nobody(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_GATEWAY_KEY", "sesame-1234")

    async def ask() -> list[str]:
        texts = []
        async with served(Gated(), Serve(api_key_env="MY_GATEWAY_KEY")) as client:
            assert (await client.http.get("/health")).status_code == 200
            for path in ("/v1/models", "/metrics", f"/v1/models/{MODEL.name}"):
                assert (await client.http.get(path)).status_code == 401
            for key in (None, "Bearer wrong", "sesame-1234", "Bearer sesame-1234"):
                headers = {"authorization": key} if key else {}
                reply = await client.http.post("/v1/chat/completions", json={}, headers=headers)
                texts.append(reply.text)
                assert reply.status_code == (400 if key and key.endswith("r sesame-1234") else 401)
            client.http.headers["authorization"] = "Bearer sesame-1234"
            assert (await client.http.get("/v1/models")).status_code == 200
        return texts

    texts = asyncio.run(ask())
    said = capfd.readouterr()
    assert "sesame" not in "".join(texts) + said.out + said.err


def test_web_pages_need_leave_and_forms_are_refused() -> None:
    async def ask() -> None:
        preflight = {"origin": "http://a.example", "access-control-request-method": "POST"}
        async with served(Gated()) as client:
            reply = await client.http.options("/v1/chat/completions", headers=preflight)
            assert "access-control-allow-origin" not in reply.headers
            form = {"content-type": "text/plain"}
            plain = await client.http.post("/v1/chat/completions", content=b"{}", headers=form)
            assert plain.status_code == 415
        async with served(Gated(), Serve(cors_origins=["http://a.example"])) as client:
            reply = await client.http.options("/v1/chat/completions", headers=preflight)
            assert reply.headers["access-control-allow-origin"] == "http://a.example"

    asyncio.run(ask())


def test_a_name_that_was_turned_to_this_machine_is_refused() -> None:
    async def ask() -> None:
        async with served(Gated()) as client:
            turned = {"host": "evil.example"}
            assert (await client.http.get("/v1/models", headers=turned)).status_code == 403
            reply = await client.http.post("/v1/chat/completions", json=BODY, headers=turned)
            assert reply.status_code == 403
            local = {"host": "localhost:8000"}
            assert (await client.http.get("/v1/models", headers=local)).status_code == 200

    asyncio.run(ask())


def test_models_health_and_metrics() -> None:
    async def ask(client: Client) -> None:
        models = (await client.http.get("/v1/models")).json()["data"]
        assert [m["id"] for m in models][:2] == [MODEL.name, f"{MODEL.name}@budget_forcing"]
        one = await client.http.get(f"/v1/models/{MODEL.name}@waits=2")
        assert one.json()["id"] == f"{MODEL.name}@waits=2"
        for name, status in (("other", 404), ("@nothing", 400), ("@waits=-1", 400)):
            own = name if name == "other" else MODEL.name + name
            assert (await client.http.get(f"/v1/models/{own}")).status_code == status
        for policy, status in (("waits=2", 200), ("nothing", 400)):
            assert (await client.http.get(f"/v1/{policy}/models")).status_code == status
        assert (await client.post("/v1/chat/completions", {**BODY, "model": "gpt"})).json()[
            "error"
        ]["code"] == "model_not_found"
        assert (await client.http.get("/health")).json()["status"] == "ok"
        reply = await client.chat(budget={"max_thinking_tokens": 20, "num_waits": 1})
        text = (await client.http.get("/metrics")).text
        facts = reply["s1x"]
        for kind in ("thinking", "delimiter", "cue", "answer", "forced"):
            assert f's1x_tokens_total{{kind="{kind}"}} {facts[f"{kind}_tokens"]}.0' in text
        assert f's1x_thinking_ended_total{{reason="{facts["end_reason"]}"}} 1.0' in text
        assert 's1x_seconds_count{until="first_token"} 1.0' in text
        for path in ("/nothing", "/v1/nothing"):
            reply = await client.http.get(path)
            assert reply.status_code == 404
            assert path in reply.json()["error"]["message"]

    async def main() -> None:
        engine = Gated()
        engine.gate.set()
        async with served(engine, Serve(efforts=EFFORTS)) as client:
            await ask(client)

    asyncio.run(main())


def test_a_long_prompt_is_read_beside_the_others() -> None:
    async def ask() -> None:
        engine = Gated()
        engine.gate.set()
        async with served(engine) as client:
            text = "Find x. " * 60_000
            long = asyncio.ensure_future(
                client.post(
                    "/v1/chat/completions", {"messages": [{"role": "user", "content": text}]}
                )
            )
            short = await client.chat()
            assert short["usage"]
            refused = await long
            assert refused.status_code == 400
            assert "the model's context of 512" in refused.json()["error"]["message"]

    asyncio.run(ask())
