"""The openai engine: any server with a completions endpoint (vLLM, SGLang, llama.cpp, providers).

Prefixes go out as token ids. Where the server returns ids (vLLM: `return_token_ids`), all is exact
and comes token by token. Where it returns text only, the text is tokenized here, word by word as it
comes, and checked: text and ids must say the same, and the prefix must not be tokenized otherwise
with the text after it. What fails the check is counted (`unstable_texts`), and refused when
`require_stable_text` is on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from s1x.engine.client import Client, GivenUpError, RefusedError
from s1x.engine.engine import Engine, LiveEngine, OnTokens, Request, Writing, ends_with_stop
from s1x.engine.live import run_in_loop
from s1x.engine.replies import Choice, MalformedError, Reply
from s1x.engine.servers import Patience, Servers
from s1x.errors import SettingError, UserError
from s1x.model.chat_format import TokenIds
from s1x.option import option, setting
from s1x.traces.confidence import NUM_LIKELIEST, Confidence, confidence_rows

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
        True, "take tokens as they are written, or words of text", affects_result=False
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
        self.usage.calls += 1
        writing = _Calls(request, on_tokens, engine=self)
        while not writing.is_done:
            writing.begin_call()
            self.usage.prompt_tokens += len(writing.tokens())
            try:
                await self.client.stream("/completions", writing)
            except GivenUpError as error:
                remedy = "check engine.base_urls and the server"
                if isinstance(error, RefusedError):
                    remedy = (
                        "strict servers need engine.send_extensions=false and "
                        "engine.return_token_ids=false"
                    )
                raise UserError(f"engine: {error}; {remedy}") from None
            finally:
                self.usage.generated_tokens += len(writing.written) - writing.begun

    def ids_of(self, prefix: TokenIds, text: str) -> list[int] | None:
        """Ids of a text after a prefix; None where prefix or text do not keep their tokens."""
        tail = list(prefix[-16:])
        joined = self.encode(self.decode(tail) + text)
        ids = joined[len(tail) :]
        return ids if joined[: len(tail)] == tail and self.decode(ids) == text else None

    def unstable_ids(self, text: str) -> list[int]:
        """Ids of a text that does not keep them; counted, or refused."""
        self.unstable_texts += 1
        if self.settings.require_stable_text:
            raise UserError(
                f"{self.settings.base_urls[0]} returns text whose tokens change when it is "
                f"read again ({text[-40:]!r}); use a server that returns token ids (vLLM), or "
                "set engine.require_stable_text=false to go on with the tokens it has here"
            )
        return self.encode(text)

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens kept."""
        return str(
            self.tokenizer.decode(
                list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )

    def close(self) -> None:
        run_in_loop(self.client.close())


#: stop strings that OpenAI's protocol allows
_MOST_STOPS = 4
_NO_CONFIDENCE = (
    "engine: the server {}, and sampling.confidence=true or the budget policy wants them; use a "
    "server that gives both (vLLM), engine=vllm or engine=transformers"
)


def _stop_strings(texts: Iterable[str]) -> list[str]:
    """The stop sequences as strings, without those that begin with another one.

    Raises:
        UserError: more than the protocol allows.
    """
    different = list(dict.fromkeys(texts))
    others = {text: [other for other in different if other != text] for text in different}
    found = [text for text, rest in others.items() if not text.startswith(tuple(rest))]
    if len(found) > _MOST_STOPS:
        raise UserError(
            f"engine.send_extensions=false sends {_MOST_STOPS} stop strings at most, and "
            f"{len(found)} are wanted (of line ends there are many); use a server that knows "
            "stop_token_ids, budget.closing=delimiter and no search by steps"
        )
    return found


def _id_of(name: str) -> int:
    """The id that a server names a token by ("token_id:17").

    Raises:
        UserError: it names tokens by their text.
    """
    head, _, number = name.partition("token_id:")
    if head or not number.isdecimal():
        raise UserError(_NO_CONFIDENCE.format("names the likeliest tokens by their text"))
    return int(number)


@dataclass(eq=False, kw_only=True)
class _Calls(Writing):
    """A request being served, by one call after another: an `Exchange` of the client.

    Attributes:
        begun, end: tokens written before the present call, and at most after it.
    """

    engine: OpenAIEngine
    begun: int = 0
    end: int = 0
    _text: str = ""
    _last: Choice = field(default_factory=Choice)

    def begin_call(self) -> None:
        """The next call is for tokens up to `end`; a ban holds for the first token alone."""
        self.begun = len(self.written)
        most = self.begun + self.engine.settings.max_request_tokens
        banned = self.request.ban_first and not self.written
        self.end = 1 if banned else min(self.request.max_tokens, most)

    def tokens(self) -> TokenIds:
        return (*self.request.prefix_ids, *self.written)

    def body(self) -> dict[str, object] | None:
        if self.is_done or len(self.written) == self.end:
            return None
        self._text = ""  # text that was cut off is asked for again
        request, settings = self.request, self.engine.settings
        sampling, stop = request.sampling, request.stop
        body: dict[str, object] = {
            "model": self.engine.served_model,
            "prompt": list(self.tokens()),
            "max_tokens": self.end - len(self.written),
            "temperature": sampling.temperature,
        }
        if not sampling.greedy:
            body |= {"top_p": sampling.top_p, "seed": sampling.seed % 2**31}
        if request.ban_first and not self.written:
            body["logit_bias"] = {str(token): -100 for token in request.ban_first}
        if settings.return_token_ids:
            body["return_token_ids"] = True
        if request.on_confidence is not None:
            body |= {"logprobs": NUM_LIKELIEST, "return_tokens_as_token_ids": True}
        if settings.stream:
            body["stream"] = True
        if settings.send_extensions:
            body |= {
                "ignore_eos": True,
                "skip_special_tokens": False,
                "spaces_between_special_tokens": False,
                "stop_token_ids": [ids[0] for ids in stop if len(ids) == 1],
            }
        else:
            body["stop"] = _stop_strings(map(self.engine.decode, stop))
        return body

    def on_event(self, event: Reply) -> bool:
        """Hands on the ids of an event at once; of text, the words that are whole."""
        if event.choices:  # one without only counts
            self._last = event.choice
            ids = self._last.token_ids
            if ids is None and self.request.on_confidence is not None:
                raise UserError(_NO_CONFIDENCE.format("returns text without token ids"))
            if ids is None:
                self._text += self._last.text or ""
                self._take_words()
            else:
                self._take(self._checked(ids), self._confidence(len(ids)))
        return self.is_wanted

    def _take_words(self) -> None:
        """Hands on all words but the last, if what follows them does not change their tokens."""
        words = self._text.rpartition(" ")[0].rstrip()
        ids = self.engine.ids_of(self.tokens(), words) if words else None
        whole = self.engine.ids_of(self.tokens(), self._text) if ids else None
        if ids and whole and whole[: len(ids)] == ids:
            self._text = self._text[len(words) :]
            self._take(ids[: self.end - len(self.written)])

    def on_end(self) -> None:
        """Tokenizes the text that is left.

        Raises:
            MalformedError: nothing was written.
        """
        if self.is_wanted and (self._text or len(self.written) == self.begun):
            ids = self.engine.ids_of(self.tokens(), self._text)
            ids = self._with_stop(self.engine.unstable_ids(self._text) if ids is None else ids)
            self._take(ids[: self.end - len(self.written)])
        if len(self.written) == self.begun:
            raise MalformedError(
                f"nothing written after a prefix of {len(self.tokens())} tokens; give "
                "engine.send_extensions=true if the server knows ignore_eos"
            )

    def _take(self, ids: Sequence[int], confidence: Confidence | None = None) -> None:
        if ids and self.is_wanted:
            self.take(ids, confidence)

    def _confidence(self, number: int) -> Confidence | None:
        """(tokens, 4) of the last event, where it is asked for.

        Raises:
            UserError: the server does not give log-probabilities, or too few of them.
        """
        if self.request.on_confidence is None or not number:
            return None
        given = self._last.logprobs
        if given is None:
            raise UserError(_NO_CONFIDENCE.format("gives no log-probabilities"))
        top = [sorted(names.items(), key=lambda item: -item[1]) for names in given.top_logprobs]
        width = min(NUM_LIKELIEST, len(self.engine.vocabulary))
        if len(given.token_logprobs) != number or any(len(likeliest) < width for likeliest in top):
            told = f"gives fewer than {width} log-probabilities a token"
            raise UserError(_NO_CONFIDENCE.format(told))
        return confidence_rows(
            np.array(given.token_logprobs),
            np.array([[value for _, value in likeliest[:width]] for likeliest in top]),
            np.array([[_id_of(name) for name, _ in likeliest[:width]] for likeliest in top]),
            self.request.end_ids,
        )

    def _checked(self, ids: list[int]) -> list[int]:
        for token in ids:
            if token not in self.engine.vocabulary:
                raise MalformedError(f"token_ids holds {token!r:.40}, which is no token")
        if len(ids) > self.end - len(self.written):
            raise MalformedError("more token_ids than were asked for")
        return ids

    def _with_stop(self, ids: list[int]) -> list[int]:
        """Puts back the stop sequence that servers cut off the text."""
        stops = self.request.stop
        there = ends_with_stop([*self.written[self.begun :], *ids], stops)
        if not stops or self._last.finish_reason != "stop" or there:
            return ids
        said = self._last.stop_reason
        named = (stop for stop in stops if said in (stop[0], self.engine.decode(stop)))
        return ids + list(next(named, stops[0]))
