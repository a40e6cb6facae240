"""An OpenAI-compatible server that misbehaves, for the tests of all that ask servers.

    python unreliable_server.py PORT LOG MISBEHAVE

Chat questions read "What is A plus B?"; completions count up from the last token of the prompt. Of
the calls it gets, the share MISBEHAVE is answered in one of the ways of `WAYS`. A model's name may
end in ":<way>": then all its calls are. Every reply that was sent whole is a line of LOG, every
call a line of LOG.calls.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

RANDOM, LOCK = random.Random(0), threading.Lock()
ROOM: dict[str, Any] = {"log": "", "misbehave": 0.0}
BOMB = gzip.compress(gzip.compress(bytes(1 << 28)))


def reply(body: dict[str, Any]) -> str:
    """What the model says: it is right about A plus B as a teacher, for even A as a solver."""
    model, text = body["model"].partition(":")[0], body["messages"][-1]["content"]
    a, b = map(int, re.findall(r"What is (\d+) plus (\d+)", text)[0])
    if model == "teacher":
        return f"<think>I add {a} and {b}.</think>The answer is \\boxed{{{a + b}}}."
    if model == "solver":
        return f"\\boxed{{{a + b if a % 2 == 0 else 0}}}"
    if model == "judge":
        if a % 10 == 3:
            return "I cannot say."
        if a % 10 == 4 and body["seed"] == 0:
            return "Hm. Yes and no."
        attempt = re.findall(r"boxed\{(\d+)\}", text)[0]
        return "I compared them.\n" + ("Yes" if int(attempt) == a + b else "No")
    if model == "classifier":
        return "It is about numbers.\n" + ("11" if a % 2 else "99")
    if model == "grader":
        answer = re.findall(r"grade: (\d+)", text)[-1]
        return f"Extracted: {answer}\nVerdict: {'correct' if int(answer) == a + b else 'wrong'}"
    return "?"


def good(body: dict[str, Any]) -> dict[str, Any]:
    """The reply as it should be."""
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    if "prompt" in body:
        ids = [body["prompt"][-1] + 1 + i for i in range(body["max_tokens"])]
        stops = [i for i in ids if i in body.get("stop_token_ids", [])]
        ids = ids[: ids.index(stops[0]) + 1] if stops else ids
        choice = {"token_ids": ids, "text": "?", "finish_reason": "stop" if stops else "length"}
        return {"choices": [choice], "usage": usage}
    message = {"message": {"content": reply(body)}, "finish_reason": "stop"}
    return {"choices": [message], "usage": usage}


class Handler(BaseHTTPRequestHandler):
    """One call."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model, _, way = body["model"].partition(":")
        with LOCK:
            fate, chosen = RANDOM.random(), RANDOM.choice(sorted(WAYS))
            with open(f"{ROOM['log']}.calls", "a", encoding="utf-8") as log:
                log.write(json.dumps([body["model"], self.headers.get("Authorization")]) + "\n")
        if model == "unknown":
            self.send(404, b"{}")
            return
        way = way or (chosen if fate < ROOM["misbehave"] else "")
        if way and WAYS[way](self, body):
            return
        content = good(body)
        if body.get("stream"):
            self.stream(content)
        else:
            self.send(200, json.dumps(content).encode())
        text = str(body.get("prompt") or body["messages"][-1]["content"])
        with LOCK, open(ROOM["log"], "a", encoding="utf-8") as log:
            log.write(json.dumps([body["model"], text, body.get("seed")]) + "\n")

    def send(self, status: int, content: bytes, **headers: str) -> bool:
        """A whole reply."""
        self.begin(status, Content_Length=str(len(content)), **headers)
        self.wfile.write(content)
        return True

    def begin(self, status: int, **headers: str) -> None:
        """Status and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def stream(self, content: dict[str, Any], last: bytes = b"data: [DONE]\n\n") -> bool:
        """The same reply as events, a token each."""
        self.begin(200, Content_Type="text/event-stream", Connection="close")
        self.close_connection = True
        for token in content["choices"][0]["token_ids"]:
            event = {"choices": [{"token_ids": [token], "text": "?"}]}
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.write(last)
        return True

    def pour(self, piece: bytes, pause: float = 0.0, num_bytes: int = 1 << 30) -> bool:
        """Sends a piece again and again."""
        self.close_connection = True
        try:
            for _ in range(num_bytes // len(piece)):
                self.wfile.write(piece)
                time.sleep(pause)
        except OSError:
            pass
        return True

    def log_message(self, *_: object) -> None:
        """Quiet."""


# -- the ways; True: the call is answered, as badly as it will be ---------------------------------


def _slow(call: Handler, body: dict[str, Any]) -> bool:
    time.sleep(1.5)
    return False


def _status(status: int, **headers: str) -> Callable[[Handler, dict[str, Any]], bool]:
    return lambda call, body: call.send(status, b"{}", **headers)


def _retry_after(call: Handler, body: dict[str, Any]) -> bool:
    values = ["1e9", "nan", "soon", "-5", "", "inf", "Wed, 21 Oct 2099 07:28:00 GMT", "9" * 400]
    return call.send(429, b"{}", Retry_After=RANDOM.choice(values))


def _cut(call: Handler, body: dict[str, Any]) -> bool:
    call.begin(200, Content_Length="1000")
    call.wfile.write(b'{"choices": [')
    call.close_connection = True
    return True


def _drip(call: Handler, body: dict[str, Any]) -> bool:
    call.begin(200)
    return call.pour(b" ", 0.05)


def _drip_headers(call: Handler, body: dict[str, Any]) -> bool:
    call.wfile.write(b"HTTP/1.1 200 OK\r\n")
    return call.pour(b"X: y\r\n", 0.05)


def _huge(call: Handler, body: dict[str, Any]) -> bool:
    call.begin(RANDOM.choice([200, 500]))
    return call.pour(b" " * (1 << 20))


def _huge_headers(call: Handler, body: dict[str, Any]) -> bool:
    call.wfile.write(b"HTTP/1.1 200 OK\r\n")
    return call.pour(b"X: " + b"y" * 1000 + b"\r\n")


def _gzip(call: Handler, body: dict[str, Any]) -> bool:
    return call.send(200, BOMB, Content_Encoding=RANDOM.choice(["gzip", "gzip, gzip"]))


def _says(content: bytes) -> Callable[[Handler, dict[str, Any]], bool]:
    return lambda call, body: call.send(200, content)


def _changed(**changed: Any) -> Callable[[Handler, dict[str, Any]], bool]:
    return lambda call, body: call.send(200, json.dumps({**good(body), **changed}).encode())


def _choice(**changed: Any) -> Callable[[Handler, dict[str, Any]], bool]:
    def way(call: Handler, body: dict[str, Any]) -> bool:
        content = good(body)
        content["choices"][0].update(changed)
        if "text" in changed:
            content["choices"][0].pop("token_ids", None)
        return call.send(200, json.dumps(content).encode())

    return way


def _ids(change: Callable[[list[int]], Any]) -> Callable[[Handler, dict[str, Any]], bool]:
    """Changes the ids of a completion; a chat has none."""

    def way(call: Handler, body: dict[str, Any]) -> bool:
        if "prompt" not in body:
            return False
        content = good(body)
        content["choices"][0]["token_ids"] = change(content["choices"][0]["token_ids"])
        return call.send(200, json.dumps(content).encode())

    return way


def _events(last: bytes) -> Callable[[Handler, dict[str, Any]], bool]:
    """Ends a stream of events after its first tokens in a bad way; a chat has none."""

    def way(call: Handler, body: dict[str, Any]) -> bool:
        if not body.get("stream"):
            return False
        content = good(body)
        ids = content["choices"][0]["token_ids"]
        content["choices"][0]["token_ids"] = ids[: len(ids) // 2]
        return call.stream(content, last)

    return way


def _echo(call: Handler, body: dict[str, Any]) -> bool:
    key = call.headers.get("Authorization", "").removeprefix("Bearer ")
    said = f"your key {key} ({key[:12]}..., {key.upper()}) in Authorization: Bearer {key}\x1b[2J"
    return call.send(RANDOM.choice([500, 429]), json.dumps({"error": said}).encode())


WAYS: dict[str, Callable[[Handler, dict[str, Any]], bool]] = {
    "slow": _slow,
    "429": _status(429, Retry_After="0.01"),
    "500": _status(500),
    "retry_after": _retry_after,
    "cut": _cut,
    "drip": _drip,
    "drip_headers": _drip_headers,
    "huge": _huge,
    "huge_headers": _huge_headers,
    "gzip": _gzip,
    "echo": _echo,
    "garbage": _says(b"<html>busy</html>"),
    "half": _says(b'{"choices": [{"message": {"content": "ha'),
    "nothing": _says(b""),
    "not_utf8": _says(b'{"choices": [{"text": "\xff\xfe"}]}'),
    "nested": _says(b"[" * 200_000),
    "deep": _says(b'{"choices":' * 100_000),
    "list": _says(b"[1]"),
    "null": _says(b"null"),
    "error": _says(b'{"error": {"message": "overloaded"}}'),
    "no_choices": _says(b"{}"),
    "empty": _changed(choices=[]),
    "choices_text": _changed(choices="none"),
    "choices_list": _changed(choices=[[]]),
    "usage_text": _changed(usage="many"),
    "usage_count": _changed(usage={"prompt_tokens": 1, "completion_tokens": "5"}),
    "usage_negative": _changed(usage={"prompt_tokens": -1}),
    "usage_true": _changed(usage={"completion_tokens": True}),
    "usage_huge": _changed(usage={"completion_tokens": 10**30}),
    "finish": _choice(finish_reason={"why": 1}),
    "number": _choice(text=5, message={"content": 5}),
    "no_text": _choice(text=None, message={}),
    "surrogate": _choice(text="\ud800", message={"content": "\ud800"}),
    "ids_text": _ids(lambda ids: [str(i) for i in ids]),
    "ids_word": _ids(lambda ids: "abc"),
    "ids_float": _ids(lambda ids: [float(i) for i in ids]),
    "ids_true": _ids(lambda ids: [True for _ in ids]),
    "ids_negative": _ids(lambda ids: [-i for i in ids]),
    "ids_nested": _ids(lambda ids: [[i] for i in ids]),
    "ids_past": _ids(lambda ids: [10**6 for _ in ids]),
    "ids_many": _ids(lambda ids: [*ids, *ids]),
    "ids_none": _ids(lambda ids: []),
    "event_cut": _events(b'data: {"choices": [{"token_'),
    "event_garbage": _events(b"data: <html>\n\n"),
    "event_error": _events(b'data: {"error": {"message": "overloaded"}}\n\n'),
    "event_ids": _events(b'data: {"choices": [{"token_ids": [-1]}]}\n\n'),
}
#: of `WAYS`: only completions have ids, and only they are streamed
COMPLETIONS_ONLY = {way for way in WAYS if way.startswith(("ids_", "event_"))}


class Server(ThreadingHTTPServer):
    """Takes many connections at once and a port that was just freed."""

    request_queue_size = 256
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


class LocalServer:
    """The unreliable server as a process that can be killed and started again on its port."""

    def __init__(self, folder: Path, misbehave: float) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log, self.misbehave = folder / f"server-{self.port}.jsonl", misbehave
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Waits until it takes calls."""
        command = [sys.executable, __file__, str(self.port), str(self.log), str(self.misbehave)]
        self.process = subprocess.Popen(command)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the server does not start")

    def kill(self) -> None:
        """At once."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def sent(self) -> list[list[Any]]:
        """[model, last message, seed] of every reply that was sent whole."""
        return _lines(self.log)

    def calls(self) -> list[list[Any]]:
        """[model, Authorization header] of every call."""
        return _lines(Path(f"{self.log}.calls"))


def _lines(path: Path) -> list[list[Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    ROOM.update(log=sys.argv[2], misbehave=float(sys.argv[3]))
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
