"""What a server's reply must look like, and how large it may be; servers are not trusted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import httpx2
from pydantic import BaseModel, ConfigDict, Field, ValidationError

#: 100 times a usual reply; servers are asked not to compress, and a compressed reply is refused
MAX_REPLY_BYTES, MAX_STREAM_BYTES = 8 << 20, 64 << 20
_SHOWN_CHARACTERS = 200

Count = Annotated[int, Field(ge=0, lt=1 << 53)]


class MalformedError(Exception):
    """A reply that is not what the protocol says."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class Usage(_Part):
    """Tokens as the server counts them; None where it does not say."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None


class Message(_Part):
    """Of a chat; its reasoning has one of two names, where the server gives that apart."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class LogProbs(_Part):
    """Of a completion's tokens: their own, and those of the likeliest by name."""

    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]


class Choice(_Part):
    """What a model wrote: a message of a chat, or a text or ids of a completion."""

    message: Message | None = None
    text: str | None = None
    token_ids: list[int] | None = None
    logprobs: LogProbs | None = None
    finish_reason: str | None = None
    stop_reason: object = None


class Reply(_Part):
    """One reply, or one event of a stream of them; an event without choices only counts."""

    choices: list[Choice]
    usage: Usage | None = None

    @property
    def choice(self) -> Choice:
        """The first choice; raises MalformedError where there is none."""
        if not self.choices:
            raise MalformedError("no choices in the reply")
        return self.choices[0]


def reply_of(content: object) -> Reply:
    """The reply that JSON (bytes, or what was read from it) is.

    Raises:
        MalformedError: naming what is wrong.
    """
    try:
        if isinstance(content, bytes):
            return Reply.model_validate_json(content)
        return Reply.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = "".join(f"{place}: " for place in (".".join(map(str, first["loc"])),) if place)
        said = content.decode(errors="replace") if isinstance(content, bytes) else str(content)
        told = f"{where}{first['msg']} in {said[:_SHOWN_CHARACTERS]}"
        raise MalformedError(told) from None


async def limit_size(reply: httpx2.Response) -> None:
    """Refuses compressed replies, and puts a cap on the bytes of all others."""
    encoding = reply.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise MalformedError(f"compressed ({encoding:.40}) although asked not to be")
    is_stream = "text/event-stream" in reply.headers.get("content-type", "")
    assert isinstance(reply.stream, httpx2.AsyncByteStream)
    reply.stream = _Capped(reply.stream, MAX_STREAM_BYTES if is_stream else MAX_REPLY_BYTES)


class _Capped(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, most: int) -> None:
        self._stream, self._most = stream, most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        total = 0
        async for piece in self._stream:
            total += len(piece)
            if total > self._most:
                raise MalformedError(f"longer than {self._most >> 20} MiB")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()
