"""An OpenAI-compatible server that misbehaves, for the tests of the annotation stage.

    python unreliable_server.py PORT LOG MISBEHAVE

Questions read "What is A plus B?". Of the calls it gets, the share MISBEHAVE is answered by a
pause, 429, 500, a connection that is cut, or garbage. Every reply that was sent whole is a line of
LOG.
"""

from __future__ import annotations

import json
import random
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT, LOG, MISBEHAVE = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
RANDOM, LOCK = random.Random(0), threading.Lock()


def reply(body: dict[str, Any]) -> str:
    """What the model says: it is right about A plus B as a teacher, for even A as a solver."""
    model, text = body["model"], body["messages"][-1]["content"]
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
    return "?"


class Handler(BaseHTTPRequestHandler):
    """One call."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with LOCK:
            fate = RANDOM.random()
            kind = RANDOM.choice(["slow", "429", "500", "cut", "garbage", "empty"])
        if body["model"] == "unknown":
            self._send(404, b"{}")
            return
        if fate < MISBEHAVE:
            if kind == "slow":
                time.sleep(1.5)
            elif kind in ("429", "500"):
                self._send(int(kind), b"{}", {"Retry-After": "0.01"} if kind == "429" else {})
                return
            elif kind == "cut":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"choices": [')
                self.close_connection = True
                return
            else:
                self._send(200, b"<html>busy</html>" if kind == "garbage" else b'{"choices": []}')
                return
        message = {"choices": [{"message": {"content": reply(body)}, "finish_reason": "stop"}]}
        message["usage"] = {"prompt_tokens": 10, "completion_tokens": 5}  # type: ignore[assignment]
        self._send(200, json.dumps(message).encode())
        with LOCK, open(LOG, "a", encoding="utf-8") as log:
            log.write(
                json.dumps([body["model"], body["messages"][-1]["content"], body["seed"]]) + "\n"
            )

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    """Takes many connections at once and a port that was just freed."""

    request_queue_size = 256
    daemon_threads = True
    allow_reuse_address = True


if __name__ == "__main__":
    Server(("127.0.0.1", PORT), Handler).serve_forever()
