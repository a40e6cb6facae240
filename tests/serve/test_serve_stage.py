"""`python run.py stages=[serve]`: starts, answers, ends in an orderly way, and is reported on."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from gateways import QUESTION

from s1x.errors import SettingError, UserError
from s1x.serve.serve import Serve
from s1x.stages import stage_class
from s1x.traces.upkeep import describe

ROOT = Path(__file__).resolve().parents[2]


def start(output: Path, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, "run.py", "stages=[serve]", "model=puzzle_base", "serve.port=0"]
    return subprocess.Popen(
        [*command, f"output={output}", *overrides],
        cwd=ROOT,
        text=True,
        encoding="utf-8",
        stderr=subprocess.PIPE,
    )


def address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"http://\S+/v1", line):
            return found[0]
    raise AssertionError("it never listened")


def post(url: str, **body: Any) -> Any:
    content = {"messages": [{"role": "user", "content": QUESTION}], **body}
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(content).encode(), headers)
    return urllib.request.urlopen(request, timeout=120)


def test_it_serves_and_finishes_what_is_streaming_when_it_is_stopped(tmp_path: Path) -> None:
    process = start(tmp_path, "budget.max_answer_tokens=20")
    try:
        url = address(process)
        whole = json.load(post(f"{url}/early_exit/chat/completions"))
        # the scale's settings and those of all policies hold for each
        applied = whole["s1x"]["budget"]["applied"]
        assert (applied["check_every_tokens"], applied["max_answer_tokens"]) == (8, 20)
        with post(f"{url}/chat/completions", stream=True, budget={"num_waits": 1}) as stream:
            first = stream.readline()
            process.send_signal(signal.SIGTERM)
            rest = stream.read().decode()
        assert first.startswith(b"data: ")
        assert rest.endswith("data: [DONE]\n\n")
        assert '"error"' not in rest
        assert process.wait(60) == 0
    finally:
        process.kill()
    (traces,) = describe(tmp_path / "traces")
    assert "puzzle-base" in "\n".join(traces.lines())
    assert not list(tmp_path.glob("traces/*/*-wal"))


def test_what_takes_too_long_ends_with_a_sentence(tmp_path: Path) -> None:
    slow = ("serve.stop_seconds=0", "engine.batch_size=1", "serve.keep_traces=false")
    process = start(tmp_path, *slow)
    try:
        url = address(process)
        with post(f"{url}/chat/completions", stream=True, n=16, temperature=9) as stream:
            stream.readline()
            process.send_signal(signal.SIGINT)
            rest = stream.read().decode()
        assert "the gateway is stopping" in rest
        assert rest.endswith("data: [DONE]\n\n")
        assert process.wait(60) == 0
    finally:
        process.kill()
    assert not (tmp_path / "traces").exists()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("serve.host=203.0.113.9", "serve.host=203.0.113.9 serve.port=0: "),
        (
            "engine=openai engine.base_urls=[http://127.0.0.1:9/v1]",
            "engine.base_urls http://127.0.0.1:9/v1 does not answer; start the server",
        ),
        ("workers=ray", "workers does nothing in stages=[serve]: the gateway has one engine; for"),
        ("serve.model_role=fine_tuned", "needs what select and train make, which does not exist"),
    ],
)
def test_what_cannot_be_served_is_told_before_anything(
    override: str, sentence: str, tmp_path: Path
) -> None:
    process = start(tmp_path, *override.split())
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2
    assert sentence in said
    assert "Traceback" not in said


def test_a_missing_extra_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(UserError) as refused:
        stage_class("serve")
    said = "stages=[serve] needs fastapi, not installed here; pip install 's1x[serve]'"
    assert str(refused.value) == said


def test_a_fine_tuned_model_is_not_called_as_its_base() -> None:
    assert Serve().name_of("puzzle-base") == "puzzle-base"
    assert Serve(model_role="fine_tuned").name_of("puzzle-base") == "puzzle-base-fine-tuned"


def test_settings_that_cannot_be_are_named() -> None:
    with pytest.raises(SettingError, match=r"^efforts\.low must be 0 or more, or null, got -1"):
        Serve(efforts={"low": -1})
    with pytest.raises(SettingError, match=r"serve\.api_key_env must be a variable that holds"):
        Serve(api_key_env="S1X_NO_SUCH_KEY").api_key()
