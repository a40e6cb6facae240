"""The openai engine: any server with a completions endpoint (vLLM, SGLang, llama.cpp, providers).

Prefixes go out as token ids. Where the server returns ids (vLLM: `return_token_ids`), all is exact
and comes token by token. Where it returns text only, the text is tokenized here and checked: text
and ids must say the same, and the prefix must not be tokenized otherwise with the text after it.
What fails the check is counted (`unstable_texts`), and refused when `require_stable_text` is on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from s1x.engine.client import Client, GivenUpError, RefusedError
from s1x.engine.engine import Engine, LiveEngine, OnTokens, Request, ends_with_stop
from s1x.engine.replies import MalformedError, choice_of, text_of
from s1x.engine.servers import Patience, Servers
from s1x.errors import SettingError, UserError
from s1x.model.chat_format import TokenIds
from s1x.option import option, setting

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from s1x.model.model import Model

ROLES = ("base", "fine_tuned")


@option("engine", "openai")
@dataclass(frozen=True)
class OpenAI(Engine, Servers, Patience):
    """Asks an OpenAI-compatible server for completions of token ids; the tokenizer is read here."""

    is_remote: ClassVar = True
    renamed: ClassVar = {
        "base_url": "base_urls",
        "api_key_variable": "api_key_env",
        "max_concurrency": "concurrency",
        "max_retries": "max_tries",
        "first_wait_seconds": "backoff_seconds",
    }

    concurrency: int = setting(
        32, "calls in flight at each server", at_least=1, affects_result=False
    )
    served_model: str | None = setting(None, "the model's name there; null: `model.path`")
    served_models: dict[str, str] = setting(
        factory=dict, doc="names for each role instead: {base: ..., fine_tuned: ...}"
    )
    max_request_tokens: int = setting(
        2048, "tokens of one request at most; longer pieces come in several", at_least=1
    )
    stream: bool = setting(
        True, "take tokens as they are written, where the server returns ids", affects_result=False
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
        if not self.base_urls:
            remedy = "give engine.base_urls=[http://localhost:8000/v1]"
            raise SettingError("base_urls", "addresses of servers", [], remedy)
        for role in self.served_models:
            if role not in ROLES:
                raise SettingError("served_models", "names for base and fine_tuned", role)

    def check_roles(self, roles: Sequence[str]) -> None:
        """Refuses one served model for both roles, which would compare a model with itself."""
        named = [n for n in map(self._served, roles) if n is not None]
        if len(named) > len(set(named)):
            raise SettingError(
                "engine.served_models" if self.served_models else "engine.served_model",
                "another name for each model that answers (base and fine_tuned)",
                named[0],
                "give engine.served_models={base: ..., fine_tuned: ...}, or one model only: "
                "evaluate.models=[base]",
            )

    def for_role(self, role: str) -> OpenAI:
        """These settings with the name that the role's model has at the servers."""
        return dataclasses.replace(self, served_model=self._served(role), served_models={})

    def _served(self, role: str) -> str | None:
        return self.served_models.get(role, self.served_model)

    def start(self, model: Model) -> LiveEngine:
        """Reads the tokenizer; the server is asked with the first request."""
        from s1x.model.load import load_tokenizer

        return OpenAIEngine(self, self.served_model or model.path, load_tokenizer(model))


