"""A trace's text cut into what the model wrote and what the policy put there.

Text is derived from token ids; the forced-token mask says which ids are forced. Only the small
`tokenizers` library is needed, with the model's `tokenizer.json` (for a GGUF file: transformers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple, Protocol


class Tokenizer(Protocol):
    """What decodes ids to text."""

    def decode(self, ids: list[int], /, *, skip_special_tokens: bool) -> str | list[str]:
        """The text of some tokens."""


class Segments(NamedTuple):
    """Texts that alternate between the model's (even positions) and forced ones (odd positions)."""

    thinking: tuple[str, ...]
    answer: tuple[str, ...]
    marked: bool
    """False where ids are recorded and there was no tokenizer: forced tokens are not marked."""


class Decoder:
    """Cuts rows of one model into segments; without a tokenizer it gives the text as it is."""

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def of(cls, source: str | Path | None) -> Decoder:
        """A decoder from a model folder or a hub id whose tokenizer is in the local cache."""
        if not source:
            return cls(None)
        file = _tokenizer_file(source)
        if file is None:
            return cls(_gguf_tokenizer(Path(source)))
        from tokenizers import Tokenizer as Loaded

        return cls(Loaded.from_file(str(file)))

    def cut(self, row: Mapping[str, Any]) -> Segments:
        """Segments of one evaluation row (columns of `s1x.rows`)."""
        ids, mask = row["token_ids"], row["forced_mask"]
        if self._tokenizer is None or not ids or mask is None:
            recorded = bool(ids) and mask is not None
            texts = (row["thinking_text"] or "",), (row["answer_text"] or "",)
            return Segments(*texts, marked=not recorded)
        end = int(row["thinking_tokens"] or 0)
        return Segments(self._cut(ids, mask, 0, end), self._cut(ids, mask, end, len(ids)), True)

    def _cut(
        self, ids: Sequence[int], mask: Sequence[bool], start: int, end: int
    ) -> tuple[str, ...]:
        if start == end:
            return ()
        bounds = [*(i for i in range(start + 1, end) if mask[i] != mask[i - 1]), end]
        texts = [""] if mask[start] else []
        whole = self._decode(ids[:end])
        # decoding prefixes, not pieces: a tokenizer may write a space only between two tokens, and
        # a character may be cut between two
        before = len(self._decode(ids[:start])) if start else 0
        for at in bounds:
            prefix = self._decode(ids[:at])
            same = takewhile(lambda pair: pair[0] == pair[1], zip(whole, prefix, strict=False))
            after = len(prefix) if whole.startswith(prefix) else len(list(same))
            texts.append(whole[before:after])
            before = after
        return tuple(texts)

    def _decode(self, ids: Sequence[int]) -> str:
        assert self._tokenizer is not None
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


def _tokenizer_file(source: str | Path) -> Path | None:
    for file in (Path(source), Path(source) / "tokenizer.json"):
        if file.is_file():
            return file
    if Path(source).exists() or str(source).startswith((".", "/", "~")):
        return None
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(str(source), "tokenizer.json")
    except ValueError:
        return None
    return Path(found) if isinstance(found, str) else None


def _gguf_tokenizer(source: Path) -> Tokenizer | None:
    """The tokenizer inside the one GGUF file of a folder, or None."""
    files = list(source.glob("*.gguf"))
    if len(files) != 1:
        return None
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(str(files[0].parent), gguf_file=files[0].name)
    except (ImportError, OSError, ValueError):
        return None
    found: Tokenizer = loaded.backend_tokenizer
    return found
