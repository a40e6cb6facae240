"""The openai engine: any server with a completions endpoint (vLLM, SGLang, llama.cpp, providers).

Prefixes go out as token ids. Where the server returns ids (vLLM: `return_token_ids`), all is exact.
Where it returns text only, the text is tokenized here and checked: text and ids must say the same,
and the prefix must not be tokenized otherwise with the text after it. What fails the check is
counted (`unstable_texts`), and refused when `require_stable_text` is on.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s1x.engine.engine import Engine, LiveEngine, OnTokens, Request, ends_with_stop
from s1x.errors import SettingError, UserError
from s1x.model.chat_format import TokenIds
from s1x.option import option, setting

if TYPE_CHECKING:
    import httpx

    from s1x.model.model import Model

#: answers of a server that are worth another try: too many requests, or trouble of its own
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


@option("engine", "openai")
@dataclass(frozen=True)
class OpenAI(Engine):
    """Asks an OpenAI-compatible server for completions of token ids; the tokenizer is read here."""

    base_url: str = setting(doc="of the API, such as http://localhost:8000/v1")
    served_model: str | None = setting(None, "the model's name there; null: `model.path`")
    api_key_variable: str = setting(
        "OPENAI_API_KEY", "environment variable that holds the key, if one is needed"
    )
    max_concurrency: int = setting(32, "requests open at the same time", at_least=1)
    max_retries: int = setting(6, "tries after a first one that failed", at_least=0)
    first_wait_seconds: float = setting(1.0, "before the first retry; doubles each time", above=0)
    timeout_seconds: float = setting(600.0, "for one request", above=0)
    max_request_tokens: int = setting(
        2048, "tokens of one request at most; longer pieces come in several", at_least=1
    )
    return_token_ids: bool = setting(
        True, "ask for ids (vLLM); servers that don't know it ignore it"
    )
    send_extensions: bool = setting(
        True, "send vLLM's further fields (stop_token_ids, ignore_eos); false for strict servers"
    )
    require_stable_text: bool = setting(
        False, "stop when text comes back that does not keep its tokens"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.base_url.startswith(("http://", "https://")):
            raise SettingError(
                "base_url", "an address", self.base_url, "such as http://localhost:8000/v1"
            )

    def start(self, model: Model) -> LiveEngine:
        """Reads the tokenizer; the server is asked with the first request."""
        from s1x.model.load import load_tokenizer

        return OpenAIEngine(self, self.served_model or model.path, load_tokenizer(model))


class OpenAIEngine(LiveEngine):
    """See the module.

    Args:
        settings: of the option.
        served_model: the model's name at the server.
        tokenizer: of the same model.
    """

    keeps_samples = False

    def __init__(self, settings: OpenAI, served_model: str, tokenizer: Any) -> None:
        super().__init__()
        self.settings, self.served_model, self.tokenizer = settings, served_model, tokenizer
        self.max_sequences = settings.max_concurrency
        self.identity = {"engine": "openai", "server": settings.base_url, "model": served_model}
        self.unstable_texts = 0
        self._client: httpx.AsyncClient | None = None
        self._open = asyncio.Semaphore(settings.max_concurrency)
        self._rng = random.Random(0)

    async def generate(self, request: Request, on_tokens: OnTokens) -> None:
        """See `LiveEngine.generate`."""
        written: list[int] = []
        self.usage.calls += 1
        while len(written) < request.max_tokens:
            prefix = (*request.prefix_ids, *written)
            most = min(request.max_tokens - len(written), self.settings.max_request_tokens)
            ids = await self._ask(request, prefix, 1 if request.ban_first and not written else most)
            self.usage.prompt_tokens += len(prefix)
            self.usage.generated_tokens += len(ids)
            if not ids:
                raise UserError(
                    f"the server {self.settings.base_url} wrote nothing after a prefix of "
                    f"{len(prefix)} tokens; give engine.send_extensions=true if it knows ignore_eos"
                )
            written += ids
            if not on_tokens(ids) or ends_with_stop(written, request.stop):
                break

    async def _ask(self, request: Request, prefix: TokenIds, max_tokens: int) -> list[int]:
        begun_new = len(prefix) == len(request.prefix_ids)
        body = self._body(request, prefix, max_tokens, request.ban_first if begun_new else ())
        reply = await self._post(body)
        try:
            choice = reply["choices"][0]
            ids = choice.get("token_ids")
            text = choice.get("text")
        except (KeyError, IndexError, TypeError, AttributeError):
            raise UserError(
                f"{self.settings.base_url} sent no completion: {reply!r:.200}"
            ) from None
        if ids is not None:
            return [int(token) for token in ids][:max_tokens]
        ids = self._ids_of(prefix, text or "")
        return self._with_stop(ids, choice, request)[:max_tokens]

    def _body(
        self, request: Request, prefix: TokenIds, max_tokens: int, banned: TokenIds
    ) -> dict[str, Any]:
        sampling, settings = request.sampling, self.settings
        single = [stop[0] for stop in request.stop if len(stop) == 1]
        body: dict[str, Any] = {
            "model": self.served_model,
            "prompt": list(prefix),
            "max_tokens": max_tokens,
            "temperature": sampling.temperature,
        }
        if not sampling.greedy:
            body |= {"top_p": sampling.top_p, "seed": sampling.seed % 2**31}
        if banned:
            body["logit_bias"] = {str(token): -100 for token in banned}
        if settings.return_token_ids:
            body["return_token_ids"] = True
        if settings.send_extensions:
            body |= {
                "ignore_eos": True,
                "skip_special_tokens": False,
                "spaces_between_special_tokens": False,
                "stop_token_ids": single,
            }
        else:
            body["stop"] = [self._decode(stop) for stop in request.stop][:4]
        return body

    # -- text -------------------------------------------------------------------------------------

    def _ids_of(self, prefix: TokenIds, text: str) -> list[int]:
        """Ids of a returned text, checked."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        tail = list(prefix[-16:])
        joined = self.tokenizer(self._decode(tail) + text, add_special_tokens=False)["input_ids"]
        if self._decode(ids) != text or list(joined) != tail + list(ids):
            self.unstable_texts += 1
            if self.settings.require_stable_text:
                raise UserError(
                    f"{self.settings.base_url} returns text whose tokens change when it is read "
                    f"again ({text[-40:]!r}); use a server that returns token ids (vLLM), or set "
                    "engine.require_stable_text=false to go on with the tokens it has here"
                )
        return list(ids)

    def _with_stop(self, ids: list[int], choice: dict[str, Any], request: Request) -> list[int]:
        """Puts back the stop sequence that servers cut off the text."""
        if choice.get("finish_reason") != "stop" or ends_with_stop(ids, request.stop):
            return ids
        said = choice.get("stop_reason")
        for stop in request.stop:
            if said in (stop[0], self._decode(stop)):
                return ids + list(stop)
        return ids + list(request.stop[0]) if request.stop else ids

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    # -- the wire ---------------------------------------------------------------------------------

    async def _post(self, body: dict[str, Any]) -> Any:
        """One request with retries: on timeouts, lost connections and what `_RETRIED` names."""
        import httpx

        settings = self.settings
        url = settings.base_url.rstrip("/") + "/completions"
        trouble = ""
        for attempt in range(settings.max_retries + 1):
            wait_seconds = settings.first_wait_seconds * 2**attempt
            try:
                async with self._open:
                    reply = await self._session().post(url, json=body)
            except httpx.HTTPError as error:
                trouble = str(error) or type(error).__name__
            else:
                if reply.status_code == 200:
                    return reply.json()
                trouble = f"status {reply.status_code}: {reply.text[:200]}"
                if reply.status_code not in _RETRIED:
                    raise UserError(f"{url} refuses the request, {trouble}; {_remedy(reply)}")
                wait_seconds = max(wait_seconds, _told_to_wait(reply))
            if attempt < settings.max_retries:
                await asyncio.sleep(wait_seconds * self._rng.uniform(0.5, 1.5))
        raise UserError(
            f"{url} cannot be reached after {settings.max_retries + 1} tries ({trouble}); "
            "check engine.base_url and the server"
        )

    def _session(self) -> httpx.AsyncClient:
        import httpx

        if self._client is None:
            key = os.environ.get(self.settings.api_key_variable)
            self._client = httpx.AsyncClient(
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=self.settings.timeout_seconds,
                limits=httpx.Limits(max_connections=self.settings.max_concurrency),
            )
        return self._client

    def close(self) -> None:
        """Closes the connections."""
        from s1x.engine.live import run_in_loop

        if self._client is not None:
            run_in_loop(self._client.aclose())
            self._client = None


def _told_to_wait(reply: httpx.Response) -> float:
    """Seconds of a Retry-After header; 0 where there is none."""
    try:
        return float(reply.headers.get("retry-after", 0))
    except ValueError:
        return 0.0


def _remedy(reply: httpx.Response) -> str:
    if reply.status_code in (401, 403):
        return "set the environment variable that engine.api_key_variable names"
    if reply.status_code == 404:
        return "check engine.base_url (it ends in /v1, mostly) and engine.served_model"
    return "strict servers need engine.send_extensions=false and engine.return_token_ids=false"
