"""What a server's reply must look like; servers are not trusted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

#: 100 times a usual reply; servers are asked not to compress, and a compressed reply is refused
MAX_REPLY_BYTES = 8 << 20
MAX_STREAM_BYTES = 64 << 20
_MAX_COUNT = 1 << 53


class MalformedError(Exception):
    """A reply that is not what the protocol says."""


@dataclass(frozen=True)
class Usage:
    """Tokens as the server counts them; None where it does not say."""

    prompt_tokens: int | None = None
    generated_tokens: int | None = None


def choice_of(reply: dict[str, Any]) -> tuple[dict[str, Any], Usage]:
    """The first choice of a reply and its usage, both checked.

    Raises:
        MalformedError: naming what is wrong.
    """
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        said = json.dumps(reply.get("error", reply), ensure_ascii=False)
        raise MalformedError(f"no choices in {said[:200]}")
    if not isinstance(choices[0].get("finish_reason"), (str, type(None))):
        raise MalformedError("finish_reason is no text")
    return choices[0], usage_of(reply)


def usage_of(reply: dict[str, Any]) -> Usage:
    """The token counts of a reply; raises MalformedError where they are none."""
    usage = reply.get("usage")
    if usage is None:
        return Usage()
    if not isinstance(usage, dict):
        raise MalformedError("usage is no object")
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    for count in counts:
        is_count = isinstance(count, int) and not isinstance(count, bool)
        if count is not None and not (is_count and 0 <= count < _MAX_COUNT):
            raise MalformedError(f"usage counts {count!r:.40} tokens")
    return Usage(*counts)


def text_of(holder: Mapping[str, Any], name: str) -> str | None:
    """A text of a reply, or None where it is missing; raises MalformedError for anything else."""
    text = holder.get(name)
    if text is None:
        return None
    if not isinstance(text, str):
        raise MalformedError(f"{name} is no text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MalformedError(f"{name} is not Unicode (it has half a surrogate pair)") from None
    return text


def object_of(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; raises MalformedError where it is none."""
    try:
        return as_object(json.loads(body.decode()))
    except json.JSONDecodeError as error:
        raise MalformedError(f"not JSON ({error})") from None
    except UnicodeDecodeError:
        raise MalformedError("not UTF-8") from None


def as_object(value: object) -> dict[str, Any]:
    """The value, if it is an object; raises MalformedError for anything else."""
    if not isinstance(value, dict):
        raise MalformedError("no JSON object")
    return value


async def limit_size(reply: httpx2.Response) -> None:
    """Refuses compressed replies, and puts a cap on the bytes of all others."""
    encoding = reply.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise MalformedError(f"compressed ({encoding:.40}) although asked not to be")
    is_stream = "text/event-stream" in reply.headers.get("content-type", "")
    most = MAX_STREAM_BYTES if is_stream else MAX_REPLY_BYTES
    assert isinstance(reply.stream, httpx2.AsyncByteStream)
    reply.stream = _Capped(reply.stream, most)


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
