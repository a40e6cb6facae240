"""The page at `/`, in a real browser where there is one."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import chromium
import gateways
import httpx
import pytest
from gateways import EFFORTS, NAMES, QUESTION, SHORT_QUESTION, gateway, served

from s1x.engine.engine import LiveEngine
from s1x.serve.page import controls, page
from s1x.serve.serve import Serve

T = TypeVar("T")
HOSTILE = '</script><img src=x onerror="window.hacked=1">'
DONE = "running === null && document.querySelector('#answers article')"
browser = pytest.mark.browser


# -- the file --------------------------------------------------------------------------------------


def test_only_its_own_scripts_run_and_nothing_is_loaded(
    puzzle: LiveEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = dataclasses.replace(gateways.MODEL, examples=[HOSTILE], notes=[HOSTILE])
    monkeypatch.setattr(gateways, "MODEL", hostile)
    text, headers = page(gateway(puzzle), needs_key=False)
    policy = headers["content-security-policy"]
    scripts = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert len(hashes) == 2
    assert re.findall("'sha256-(.*?)'", policy) == hashes
    assert policy.startswith("default-src 'none'")
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    markup = re.sub("<script>.*?</script>", "", text, flags=re.DOTALL)
    assert re.findall(r"<\w[^>]* (?:src|href)=(.*?)>", markup) == ['"data:,"']
    assert "<img" not in markup
    assert "innerHTML" not in "".join(scripts)


def test_it_offers_what_each_policy_sweeps(puzzle: LiveEngine) -> None:
    for policy in gateway(puzzle).policies.presets.values():
        offered = list(controls(policy))
        assert tuple(c["name"] for c in offered) == policy.swept_settings
        assert all(c["doc"] for c in offered)
    budget, waits = controls(gateways.presets()["budget_forcing"])
    assert (budget["label"], waits["label"]) == ("Thinking budget", "Waits")
    assert (budget["tokens"], budget["optional"]) == (True, True)
    assert (waits["tokens"], waits["optional"]) == (False, False)


# -- in Chromium -----------------------------------------------------------------------------------


def shown(
    engine: LiveEngine,
    folder: Path,
    drive: Callable[[chromium.Page, str], T],
    settings: Serve | None = None,
) -> T:
    """What `drive` finds on the page of a running server."""
    if chromium.find() is None:
        pytest.skip("Chromium is not on this machine")

    def look(url: str) -> T:
        with chromium.browser(folder / "profile") as opened:
            opened.look(1200, 900)
            opened.open(f"{url}/")
            return drive(opened, url)

    async def work() -> T:
        async with served(engine, settings) as client:
            return await asyncio.to_thread(look, str(client.http.base_url).rstrip("/"))

    return asyncio.run(work())


def press(page: chromium.Page, key: str, times: int = 1) -> None:
    codes = {"Enter": 13, "Home": 36, "End": 35, "ArrowRight": 39}
    text = {"text": "\r"} if key == "Enter" else {}
    for _ in range(times):
        for kind in ("keyDown", "keyUp"):
            known = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
            page.call("Input.dispatchKeyEvent", type=kind, **known, **text)


def type_in(page: chromium.Page, question: str) -> None:
    page.run("document.getElementById('question').value = ''")
    page.run("document.getElementById('question').focus()")
    page.call("Input.insertText", text=question)


def text_of(page: chromium.Page, selector: str) -> list[str]:
    found = page.run(f"[...document.querySelectorAll({selector!r})].map(n => n.textContent)")
    return [str(text) for text in found]


@browser
def test_one_question_under_two_budgets(puzzle: LiveEngine, tmp_path: Path) -> None:
    def drive(page: chromium.Page, url: str) -> None:
        page.run("document.getElementById('compare').click()")
        type_in(page, SHORT_QUESTION)
        page.run("document.querySelectorAll('[name=max_thinking_tokens]')[0].focus()")
        press(page, "Home")
        press(page, "ArrowRight", 5)  # none, 8, 10, 11, 13, 16
        assert text_of(page, "#lanes output") == ["16 tokens", "natural: no limit"]
        page.run(
            "for (const i of [0, 1]) document.querySelectorAll('.stepper')[1].lastChild.click()"
        )
        page.run(
            "window.seen = []; new MutationObserver(() => seen.push("
            "document.querySelectorAll('#answers .said')[2]?.textContent)).observe("
            "document.getElementById('answers'), {subtree: true, childList: true, "
            "characterData: true})"
        )
        page.run("document.getElementById('question').focus()")
        press(page, "Enter")
        page.wait(DONE)
        seen = [text for text in page.run("seen") if text]
        growing = sorted(set(seen), key=len)
        assert len(growing) > 10, "it comes as it is written"
        assert all(later.startswith(text) for text, later in pairwise(growing))
        assert text_of(page, "#answers h2") == ["max 16", "Wait x 2"]
        short, answer, long, _ = text_of(page, "#answers .said")
        assert long.startswith(short), "two budgets, one trace"
        assert "".join(text_of(page, "article:last-child .same")) == short
        assert answer.startswith("Final Answer:")
        assert text_of(page, "mark.forced")[1:] == ["Final Answer:", "Wait", "Wait"]
        assert text_of(page, ".figures b")[:2] == ["16", "0"]
        assert page.run("document.querySelectorAll('.track i.forced').length") == 2
        first, second = text_of(page, "[role=status]")
        assert first == "Thinking was cut at its budget of 16 tokens."
        assert "its end was put off twice" in second
        body = {
            "messages": [{"role": "user", "content": SHORT_QUESTION}],
            "budget": {"num_waits": 2},
        }
        reply = httpx.post(f"{url}/v1/chat/completions", json=body).json()
        assert long == reply["choices"][0]["message"]["reasoning_content"]
        tokens = text_of(page, "article:last-child .figures b")[:2]
        assert tokens == [str(reply["s1x"]["thinking_tokens"]), "2"]
        assert page.console == []

    shown(puzzle, tmp_path, drive)


@browser
def test_every_policy_can_be_asked(puzzle: LiveEngine, tmp_path: Path) -> None:
    def drive(page: chromium.Page, url: str) -> None:
        names = page.run("[...document.querySelector('[name=policy]').options].map(o => o.value)")
        assert sorted(names) == sorted(NAMES)
        type_in(page, SHORT_QUESTION)
        for name in names:
            page.run(
                f"(s => {{ s.value = {name!r}; s.dispatchEvent(new Event('change')); }})"
                "(document.querySelector('[name=policy]'))"
            )
            page.run("document.getElementById('go').click()")
            page.wait(DONE)
            assert text_of(page, "#answers .failed") == [], name
            assert len(text_of(page, "#answers .said")) == 2
        assert page.console == []

    shown(puzzle, tmp_path, drive)


@browser
def test_stop_ends_the_request(puzzle: LiveEngine, tmp_path: Path) -> None:
    def drive(page: chromium.Page, url: str) -> None:
        type_in(page, QUESTION)
        page.run(
            "new MutationObserver((_, all) => { if (document.querySelector('#answers .said')"
            "?.textContent) { all.disconnect(); document.getElementById('stop').click(); } })"
            ".observe(document.getElementById('answers'), {subtree: true, childList: true})"
        )
        page.run("document.getElementById('go').click()")
        page.wait(DONE)
        assert text_of(page, "[role=status]") == ["Stopped."]
        assert text_of(page, "#answers .answer") == [""]
        assert page.run("document.getElementById('go').hidden") is False
        abandoned = 's1x_requests_total{ended="abandoned",policy="budget_forcing"} 1.0'
        for _ in range(200):
            told = httpx.get(f"{url}/metrics").text
            if abandoned in told:
                break
        assert abandoned in told, "\n".join(x for x in told.splitlines() if "requests" in x)

    shown(puzzle, tmp_path, drive)


@browser
def test_what_the_server_refuses_is_told_in_its_words(
    puzzle: LiveEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGE_KEY", "secret")
    monkeypatch.setattr(gateways, "MODEL", dataclasses.replace(gateways.MODEL, examples=[HOSTILE]))

    def drive(page: chromium.Page, url: str) -> None:
        page.run("document.querySelector('.examples button').click()")
        assert page.run("document.getElementById('question').value") == HOSTILE
        for key, words in (("wrong", "a key is needed"), ("secret", "")):
            page.run(f"document.getElementById('key').value = {key!r}")
            page.run("document.getElementById('go').click()")
            page.wait(DONE)
            assert "".join(text_of(page, "[role=alert]")).startswith(words)
        assert text_of(page, "#answers .failed") == []
        type_in(page, "9 " * 600)
        page.run("document.getElementById('go').click()")
        page.wait(DONE)
        assert "context" in "".join(text_of(page, "#answers .failed"))
        assert page.run("window.hacked") is None
        assert page.run("document.querySelectorAll('img').length") == 0

    shown(puzzle, tmp_path, drive, Serve(efforts=EFFORTS, api_key_env="PAGE_KEY"))


@browser
def test_it_fits_its_window(puzzle: LiveEngine, tmp_path: Path) -> None:
    def drive(page: chromium.Page, url: str) -> None:
        page.run("document.getElementById('compare').click()")
        type_in(page, SHORT_QUESTION)
        page.run("document.getElementById('go').click()")
        page.wait(DONE)
        for width, dark in ((1200, False), (1200, True), (390, False), (320, True)):
            page.look(width, 900, dark)
            page.run("new Promise(done => setTimeout(done, 100))")
            assert page.run("document.documentElement.scrollWidth") <= width
            ground = page.run("getComputedStyle(document.body).backgroundColor")
            assert (ground == "rgb(255, 255, 255)") is not dark
            page.screenshot(tmp_path / f"{width}-{dark}.png", whole=True)

    shown(puzzle, tmp_path, drive)
