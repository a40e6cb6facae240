"""Calls to OpenAI-compatible servers that go wrong: spread, retried with back-off, counted.

A refusal that may pass (408, 409, 425, 429, 5xx, a time-out, a cut connection, a reply that is not
JSON) is tried again after a pause that doubles, at whichever server has the fewest calls in flight
and is not pausing. One that will not pass (a wrong key, a wrong address) stops the run at once, in
a sentence.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from s1x.annotate.settings import Annotate, Endpoint
from s1x.annotate.store import Answer, Message
from s1x.errors import UserError

PASSING = frozenset({408, 409, 425, 429, *range(500, 600)})
HOPELESS = {401: "refuses the key", 403: "refuses the key", 404: "does not know the model or path"}


class GivenUpError(Exception):
    """A call that failed at every try, or that the server says it can never serve."""


class _PassingError(Exception):
    """A failure that another try may mend; `pause_seconds` as the server asks, if it does."""

    def __init__(self, reason: str, pause_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds


@dataclass
class _Server:
    url: str
    slots: asyncio.Semaphore
    in_flight: int = 0
    resting_until: float = 0.0
    failures_in_a_row: int = 0


@dataclass
class HttpModel:
    """One model behind its servers.

    Attributes:
        endpoint: name, addresses, sampling.
        settings: patience and pauses.
        tries: HTTP calls made, failed ones included.
    """

    endpoint: Endpoint
    settings: Annotate
    tries: int = 0
    _servers: list[_Server] = field(init=False)
    _http: Any = field(init=False, default=None)
    _rng: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._servers = [
            _Server(url.rstrip("/"), asyncio.Semaphore(self.endpoint.concurrency))
            for url in self.endpoint.base_urls
        ]

    @property
    def name(self) -> str:
        """The name that the servers know the model by."""
        return self.endpoint.model

    @property
    def slots(self) -> int:
        """Calls that keep every server busy."""
        return self.endpoint.concurrency * len(self._servers)

    @property
    def device(self) -> tuple[str | None, int | None]:
        """Servers, whose hardware is not known here."""
        return "server", len(self._servers)

    async def ask(self, messages: Sequence[Message], sampling: dict[str, Any]) -> Answer:
        """One reply.

        Raises:
            GivenUpError: no reply after all tries; the row stays without it.
            UserError: no try can help, or no server can be reached at all.
        """
        body = {"model": self.endpoint.model, "messages": [dict(m) for m in messages], **sampling}
        reason = "no try was made"
        for attempt in range(self.settings.max_tries):
            server = await self._server()
            try:
                async with server.slots:
                    answer = await self._post(server, body)
            except _PassingError as error:
                reason = f"{server.url}: {error}"
                self._rest(server, attempt, error.pause_seconds)
                await asyncio.sleep(self._pause(attempt, error.pause_seconds))
                continue
            finally:
                server.in_flight -= 1
            server.failures_in_a_row = 0
            return answer
        if all(s.failures_in_a_row >= self.settings.max_tries for s in self._servers):
            raise UserError(
                f"annotate: no server of {self.endpoint.model} answers ({reason}); what was "
                "answered is stored, start the server and the same command goes on"
            )
        raise GivenUpError(reason)

    async def close(self) -> None:
        """Closes all connections."""
        if self._http is not None:
            await self._http.aclose()

    async def _server(self) -> _Server:
        """The server with the fewest calls in flight of those that are not resting."""
        while True:
            now = time.monotonic()
            awake = [s for s in self._servers if s.resting_until <= now]
            if awake:
                server = min(awake, key=lambda s: s.in_flight)
                server.in_flight += 1
                return server
            await asyncio.sleep(min(s.resting_until for s in self._servers) - now + 0.001)

    def _rest(self, server: _Server, attempt: int, pause: float | None) -> None:
        """Leaves a server alone for a while when others can take its calls, or when it asks."""
        server.failures_in_a_row += 1
        if pause is not None or (len(self._servers) > 1 and server.failures_in_a_row > 1):
            rest = self._pause(min(attempt, server.failures_in_a_row), pause)
            server.resting_until = max(server.resting_until, time.monotonic() + rest)

    def _pause(self, attempt: int, asked: float | None) -> float:
        longest = self.settings.max_backoff_seconds
        if asked is not None:
            return min(asked, longest)
        pause = float(min(self.settings.backoff_seconds * 2**attempt, longest))
        return pause * (0.5 + self._rng.random() / 2)

    async def _post(self, server: _Server, body: dict[str, Any]) -> Answer:
        import httpx

        if self._http is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
            timeout = httpx.Timeout(self.settings.timeout_seconds, connect=10.0, pool=None)
            self._http = httpx.AsyncClient(limits=limits, timeout=timeout, headers=self._headers())
        self.tries += 1
        try:
            reply = await self._http.post(f"{server.url}/chat/completions", json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if isinstance(error, (httpx.UnsupportedProtocol, httpx.InvalidURL)):
                raise UserError(
                    f"annotate: {server.url} is no address; write http://host:port/v1"
                ) from None
            raise _PassingError(f"{type(error).__name__} {error}".strip()) from None
        if reply.status_code in PASSING:
            raise _PassingError(f"status {reply.status_code}", _retry_after(reply))
        if reply.status_code in HOPELESS:
            reason = f"{HOPELESS[reply.status_code]} (status {reply.status_code})"
            raise UserError(
                f"annotate: {server.url} {reason}, model {self.endpoint.model}; "
                f"check base_urls, model and ${self.endpoint.api_key_env}"
            )
        if reply.status_code >= 300:
            raise GivenUpError(f"{server.url}: status {reply.status_code} {reply.text[:200]}")
        return _answer(reply)

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.endpoint.api_key_env)
        return {"Authorization": f"Bearer {key}"} if key else {}


def _retry_after(reply: Any) -> float | None:
    try:
        return max(float(reply.headers.get("retry-after", "")), 0.0)
    except ValueError:
        return None


def _answer(reply: Any) -> Answer:
    """The reply's text and counts; a reply that is not one counts as a failure that may pass."""
    try:
        body = reply.json()
        choice = body["choices"][0]
        message = choice["message"]
        text = message.get("content")
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        usage = body.get("usage") or {}
        if text is None and isinstance(reasoning, str):
            text = ""
        if not isinstance(text, str) or not isinstance(reasoning, (str, type(None))):
            raise TypeError("no text in the message")
        counts = (_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))
        return Answer(text, reasoning, choice.get("finish_reason"), *counts)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _PassingError(f"a reply that is not one ({error})") from None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
