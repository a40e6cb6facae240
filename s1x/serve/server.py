"""The HTTP side: routes, keys, limits, errors, and an orderly end.

A request is read whole (up to a limit), understood, put to work, and answered as a stream or in
one piece. Whoever hangs up costs no further token. Every fault is one sentence in OpenAI's error
object.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import signal
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from s1x.console import say
from s1x.errors import UserError
from s1x.serve.body import parse, read_model, understand
from s1x.serve.dialects import Budget
from s1x.serve.gateway import Gateway, Work, now, reported
from s1x.serve.page import page
from s1x.serve.refusal import Json, RefusedError, error_body
from s1x.serve.replies import DONE, SILENCE, Reply, event
from s1x.serve.serve import Serve

#: bodies of which the prompt takes more than a moment to read
_LONG_BYTES = 1 << 15
#: this machine's own names
_LOCAL = ("127.0.0.1", "localhost", "::1")


class App:
    """The routes of a gateway."""

    def __init__(self, gateway: Gateway, settings: Serve) -> None:
        self.gateway, self.settings = gateway, settings
        self.key = settings.api_key()
        self.model = gateway.prompts.model.name
        self.page_text, self.page_headers = page(gateway, self.key is not None)

    def build(self) -> FastAPI:
        """The application."""
        app = FastAPI(title="s1x", docs_url=None, redoc_url=None, openapi_url=None)
        for path in ("/v1", "/v1/{policy}"):
            app.add_api_route(f"{path}/chat/completions", self.chat, methods=["POST"])
            app.add_api_route(f"{path}/completions", self.text, methods=["POST"])
            app.add_api_route(f"{path}/models", self.models, methods=["GET"])
        app.add_api_route("/v1/models/{name:path}", self.one_model, methods=["GET"])
        app.add_api_route("/", self.page, methods=["GET"])
        app.add_api_route("/health", self.health, methods=["GET"])
        app.add_api_route("/metrics", self.metrics, methods=["GET"])
        app.add_exception_handler(UserError, self.refuse)
        app.add_exception_handler(HTTPException, self.refuse)
        app.add_exception_handler(Exception, self.fail)
        if self.settings.cors_origins:
            app.add_middleware(
                CORSMiddleware,
                allow_origins=self.settings.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=["*"],
            )
        return app

    # -- routes -----------------------------------------------------------------------------------

    async def chat(self, request: Request) -> Response:
        """`/v1/chat/completions`"""
        return await self._complete(request, chat=True)

    async def text(self, request: Request) -> Response:
        """`/v1/completions`"""
        return await self._complete(request, chat=False)

    async def models(self, request: Request) -> Response:
        """`/v1/models`: the model with each policy."""
        self._authorize(request)
        if policy := request.path_params.get("policy"):
            self._refuse_unknown(f"{self.model}@{policy}")
        served = self.gateway.served_policies()
        names = [self.model, *(f"{self.model}@{name}" for name in served)]
        return JSONResponse({"object": "list", "data": [_model(name) for name in names]})

    async def one_model(self, request: Request) -> Response:
        """`/v1/models/<name>`"""
        self._authorize(request)
        name = str(request.path_params["name"])
        self._refuse_unknown(name)
        return JSONResponse(_model(name))

    def _refuse_unknown(self, name: str) -> None:
        budget = Budget()
        read_model(name, self.model, self.gateway.policies, budget)
        self.gateway.policies.make(budget)

    async def page(self) -> Response:
        """`/`: the page."""
        return HTMLResponse(self.page_text, headers=self.page_headers)

    async def health(self) -> Response:
        """`/health`: the model is loaded."""
        return JSONResponse({"status": "ok", "model": self.model})

    async def metrics(self, request: Request) -> Response:
        """`/metrics`"""
        self._authorize(request)
        return Response(self.gateway.metrics.text(), media_type="text/plain; version=0.0.4")

    async def refuse(self, request: Request, error: Exception) -> Response:
        """A sentence in OpenAI's error object."""
        if isinstance(error, HTTPException):
            text = f"{request.method} {request.url.path[:200]}: {error.detail}"
            error = RefusedError(text, status=error.status_code)
        assert isinstance(error, UserError)
        if isinstance(error, RefusedError):
            return JSONResponse(error_body(error), error.status, headers=error.headers)
        return JSONResponse(error_body(error), 500)

    async def fail(self, request: Request, error: Exception) -> Response:
        """A fault of ours: told on the console, not to the client."""
        return JSONResponse(error_body(reported(error)), 500)

    # -- one request ------------------------------------------------------------------------------

    async def _complete(self, request: Request, chat: bool) -> Response:
        begun = now()
        self._authorize(request)
        raw, policy = await self._read(request), request.path_params.get("policy")
        gateway, settings = self.gateway, self.settings

        def prepare() -> Work:
            ask = understand(parse(raw), chat, policy, gateway.policies, self.model, settings)
            return gateway.prepare(ask, begun)

        # a long prompt is read beside the loop, in which others' tokens go out
        work = await asyncio.to_thread(prepare) if len(raw) > _LONG_BYTES else prepare()
        gateway.start(work)
        reply = Reply(work, chat)
        if work.ask.stream:
            headers = {**reply.headers(whole=False), "cache-control": "no-store"}
            events = self._events(work, reply)
            return StreamingResponse(events, headers=headers, media_type="text/event-stream")
        whole = await self._whole(request, work, reply)
        return JSONResponse(whole, headers=reply.headers(whole=True))

    async def _events(self, work: Work, reply: Reply) -> AsyncIterator[bytes]:
        """The stream: a role, pieces, the end of each answer, the counts."""
        try:
            if opening := b"".join(map(event, reply.first())):
                yield opening
            patience, pause = self.settings.keep_alive_seconds, self.settings.chunk_seconds
            async for batch in work.batches(patience, pause):
                if not batch:
                    yield SILENCE
                    continue
                yield b"".join(event(chunk) for item in batch for chunk in reply.chunks(item))
            yield b"".join([*map(event, reply.last()), DONE])
        except Exception as error:
            yield event(error_body(reported(error))) + DONE
        finally:
            work.abandon()

    async def _whole(self, request: Request, work: Work, reply: Reply) -> Json:
        watching = asyncio.ensure_future(_disconnected(request))
        watching.add_done_callback(lambda _: work.abandon())
        try:
            return reply.whole([item async for batch in work.batches() for item in batch])
        except Exception as error:
            raise reported(error) from None
        finally:
            watching.cancel()

    async def _read(self, request: Request) -> bytes:
        """The body, as long as it is allowed to be."""
        kind = request.headers.get("content-type", "application/json")
        if kind.partition(";")[0].strip().lower() != "application/json":
            text = f"content-type must be application/json, got {kind[:60]!r}"
            raise RefusedError(text, status=415)
        most = int(self.settings.max_body_mib * 2**20)
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > most:
                limit = f"{self.settings.max_body_mib:g} MiB"
                raise RefusedError(
                    f"the body is longer than {limit} (serve.max_body_mib)", status=413
                )
            parts.append(part)
        return b"".join(parts)

    def _authorize(self, request: Request) -> None:
        if self.key is None:
            # a web page whose name was turned to this address may not ask in this machine's name
            if self.settings.host in _LOCAL and request.url.hostname not in _LOCAL:
                text = f"host must be one of {', '.join(_LOCAL)}, got {request.url.hostname!r:.80}"
                raise RefusedError(f"{text}; other names need serve.api_key_env", status=403)
            return
        given = request.headers.get("authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, f"Bearer {self.key}".encode()):
            raise RefusedError(
                "a key is needed: Authorization: Bearer <key>",
                status=401,
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "s1x"}


async def _disconnected(request: Request) -> None:
    """Returns when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Server(uvicorn.Server):
    """Uvicorn, that ends by itself on Ctrl-C and SIGTERM once what is streaming has finished."""

    def __init__(self, gateway: Gateway, settings: Serve) -> None:
        config = uvicorn.Config(
            App(gateway, settings).build(),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=round(settings.stop_seconds) + 5,
            server_header=False,
        )
        super().__init__(config)
        self.gateway, self.settings = gateway, settings

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes nothing new, and ends what has not finished in time with a sentence."""
        if self.gateway.open:
            say(f"Stopping; what is at work gets {self.settings.stop_seconds:g} seconds.")
        stopping = asyncio.ensure_future(self.gateway.stop_after(self.settings.stop_seconds))
        await super().shutdown(sockets)
        stopping.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Asks the loop to stop; the signal goes no further."""
        kinds = (signal.SIGINT, signal.SIGTERM)
        before = {kind: signal.signal(kind, self.handle_exit) for kind in kinds}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)


async def serve(gateway: Gateway, settings: Serve) -> None:
    """Serves until it is stopped.

    Raises:
        UserError: the address is taken.
    """
    sock = listening_socket(settings)
    server = Server(gateway, settings)
    host, port = sock.getsockname()[:2]
    name, url = gateway.prompts.model.name, f"http://{f'[{host}]' if ':' in host else host}:{port}"
    say(f"s1x serves {name}: a page at {url}/ and the API at {url}/v1 (Ctrl-C ends it)")
    committing = asyncio.ensure_future(gateway.keep_committing())
    try:
        await server.serve(sockets=[sock])
    finally:
        committing.cancel()
        sock.close()


def listening_socket(settings: Serve) -> socket.socket:
    """The address as a socket on which connections wait.

    Raises:
        UserError: the address is taken.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # named in full, or asyncio leaves Nagle's algorithm on and the first tokens wait for 40 ms
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
    except OSError as error:
        sock.close()
        raise UserError(
            f"serve.host={settings.host} serve.port={settings.port}: {error.strerror or error}; "
            "choose another port (0: any free one)"
        ) from None
    sock.listen(2048)
    return sock
