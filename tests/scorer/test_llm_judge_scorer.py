"""A judge's marks as scores: read strictly, asked for again, never made up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from s1x.engine.live import run_in_loop
from s1x.errors import SettingError, UserError
from s1x.model.load import load_tokenizer
from s1x.model.model import Model
from s1x.scorer.llm_judge import LlmJudge

MODEL = Model(name="m", path="package:s1x_puzzles/puzzle_base", dtype="float32", context_tokens=512)


@pytest.fixture
def serve() -> Iterator[Callable[[list[str]], tuple[LlmJudge, list[Any]]]]:
    """A server that says these replies in turn, and what it was asked."""
    servers = []

    def start(replies: list[str]) -> tuple[LlmJudge, list[Any]]:
        asked: list[Any] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                text = replies[len(asked)]
                asked.append(body)
                choice = {"message": {"content": text}, "finish_reason": "stop"}
                usage = {"prompt_tokens": 50, "completion_tokens": 4}
                content = json.dumps({"choices": [choice], "usage": usage}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        url = f"http://127.0.0.1:{server.server_port}/v1"
        return LlmJudge(base_urls=[url], model="judge", backoff_seconds=0.01), asked

    yield start
    for server in servers:
        server.shutdown()


def mark(judge: LlmJudge, trace: str) -> Any:
    scorer = judge.start(MODEL)
    assert scorer.scores_whole
    ids = list(load_tokenizer(MODEL)(trace, add_special_tokens=False)["input_ids"])
    try:
        return run_in_loop(scorer.score("what is {trace}?", ids, [1, len(ids)]))
    finally:
        scorer.close()


def test_a_mark_is_a_tenth_each(serve: Any) -> None:
    judge, asked = serve(["Mark: 7"])
    found = mark(judge, "7 > 3 no so 7")
    assert found.scores == (0.7,)
    assert found.num_tokens == 54
    (body,) = asked
    said = body["messages"][0]["content"]
    assert "Question: what is {trace}?" in said, "data is not read as a part of the prompt"
    assert "7 > 3 no so 7" in said
    assert body["temperature"] == 0.0


def test_a_reply_without_a_mark_is_asked_for_again_and_none_is_made_up(serve: Any) -> None:
    judge, asked = serve(["I like it.", "Mark: 11", "well\nMark: 10\n"])
    assert mark(judge, "so 7").scores == (1.0,)
    assert [body["temperature"] for body in asked] == [0.0, 1.0, 1.0]
    assert len({body["seed"] for body in asked}) == 3
    judge, _ = serve(["?", "Mark: many", "Mark:"])
    with pytest.raises(UserError, match="no mark in 3 replies"):
        mark(judge, "so 7")


def test_settings_are_checked() -> None:
    with pytest.raises(SettingError, match=r"scorer\.model"):
        LlmJudge(base_urls=["http://localhost:1/v1"])
    with pytest.raises(SettingError, match="prompt"):
        LlmJudge(base_urls=["http://localhost:1/v1"], model="m", prompt="{question}")
