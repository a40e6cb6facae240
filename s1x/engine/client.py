"""One client for every OpenAI-compatible server: of `engine=openai`, annotation and the judge.

Calls go to the server with the fewest in flight; a call that continues what a server wrote goes
back to it, where the prefix is cached. What may pass (a busy server, a time-out, a cut connection,
a malformed reply) is tried again after a pause that doubles; what will not pass (a wrong key or
address) stops the run in a sentence. A server is not trusted: time, size and form of its replies
are limited, redirects are not followed, and what it echoes of the key is masked.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import groupby
from typing import Protocol, TypeVar

import httpx2
import openai

from s1x.engine.replies import MalformedError, Reply, limit_size, reply_of
from s1x.engine.servers import Patience, Servers
from s1x.errors import UserError

T = TypeVar("T")

#: statuses after which another try may succeed, and those after which no call can
_PASSING = frozenset({408, 409, 425, 429, *range(500, 600)})
_HOPELESS = {401: "refuses the key", 403: "refuses the key", 404: "does not know the model or path"}
#: failures of a try, besides statuses, that may pass
_FAILURES = (
    asyncio.TimeoutError,
    openai.APIError,
    httpx2.HTTPError,
    MalformedError,
    ValueError,
    RecursionError,
)
#: characters of the key that count as an echo of it
_KEY_PIECE = 8


class GivenUpError(Exception):
    """A call that failed at every try; others may go well. The text is for people."""


class RefusedError(GivenUpError):
    """A call that the server says it can never serve."""


class UnreachableError(UserError):
    """No server answers any call."""


class _PassingError(Exception):
    """A failure that another try may mend; `pause_seconds` as the server asks, if it does."""

    def __init__(self, reason: str, pause_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds


class Exchange(Protocol):
    """A call whose reply comes in events, and that can go on after a failed try."""

    def body(self) -> Mapping[str, object] | None:
        """The request for what is still wanted, made anew for each try; None: nothing is."""
        ...

    def tokens(self) -> Sequence[int]:
        """The prefix with what has been written so far; it chooses the server."""
        ...

    def on_event(self, event: Reply) -> bool:
        """Takes an event; False: nothing more is wanted. May raise MalformedError."""
        ...

    def on_end(self) -> None:
        """The reply has ended. May raise MalformedError."""
        ...


@dataclass(eq=False)
class _Server:
    url: str
    sdk: openai.AsyncOpenAI
    slots: asyncio.Semaphore
    in_flight: int = 0
    resting_until: float = 0.0
    failures_in_a_row: int = 0


class Client:
    """One model behind its servers.

    Args:
        servers: their addresses.
        patience: time-outs and pauses.
        model: the model's name at the servers, for messages.
        where: the settings' place ("engine", "annotate.teacher"), for messages.
    """

    def __init__(self, servers: Servers, patience: Patience, model: str, where: str) -> None:
        self.settings, self.patience = servers, patience
        self.model, self.where = model, where
        self.num_slots = servers.concurrency * len(servers.base_urls)
        self._key = os.environ.get(servers.api_key_env, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise UserError(
                f"the environment variable {servers.api_key_env} holds no key: it has odd "
                "characters"
            )
        self._http: httpx2.AsyncClient | None = None
        self._servers: list[_Server] = []
        self._options: openai.RequestOptions = {}
        self._holders = _Holders()
        self._rng = random.Random()

    # -- calls ------------------------------------------------------------------------------------

    async def ask(self, path: str, body: Mapping[str, object], read: Callable[[Reply], T]) -> T:
        """What `read` makes of the reply; a `MalformedError` of it counts as a failed try.

        Raises:
            GivenUpError: no usable reply after all tries, or a refusal of this call.
            UnreachableError: no usable reply to any call.
            UserError: the key or the address is wrong.
        """

        async def once(server: _Server) -> T:
            async with aclosing(self._replies(server, path, body)) as replies:
                async for reply in replies:
                    return read(reply)
            raise MalformedError("no event in the stream")

        return await self._try(once)

    async def ask_json(
        self, path: str, body: Mapping[str, object], read: Callable[[Mapping[str, object]], T]
    ) -> T:
        """The same for a path whose reply is another JSON object (`/pooling`)."""

        async def once(server: _Server) -> T:
            reply = await server.sdk.post(path, cast_to=object, body=body, options=self._options)
            if not isinstance(reply, dict):
                raise MalformedError("the reply is no JSON object")
            return read(reply)

        return await self._try(once)

    async def stream(self, path: str, exchange: Exchange) -> None:
        """Hands each event of the reply to `exchange`, or the reply of a server that has none.

        Raises:
            GivenUpError, UnreachableError, UserError: see `ask`.
        """

        async def once(server: _Server) -> None:
            body = exchange.body()
            if body is None:
                return
            async with aclosing(self._replies(server, path, body)) as replies:
                async for reply in replies:
                    if not exchange.on_event(reply):
                        break
                exchange.on_end()

        await self._try(once, exchange.tokens)

    async def _replies(
        self, server: _Server, path: str, body: Mapping[str, object]
    ) -> AsyncGenerator[Reply, None]:
        kind = openai.AsyncStream[object]
        events = await server.sdk.post(
            path, cast_to=object, body=body, options=self._options, stream=True, stream_cls=kind
        )
        try:
            if "text/event-stream" in events.response.headers.get("content-type", ""):
                async for event in events:
                    yield reply_of(event)
            else:
                yield reply_of(await events.response.aread())
        finally:
            await events.close()

    async def close(self) -> None:
        """Closes all connections; the next call opens new ones."""
        if self._http is not None:
            await self._http.aclose()
            self._http, self._servers = None, []

    # -- tries ------------------------------------------------------------------------------------

    async def _try(
        self,
        once: Callable[[_Server], Awaitable[T]],
        prefix: Callable[[], Sequence[int]] = lambda: (),
    ) -> T:
        most, reason, failed = self.patience.max_tries, "", None
        self._connect()
        for attempt in range(most):
            begun = prefix()
            server = await self._choose(begun, failed)
            try:
                async with server.slots:
                    result = await self._once(server, once)
            except _PassingError as error:
                reason, failed = self._clean(f"{server.url}: {error}"), server
                self._rest(server, attempt, error.pause_seconds)
                at_once = attempt == 0 and len(self._servers) > 1  # another one may answer
                if attempt < most - 1 and not at_once:
                    await asyncio.sleep(self._pause(attempt, error.pause_seconds))
                continue
            finally:
                server.in_flight -= 1
                self._holders.note(prefix(), len(begun), server.url)
            server.failures_in_a_row = 0
            return result
        tries = f"{most} tries" if most > 1 else "one try"
        if all(s.failures_in_a_row >= most for s in self._servers):
            raise UnreachableError(
                f"{self.where}: no server of {self.model} answers, after {tries} ({reason}); "
                f"check {self.where}.base_urls and the server; what was answered is stored, the "
                "same command goes on"
            )
        raise GivenUpError(f"{reason} (after {tries})")

    async def _once(self, server: _Server, once: Callable[[_Server], Awaitable[T]]) -> T:
        """One try; whatever can go wrong becomes one of four errors."""
        try:
            return await asyncio.wait_for(once(server), self.patience.timeout_seconds)
        except UserError:
            raise
        except openai.APIStatusError as error:
            raise self._refusal(server, error.response) from None
        except _FAILURES as error:
            raise _PassingError(self._words(error)) from None

    def _words(self, error: BaseException) -> str:
        if isinstance(error, (asyncio.TimeoutError, openai.APITimeoutError)):
            return f"no whole reply within {self.patience.timeout_seconds:g} seconds"
        if isinstance(error, openai.APIConnectionError):
            error = error.__cause__ or error
        name, said = type(error).__name__, str(error)
        if isinstance(error, (MalformedError, ValueError, RecursionError)):
            return f"malformed reply: {said or name}"
        return f"{name} {said}".strip()

    def _refusal(self, server: _Server, reply: httpx2.Response) -> Exception:
        """The error that a status means."""
        status = reply.status_code
        said = self._clean(f"status {status}: {reply.text}"[: 4 * len(self._key) + 2000])[:200]
        if status in _PASSING:
            return _PassingError(said, _retry_after(reply.headers.get("retry-after", "")))
        if status in _HOPELESS:
            return UserError(
                f"{self.where}: {server.url} {_HOPELESS[status]} ({said}), model {self.model}; "
                f"check {self.where}.base_urls (it mostly ends in /v1), the model's name and "
                f"${self.settings.api_key_env}"
            )
        if 300 <= status < 400:
            target = self._clean(reply.headers.get("location", "another address"))[:200]
            return UserError(
                f"{self.where}: {server.url} redirects to {target}, and redirects are not "
                f"followed; put the right address into {self.where}.base_urls"
            )
        return RefusedError(f"{server.url} refuses the request ({said})")

    # -- which server, when -----------------------------------------------------------------------

    async def _choose(self, prefix: Sequence[int], failed: _Server | None = None) -> _Server:
        """The server that wrote the prefix, else the least loaded of those that are not resting.

        The one that has just failed the call is taken only where there is no other.
        """
        while True:
            now = time.monotonic()
            awake = {s.url: s for s in self._servers if s.resting_until <= now}
            if awake:
                if failed is not None and len(awake) > 1:
                    awake.pop(failed.url, None)
                least = min(awake.values(), key=lambda s: s.in_flight)
                server = awake.get(self._holders.find(prefix) or "", least)
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
        longest = self.patience.max_backoff_seconds
        if asked is not None:
            return min(asked, longest)
        pause = min(self.patience.backoff_seconds * 2.0 ** min(attempt, 60), longest)
        return pause * (0.5 + self._rng.random() / 2)

    # -- the wire ---------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._servers:
            return
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(self.patience.timeout_seconds, connect=10.0, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
            headers={"Accept-Encoding": "identity"},
            event_hooks={"response": [limit_size]},
        )
        hidden = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}
        if not self._key:
            self._options = {"headers": {"Authorization": openai.Omit()}}
        for url in self.settings.base_urls:
            sdk = openai.AsyncOpenAI(
                api_key=self._key or "none",
                base_url=url.rstrip("/"),
                max_retries=0,
                http_client=self._http,
                default_headers=hidden,  # type: ignore[arg-type]
            )
            self._servers.append(_Server(url, sdk, asyncio.Semaphore(self.settings.concurrency)))

    def _clean(self, text: str) -> str:
        """One printable line in which the key and pieces of it are masked."""
        key = self._key.lower()
        size = min(len(key), _KEY_PIECE)
        pieces = {key[i : i + size] for i in range(len(key) - size + 1)} - {""}
        found = (i for i in range(len(text)) if text[i : i + size].lower() in pieces)
        hidden = {place for i in found for place in range(i, i + size)}
        runs = groupby(enumerate(text), key=lambda item: item[0] in hidden)
        shown = "".join("***" if is_key else "".join(c for _, c in run) for is_key, run in runs)
        return " ".join("".join(c if c.isprintable() else " " for c in shown).split())


class _Holders:
    """Which server wrote which prefix, and so has it in its cache: the last 100,000 blocks.

    Prompts may begin alike, so what a server has only read is no reason to crowd it.
    """

    BLOCK, MOST = 32, 100_000

    def __init__(self) -> None:
        self._urls: OrderedDict[int, str] = OrderedDict()

    def find(self, prefix: Sequence[int]) -> str | None:
        """The server that wrote the end of the longest beginning of a prefix; None: nobody did."""
        wrote = [self._urls[name] for name, _ in self._blocks(prefix) if name in self._urls]
        return wrote[-1] if wrote else None

    def note(self, tokens: Sequence[int], num_read: int, url: str) -> None:
        """A server has written the tokens after the first `num_read`."""
        for name, end in self._blocks(tokens):
            if end > num_read:
                self._urls[name] = url
            if name in self._urls:
                self._urls.move_to_end(name)
        while len(self._urls) > self.MOST:
            self._urls.popitem(last=False)

    def _blocks(self, tokens: Sequence[int]) -> Iterator[tuple[int, int]]:
        """The name of each whole block, which says all tokens up to its end, and that end."""
        name = 0
        for end in range(self.BLOCK, len(tokens) + 1, self.BLOCK):
            name = hash((name, tuple(tokens[end - self.BLOCK : end])))
            yield name, end


def _retry_after(text: str) -> float | None:
    """Seconds that a Retry-After header asks for: a number or a date; None for anything else."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
        except (ValueError, TypeError, OverflowError):
            return None
    return seconds if seconds >= 0 else None
