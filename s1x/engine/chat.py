"""Models that reply to messages: behind servers, or on an engine of s1x."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s1x.engine.client import Client, GivenUpError
from s1x.engine.engine import Engine, LiveEngine, Request, Sampling, ends_with_stop
from s1x.engine.live import live_engine
from s1x.engine.replies import MalformedError, Reply, Usage
from s1x.model.chat import direct_turn_ids, prompt_ids, thinking_start_ids
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


class ChatModel(ABC):
    """Anything that replies to messages.

    Attributes:
        name: what tells its answers from another model's.
        memory: what it takes up here; models that take up different things work one after another.
        num_slots: questions that are worth having in flight.
    """

    name: str
    memory: object
    num_slots: int

    @property
    @abstractmethod
    def device(self) -> tuple[str | None, int | None]:
        """What it runs on, and on how many, for the cost ledger."""

    @abstractmethod
    async def ask(
        self,
        messages: Sequence[Message],
        *,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
    ) -> Answer:
        """One reply.

        Raises:
            GivenUpError: no reply to these messages; others may be answered.
            UserError: nothing can be answered.
        """

    async def close(self) -> None:
        """Frees what it holds."""


class ServerChat(ChatModel):
    """A model behind OpenAI-compatible servers."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.name, self.memory, self.num_slots = client.model, "servers", client.num_slots

    @property
    def device(self) -> tuple[str | None, int | None]:
        return "server", len(self.client.settings.base_urls)

    async def ask(self, messages: Sequence[Message], **sampling: float) -> Answer:
        body = {"model": self.name, "messages": [dict(m) for m in messages], **sampling}
        return await self.client.ask("/chat/completions", body, _answer)

    async def close(self) -> None:
        await self.client.close()


def _answer(reply: Reply) -> Answer:
    message, usage = reply.choice.message, reply.usage or Usage()
    reasoning = (message.reasoning_content or message.reasoning) if message else None
    if message is None or (message.content is None and reasoning is None):
        raise MalformedError("no text in the message")
    return Answer(
        message.content or "",
        reasoning,
        reply.choice.finish_reason,
        usage.prompt_tokens,
        usage.completion_tokens,
    )


class EngineChat(ChatModel):
    """A model in an engine, asked in its chat template; loaded with the first question.

    Args:
        engine: any option of the group engine.
        model: what answers; one is loaded at a time.
        thinking: open the turn with the model's `thinking_start`, and take its trace apart.
    """

    num_slots = 512  # more than an engine batches, so that it never waits for a question

    def __init__(self, engine: Engine, model: Model, thinking: bool = False) -> None:
        self.engine, self.model, self.thinking = engine, model, thinking
        self.memory = model
        self.name = f"{model.name} {model.fingerprint()}{' thinking' if thinking else ''}"
        self._loaded: tuple[LiveEngine, PreTrainedTokenizerBase, ChatFormat] | None = None

    @property
    def device(self) -> tuple[str | None, int | None]:
        if self._loaded is None:
            return None, None
        identity = self._loaded[0].identity
        return identity.get("device", "server"), identity.get("num_devices", 1)

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
    ) -> Answer:
        """See `ChatModel.ask`; a prompt longer than the model's context is given up."""
        if self._loaded is None:
            tokenizer, live = load_tokenizer(self.model), live_engine(self.engine, self.model)
            self._loaded = (live, tokenizer, ChatFormat.of(self.model, tokenizer))
        live, tokenizer, form = self._loaded
        if self.thinking:
            start = thinking_start_ids(tokenizer, self.model)
            prompt = (*prompt_ids(tokenizer, messages), *start)
        else:
            prompt = tuple(direct_turn_ids(tokenizer, self.model, messages))
        room = min(max_tokens, self.model.context_tokens - len(prompt))
        if room < 1:
            raise GivenUpError(f"a prompt of {len(prompt)} tokens leaves no room in the context")
        stops = form.answer_stops
        ids: list[int] = []

        def on_tokens(new: Sequence[int]) -> bool:
            for token in new:  # an engine may write past a stop
                if ends_with_stop(ids, stops):
                    break
                ids.append(token)
            return not ends_with_stop(ids, stops)

        request = Request(
            prefix_ids=prompt,
            max_tokens=room,
            stop=stops,
            sampling=Sampling(temperature, top_p, seed),
            may_go_on=False,
        )
        await live.generate(request, on_tokens)
        end = max((len(s) for s in stops if tuple(ids[-len(s) :]) == s), default=0)
        reply = form.decode(ids[: len(ids) - end])
        trace: str | None = None
        if self.thinking:
            trace, _, reply = reply.partition(self.model.answer_start.rstrip())
            reply = reply.lstrip("\n")
        return Answer(reply, trace, "stop" if end else "length", len(prompt), len(ids))
