"""Models that reply to messages: behind servers, or on an engine of s1x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from s1x.engine.client import Client, GivenUpError
from s1x.engine.engine import Engine, LiveEngine, Request, Sampling, ends_with_stop
from s1x.engine.live import live_engine
from s1x.engine.replies import MalformedError, choice_of, text_of
from s1x.model.chat import prompt_ids, thinking_start_ids
from s1x.model.chat_format import ChatFormat
from s1x.model.load import load_tokenizer
from s1x.model.model import Model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What a model replied.

    Attributes:
        text: the reply.
        reasoning: its reasoning where the server gives that apart, else None.
        finish_reason: stop, length, ... as the server says.
        prompt_tokens, generated_tokens: as the server counts, None where it does not say.
    """

    text: str
    reasoning: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    generated_tokens: int | None = None


class ChatModel(Protocol):
    """Anything that replies to messages."""

    @property
    def name(self) -> str:
        """What tells its answers from another model's."""
        ...

    @property
    def memory(self) -> object:
        """What it takes up here; models that take up different things work one after another."""
        ...

    @property
    def num_slots(self) -> int:
        """Questions that are worth having in flight."""
        ...

    @property
    def device(self) -> tuple[str | None, int | None]:
        """What it runs on, and on how many, for the cost ledger."""
        ...

    async def ask(self, messages: Sequence[Message], sampling: Mapping[str, Any]) -> Answer:
        """One reply.

        Args:
            sampling: temperature, top_p, max_tokens, seed.

        Raises:
            GivenUpError: no reply to these messages; others may be answered.
            UserError: nothing can be answered.
        """
        ...

    async def close(self) -> None:
        """Frees what it holds."""
        ...


@dataclass(frozen=True)
class ServerChat:
    """A model behind OpenAI-compatible servers."""

    client: Client
    memory: object = "servers"

    @property
    def name(self) -> str:
        """The name that the servers know the model by."""
        return self.client.model

    @property
    def num_slots(self) -> int:
        """Calls that keep every server busy."""
        return self.client.num_slots

    @property
    def device(self) -> tuple[str | None, int | None]:
        """Servers, whose hardware is not known here."""
        return "server", len(self.client.settings.base_urls)

    async def ask(self, messages: Sequence[Message], sampling: Mapping[str, Any]) -> Answer:
        """See `ChatModel.ask`."""
        body = {"model": self.name, "messages": [dict(m) for m in messages], **sampling}
        return await self.client.ask("/chat/completions", body, _answer)

    async def close(self) -> None:
        """Closes the connections."""
        await self.client.close()


def _answer(reply: dict[str, Any]) -> Answer:
    choice, usage = choice_of(reply)
    message = choice.get("message")
    if not isinstance(message, dict):
        raise MalformedError("no message in the choice")
    text = text_of(message, "content")
    reasoning = text_of(message, "reasoning_content") or text_of(message, "reasoning")
    if text is None and reasoning is None:
        raise MalformedError("no text in the message")
    return Answer(
        text or "",
        reasoning,
        choice.get("finish_reason"),
        usage.prompt_tokens,
        usage.generated_tokens,
    )


@dataclass
class EngineChat:
    """A model in an engine, asked in its chat template; loaded with the first question.

    Attributes:
        engine: any option of the group engine.
        model: what answers.
        thinking: open the turn with the model's `thinking_start`, and take its trace apart.
    """

    engine: Engine
    model: Model
    thinking: bool = False
    num_slots: int = 512
    """Questions in flight: more than an engine batches, so that it never waits for one."""
    _loaded: tuple[LiveEngine, PreTrainedTokenizerBase, ChatFormat] | None = field(
        default=None, init=False
    )

    @cached_property
    def name(self) -> str:
        """Weights and chat format: what tells its answers from another model's."""
        way = " thinking" if self.thinking else ""
        return f"{self.model.name} {self.model.fingerprint()}{way}"

    @property
    def memory(self) -> object:
        """The weights: one model is loaded at a time."""
        return self.model

    @property
    def device(self) -> tuple[str | None, int | None]:
        """cpu, cuda, or server behind engine=openai, and how many; None while not loaded."""
        if self._loaded is None:
            return None, None
        identity = self._loaded[0].identity
        return identity.get("device", "server"), int(identity.get("num_devices", 1))

    async def ask(self, messages: Sequence[Message], sampling: Mapping[str, Any]) -> Answer:
        """See `ChatModel.ask`; a prompt longer than the model's context is given up."""
        live, tokenizer, form = self._load()
        prompt = tuple(prompt_ids(tokenizer, messages))
        if self.thinking:
            prompt += tuple(thinking_start_ids(tokenizer, self.model))
        room = min(sampling["max_tokens"], self.model.context_tokens - len(prompt))
        if room < 1:
            raise GivenUpError(f"a prompt of {len(prompt)} tokens leaves no room in the context")
        stops = form.answer_stops
        drawn = Sampling(sampling["temperature"], sampling["top_p"], sampling["seed"])
        ids: list[int] = []

        def on_tokens(new: Sequence[int]) -> bool:
            for token in new:  # an engine may write past a stop
                if ends_with_stop(ids, stops):
                    break
                ids.append(token)
            return not ends_with_stop(ids, stops)

        await live.generate(
            Request(
                prefix_ids=prompt, max_tokens=room, stop=stops, sampling=drawn, may_go_on=False
            ),
            on_tokens,
        )
        end = max((len(s) for s in stops if tuple(ids[-len(s) :]) == s), default=0)
        reply = form.decode(ids[: len(ids) - end])
        finish = "stop" if end else "length"
        if not self.thinking:
            return Answer(reply, None, finish, len(prompt), len(ids))
        trace, _, attempt = reply.partition(self.model.answer_start)
        return Answer(attempt, trace, finish, len(prompt), len(ids))

    def _load(self) -> tuple[LiveEngine, PreTrainedTokenizerBase, ChatFormat]:
        if self._loaded is None:
            tokenizer = load_tokenizer(self.model)
            live = live_engine(self.engine, self.model)
            self._loaded = (live, tokenizer, ChatFormat.of(self.model, tokenizer))
        return self._loaded

    async def close(self) -> None:
        """The engine stays for whoever asks next, and is closed at the end of the process."""
