"""Texts as word hashes: the folding that decontamination, duplicates and loops share.

A column of texts is lower-cased, split at white space and hashed word by word without making a
single Python string: the bytes of a batch are one NumPy array, a word is a stretch of it, and eight
bytes of all words are read at a time. Hashes are 64 bits wide and the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Ints = npt.NDArray[np.int64]
    Hashes = npt.NDArray[np.uint64]

#: white space besides ASCII's: what Python's str.split() splits at
WIDE_SPACE = r"[\x{85}\p{Z}]"
#: what is no letter, digit or underscore, in any script
NO_WORD = r"[^\p{L}\p{N}_]"
MARKS = b".?!:"
"""Marks at the end of a question that make it no other question."""
_PAD = 8


@dataclass(frozen=True)
class Words:
    """The words of a batch of texts, end to end.

    Attributes:
        hashes: one a word, shape [num_words].
        first: index of each text's first word, and the end, shape [num_texts + 1].
        bare_last: hash of each text's last word without closing marks, shape [num_texts]; 0 where
            the text has no words.
    """

    hashes: Hashes
    first: Ints
    bare_last: Hashes

    def text_of(self, words: Ints) -> Ints:
        """The text that each word is in."""
        import numpy as np

        return np.searchsorted(self.first, words, side="right") - 1

    def digests(self) -> Hashes:
        """One hash a text; texts of the same words have the same, whatever mark they end in."""
        import numpy as np

        lengths = np.diff(self.first)
        ends = self.first[1:][lengths > 0] - 1
        hashes = self.hashes.copy()
        hashes[ends] = self.bare_last[lengths > 0]
        place = np.arange(hashes.size, dtype=np.uint64)
        place -= np.repeat(self.first[:-1], lengths).astype(np.uint64)
        sums = np.zeros(hashes.size + 1, np.uint64)
        np.cumsum(mix(hashes + place * np.uint64(0x9E3779B97F4A7C15)), out=sums[1:])
        return mix(sums[self.first[1:]] - sums[self.first[:-1]] + lengths.astype(np.uint64))

    def windows(self, num_words: int, allowed: Any = None) -> Ints:
        """Starts of all stretches of `num_words` words within one text.

        Args:
            allowed: Boolean array; only stretches all of whose words are allowed.
        """
        import numpy as np

        count = self.hashes.size - num_words + 1
        if count <= 0:
            return np.empty(0, np.int64)
        if allowed is None:
            fits = np.ones(count, bool)
        else:
            refused = np.zeros(self.hashes.size + 1, np.int32)
            np.cumsum(~allowed, out=refused[1:], dtype=np.int32)
            fits = refused[num_words:] == refused[:-num_words]
        borders = np.unique(self.first[1:-1])
        for before in range(1, num_words):
            crossing = borders - before
            fits[crossing[(crossing >= 0) & (crossing < count)]] = False
        return np.flatnonzero(fits)

    def ngram_hashes(self, starts: Ints, num_words: int) -> Hashes:
        """One hash for each stretch of `num_words` words; the order of words matters."""
        import numpy as np

        hashed = np.zeros(starts.size, np.uint64)
        for offset, factor in enumerate(_factors(num_words)):
            hashed += self.hashes[starts + offset] * factor
        return mix(hashed)


def words_of(texts: pa.Array, ignore_punctuation: bool = False) -> Words:
    """Folds and splits a column of texts; null counts as empty.

    Args:
        texts: strings.
        ignore_punctuation: words are runs of letters and digits, whatever stands between them;
            else of anything but white space.
    """
    import numpy as np

    data, offsets = _bytes(_lowered(texts, NO_WORD if ignore_punctuation else WIDE_SPACE))
    starts, ends = _bounds(data[_PAD:-_PAD], offsets, ignore_punctuation)
    first = np.searchsorted(starts, offsets)
    hashes = _hash_stretches(data, starts, ends - starts)
    has_words = np.flatnonzero(np.diff(first))
    last = first[1:][has_words] - 1
    lengths = (ends - starts)[last]
    marks = np.frombuffer(MARKS, np.uint8)
    for _ in range(4):
        closing = np.isin(data[_PAD + starts[last] + lengths - 1], marks) & (lengths > 1)
        lengths = lengths - closing
    bare = np.zeros(len(texts), np.uint64)
    bare[has_words] = _hash_stretches(data, starts[last], lengths)
    return Words(hashes, first, bare)


def mix(values: Hashes) -> Hashes:
    """Spreads 64-bit numbers (the finisher of MurmurHash3); in place, so give it a fresh array."""
    import numpy as np

    shifted = values >> np.uint64(33)
    values ^= shifted
    values *= np.uint64(0xFF51AFD7ED558CCD)
    np.right_shift(values, np.uint64(33), out=shifted)
    values ^= shifted
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    np.right_shift(values, np.uint64(33), out=shifted)
    values ^= shifted
    return values


def _lowered(texts: pa.Array, blank: str) -> pa.Array:
    """Texts with letters outside ASCII in lower case, and what matches `blank` as plain spaces."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = texts.cast(pa.large_string()).fill_null("")
    is_wide = pc.invert(pc.string_is_ascii(texts)).to_numpy(zero_copy_only=False)
    wide = np.flatnonzero(is_wide)
    if not wide.size:
        return texts
    own = pc.utf8_lower(texts.take(pa.array(wide)))
    own = pc.replace_substring_regex(own, blank, " ")
    order = np.arange(len(texts))
    order[wide] = len(texts) + np.arange(wide.size)
    return pa.concat_arrays([texts, own]).take(pa.array(order))


