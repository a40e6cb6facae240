"""The scripted engine: a model without weights, for tests and documentation.

It writes what a script says after a given text, and otherwise draws tokens from a hash of the
prefix: endless, different for every prefix, and the same on every machine.
"""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from s1x.engine.engine import Engine, LiveEngine, OnTokens, Request, Writing
from s1x.model.chat_format import ChatFormat, TokenIds
from s1x.option import option, setting
from s1x.traces.confidence import Confidence

if TYPE_CHECKING:
    from s1x.model.model import Model

#: given all ids so far and the request, the next id
NextToken = Callable[[Sequence[int], Request], int]


@option("engine", "scripted")
@dataclass(frozen=True)
class Scripted(Engine):
    """Writes a script: after a prefix that ends in a key of `script` comes its text.

    What no key fits is followed by `otherwise`; when a text is at its end, the end of the turn
    comes for ever. The model's tokenizer is needed, its weights are not.
    """

    script: dict[str, str] = setting(factory=dict, doc="end of a prefix → what is written after it")
    otherwise: str = setting("", "what is written where no key of the script fits")

    def start(self, model: Model) -> LiveEngine:
        from s1x.model.load import load_tokenizer

        form = ChatFormat.of(model, load_tokenizer(model))
        stop = form.answer_stops[0]

        def text_after(prefix: TokenIds) -> TokenIds:
            text = form.decode(prefix)
            keys = [key for key in self.script if text.endswith(key)]
            written = self.script[max(keys, key=len)] if keys else self.otherwise
            return form.encode(written) + stop

        return ScriptedEngine(_Script(text_after, stop))


class _Script:
    """Continues each stream by the text that its root calls for."""

    def __init__(self, text_after: Callable[[TokenIds], TokenIds], pad: TokenIds) -> None:
        self.text_after, self.pad = text_after, pad
        self.texts: dict[TokenIds, TokenIds] = {}

    def __call__(self, ids: Sequence[int], request: Request) -> int:
        root = request.prefix_ids
        begun = next(
            (k for k in self.texts if root[: len(k)] == k and self._goes_on(k, root)), root
        )
        text = self.texts.setdefault(begun, self.text_after(begun))
        at = len(ids) - len(begun)
        return text[at] if at < len(text) else self.pad[(at - len(text)) % len(self.pad)]

    def _goes_on(self, begun: TokenIds, root: TokenIds) -> bool:
        return self.texts[begun][: len(root) - len(begun)] == root[len(begun) :]


class ScriptedEngine(LiveEngine):
    """Writes whatever a function says, token by token, and keeps every request it got.

    Args:
        next_token: the function.
        max_sequences: its appetite.
    """

    keeps_samples = True

    def __init__(self, next_token: NextToken, max_sequences: int = 64) -> None:
        super().__init__()
        self.next_token, self.max_sequences = next_token, max_sequences
        self.identity = {"engine": "scripted"}
        self.requests: list[tuple[Request, int]] = []

    async def generate(self, request: Request, on_tokens: OnTokens) -> None:
        """See `LiveEngine`; other tasks run between any two tokens."""
        ids, writing = list(request.prefix_ids), Writing(request, on_tokens)
        while not writing.is_done:
            await asyncio.sleep(0)
            ids.append(self.next_token(ids, request))
            asked = request.on_confidence is not None
            writing.take(ids[-1:], hashed_confidence(ids) if asked else None)
        written = len(writing.written)
        self.requests.append((request, written))
        self.usage.calls += 1
        self.usage.prompt_tokens += len(request.prefix_ids)
        self.usage.generated_tokens += written


def hashed_confidence(ids: Sequence[int]) -> Confidence:
    """(1, 4) values that could be a model's, drawn from a hash of all ids up to the token."""
    digest = hashlib.blake2b(array("i", ids).tobytes(), digest_size=8).digest()
    log_prob, entropy, mean = (-4 * b / 255 for b in digest[:3])
    return np.array([[log_prob, -entropy, 4 * mean - 3, 1 + digest[3] % 24]], np.float16)


def random_tokens(vocabulary_size: int, seed: int = 0) -> NextToken:
    """Endless, evenly drawn tokens that depend on all ids before them and on the sample's seed."""

    def next_token(ids: Sequence[int], request: Request) -> int:
        sampling = request.sampling
        way = (0, 0) if sampling.greedy else (sampling.seed, len(ids))
        digest = hashlib.blake2b(array("i", ids).tobytes(), digest_size=8)
        digest.update(repr((seed, way)).encode())
        token = int.from_bytes(digest.digest(), "little") % vocabulary_size
        at_first = len(ids) == len(request.prefix_ids)
        while at_first and token in request.ban_first:
            token = (token + 1) % vocabulary_size
        return token

    return next_token