class OpenAIEngine(LiveEngine):
    """See the module.

    Args:
        settings: of the option.
        served_model: the model's name at the servers.
        tokenizer: of the same model.
    """

    keeps_samples = False

    def __init__(
        self, settings: OpenAI, served_model: str, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        super().__init__()
        self.settings, self.served_model, self.tokenizer = settings, served_model, tokenizer
        self.client = Client(settings, settings, served_model, "engine")
        self.max_sequences = self.client.num_slots
        self.identity = {"engine": "openai", "model": served_model}
        self.vocabulary = frozenset(tokenizer.get_vocab().values())
        self.unstable_texts = 0

    async def generate(self, request: Request, on_tokens: OnTokens) -> None:
        """See `LiveEngine.generate`."""
        self.usage.calls += 1
        written: list[int] = []
        while len(written) < request.max_tokens and not ends_with_stop(written, request.stop):
            piece = _Piece(self, request, on_tokens, written)
            self.usage.prompt_tokens += len(piece.tokens())
            try:
                await self.client.stream("/completions", piece)
            except GivenUpError as error:
                remedy = "check engine.base_urls and the server"
                if isinstance(error, RefusedError):
                    remedy = (
                        "strict servers need engine.send_extensions=false and "
                        "engine.return_token_ids=false"
                    )
                raise UserError(f"engine: {error}; {remedy}") from None
            finally:
                self.usage.generated_tokens += len(written) - piece.begun
            if not piece.is_wanted:
                break

    def body(
        self, request: Request, prefix: TokenIds, max_tokens: int, banned: TokenIds
    ) -> dict[str, Any]:
        """The JSON of a request for `max_tokens` after a prefix."""
        sampling, settings = request.sampling, self.settings
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
        if settings.stream and settings.return_token_ids:
            body["stream"] = True
        if settings.return_token_ids:
            body["return_token_ids"] = True
        if settings.send_extensions:
            body |= {
                "ignore_eos": True,
                "skip_special_tokens": False,
                "spaces_between_special_tokens": False,
                "stop_token_ids": [stop[0] for stop in request.stop if len(stop) == 1],
            }
        else:
            body["stop"] = [self.decode(stop) for stop in request.stop][:4]
        return body

    def ids_of(self, prefix: TokenIds, text: str) -> list[int]:
        """Ids of a returned text, checked."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        tail = list(prefix[-16:])
        joined = self.tokenizer(self.decode(tail) + text, add_special_tokens=False)["input_ids"]
        if self.decode(ids) != text or list(joined) != tail + list(ids):
            self.unstable_texts += 1
            if self.settings.require_stable_text:
                raise UserError(
                    f"{self.settings.base_urls[0]} returns text whose tokens change when it is "
                    f"read again ({text[-40:]!r}); use a server that returns token ids (vLLM), or "
                    "set engine.require_stable_text=false to go on with the tokens it has here"
                )
        return list(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens kept."""
        text = self.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        assert isinstance(text, str)
        return text

    def close(self) -> None:
        """Closes the connections."""
        from s1x.engine.live import run_in_loop

        run_in_loop(self.client.close())


@dataclass
class _Piece:
    """One call's share of a request: an `Exchange` of the client.

    Attributes:
        written: what the request has so far; grows.
        is_wanted: whether anybody wants more.
    """

    engine: OpenAIEngine
    request: Request
    on_tokens: OnTokens
    written: list[int]
    is_wanted: bool = True
    _texts: list[str] = field(default_factory=list)
    _last: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.begun = len(self.written)
        self.end = min(
            self.request.max_tokens, self.begun + self.engine.settings.max_request_tokens
        )
        if self.request.ban_first and not self.written:
            self.end = 1

    def tokens(self) -> TokenIds:
        """The prefix of the request and what has been written."""
        return (*self.request.prefix_ids, *self.written)

    def body(self) -> dict[str, Any] | None:
        """Asks for the rest; text that was cut off is asked for again."""
        num_left = self.end - len(self.written)
        if not num_left or not self.is_wanted or self._has_stopped():
            return None
        self._texts.clear()
        banned = () if self.written else self.request.ban_first
        return self.engine.body(self.request, self.tokens(), num_left, banned)

    def on_event(self, event: dict[str, Any]) -> bool:
        """Hands on the ids of an event at once, and keeps its text where it has none."""
        if event.get("choices") == [] and "error" not in event:
            return True  # an event that only counts
        self._last, _ = choice_of(event)
        ids = self._last.get("token_ids")
        if ids is None:
            self._texts.append(text_of(self._last, "text") or "")
            return True
        return self._take(self._checked(ids))

    def on_end(self) -> None:
        """Tokenizes what came as text only.

        Raises:
            MalformedError: nothing was written.
        """
        text = "".join(self._texts)
        if self.is_wanted and (text or len(self.written) == self.begun):
            ids = self._with_stop(self.engine.ids_of(self.tokens(), text))
            self._take(ids[: self.end - len(self.written)])
        if len(self.written) == self.begun:
            raise MalformedError(
                f"nothing written after a prefix of {len(self.tokens())} tokens; give "
                "engine.send_extensions=true if the server knows ignore_eos"
            )

    def _has_stopped(self) -> bool:
        return len(self.written) > self.begun and ends_with_stop(self.written, self.request.stop)

    def _take(self, ids: Sequence[int]) -> bool:
        if ids:
            self.written += ids
            self.is_wanted = self.on_tokens(ids) and self.is_wanted
        return self.is_wanted

    def _checked(self, ids: object) -> list[int]:
        if not isinstance(ids, list):
            raise MalformedError("token_ids is no list")
        for token in ids:
            if type(token) is not int or token not in self.engine.vocabulary:
                raise MalformedError(f"token_ids holds {token!r:.40}, which is no token")
        if len(ids) > self.end - len(self.written):
            raise MalformedError("more token_ids than were asked for")
        return ids

    def _with_stop(self, ids: list[int]) -> list[int]:
        """Puts back the stop sequence that servers cut off the text."""
        stops = self.request.stop
        if self._last.get("finish_reason") != "stop" or ends_with_stop(ids, stops):
            return ids
        said = self._last.get("stop_reason")
        for stop in stops:
            if said in (stop[0], self.engine.decode(stop)):
                return ids + list(stop)
        return ids + list(stops[0]) if stops else ids
