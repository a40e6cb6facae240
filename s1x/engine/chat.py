"""Models that reply to messages, and those of them that stand behind servers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from s1x.engine.client import Client
from s1x.engine.replies import MalformedError, Reply, Usage

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
