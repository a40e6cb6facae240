"""Text of tokens as they come: what may still change is held back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_UNREADABLE = "\ufffd"
#: tokens after which bytes that are no text are handed out as such
_MAX_HELD = 64


class Detokenizer:
    """Pieces that joined are the text of all ids; half a character waits for its other half."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self.decode = decode
        self.ids: list[int] = []
        self._context = self._told = 0

    def feed(self, token_ids: Sequence[int]) -> str:
        """The text that is certain now."""
        self.ids += token_ids
        return self._next(final=False)

    def end(self) -> str:
        """What was held back."""
        return self._next(final=True)

    def _next(self, final: bool) -> str:
        # the tokens before the new ones decide about spaces, so they are read again
        before = self.decode(self.ids[self._context : self._told])
        text = self.decode(self.ids[self._context :])
        waits = text.endswith(_UNREADABLE) and len(self.ids) - self._told < _MAX_HELD
        if len(text) <= len(before) or (waits and not final):
            return ""
        self._context, self._told = self._told, len(self.ids)
        return text[len(before) :]


class StopFinder:
    """Ends a text before the first of some strings; what may be the beginning of one waits.

    Attributes:
        hit: whether one was there.
        after: the text from it on, as far as it came with it.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = stops
        self.hit = False
        self.after = ""
        self._held = ""

    def feed(self, text: str) -> str:
        """The text that is certain now; nothing after a hit."""
        if self.hit:
            return ""
        self._held += text
        found = [at for stop in self.stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.hit = True
            self.after = self._held[min(found) :]
            return self._held[: min(found)]
        held = max((_overlap(self._held, stop) for stop in self.stops), default=0)
        certain = len(self._held) - held
        text, self._held = self._held[:certain], self._held[certain:]
        return text

    def end(self) -> str:
        """What was held back."""
        text, self._held = ("" if self.hit else self._held), ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of a text that the stop string begins with."""
    return next((n for n in range(len(stop) - 1, 0, -1) if text.endswith(stop[:n])), 0)