def _bytes(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], Ints]:
    """The bytes of all texts in lower case, eight zeros before and after, and where each starts."""
    import numpy as np

    offsets = np.frombuffer(texts.buffers()[1], np.int64, len(texts) + 1, 8 * texts.offset)
    size = int(offsets[-1] - offsets[0])
    data = np.zeros(size + 2 * _PAD, np.uint8)
    if size:
        raw = np.frombuffer(texts.buffers()[2], np.uint8, size, int(offsets[0]))
        np.take(_lower_table(), raw, out=data[_PAD:-_PAD])
    return data, offsets - offsets[0]


@cache
def _lower_table() -> npt.NDArray[np.uint8]:
    import numpy as np

    return np.frombuffer(bytes(range(256)).lower(), np.uint8)


@cache
def _space_table(with_punctuation: bool) -> npt.NDArray[np.bool_]:
    import numpy as np

    table = np.zeros(256, bool)
    table[list(b" \t\n\r\v\f\x1c\x1d\x1e\x1f")] = True
    if with_punctuation:
        table[[byte for byte in range(128) if not (chr(byte).isalnum() or byte == ord("_"))]] = True
    return table


def _bounds(
    data: npt.NDArray[np.uint8], offsets: Ints, with_punctuation: bool
) -> tuple[Ints, Ints]:
    """Where words start and end; a text's border is one of words too."""
    import numpy as np

    inside = ~_space_table(with_punctuation)[data]
    opens, closes = inside.copy(), inside.copy()
    opens[1:] &= ~inside[:-1]
    closes[:-1] &= ~inside[1:]
    borders = offsets[(offsets > 0) & (offsets < data.size)]
    opens[borders] = inside[borders]
    closes[borders - 1] = inside[borders - 1]
    return np.flatnonzero(opens), np.flatnonzero(closes) + 1


def _hash_stretches(data: npt.NDArray[np.uint8], starts: Ints, lengths: Ints) -> Hashes:
    """A hash of `data[_PAD + start :][:length]` for each stretch, eight bytes at a time."""
    import numpy as np

    eights: Any = np.ndarray((data.size - 7,), "<u8", buffer=data.data, strides=(1,))
    masks = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)
    starts = starts + _PAD
    hashed: Hashes = eights[starts]
    hashed &= masks[np.minimum(lengths, 8)]
    hashed += lengths.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    _spread(hashed)
    left = np.flatnonzero(lengths > 8)
    done = 8
    while left.size:
        more = eights[starts[left] + done]
        more &= masks[np.minimum(lengths[left] - done, 8)]
        more += hashed[left] * np.uint64(31)
        _spread(more)
        hashed[left] = more
        done += 8
        left = left[lengths[left] > done]
    return hashed


def _spread(values: Hashes) -> None:
    """A lighter `mix` in place: its high bits depend on all bits."""
    import numpy as np

    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(32)
    values *= np.uint64(0xC4CEB9FE1A85EC53)


@cache
def _factors(num_words: int) -> Hashes:
    import numpy as np

    return mix(np.arange(1, num_words + 1, dtype=np.uint64)) | np.uint64(1)
