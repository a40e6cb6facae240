"""Word hashes stand for words: on any text, in any slice of a column."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from s1x.selection.words import words_of

#: letters of one to four bytes with plain lower case, every kind of white space, closing marks
ALPHABET = "abAB7$\\{}éÉжЖ数🙂 \t\n\x0b\x0c\r\x1c\x1f\x85\xa0\u2003\u2028\u3000.?!:"
TEXTS = st.lists(st.text(ALPHABET, max_size=60), min_size=1, max_size=12)


def python_words(text: str) -> list[str]:
    return text.lower().split()


def without_mark(words: list[str]) -> list[str]:
    last = words[-1:]
    bare = [last[0][:1] + last[0][1:].rstrip(".?!:")] if last else []
    return words[:-1] + bare


@given(TEXTS, st.integers(0, 3))
@settings(max_examples=400, deadline=None)
def test_hashes_are_equal_where_words_are(texts: list[str], cut: int) -> None:
    column = pa.array([None, *texts]).slice(min(cut, len(texts)))
    shown = ["" if t is None else t for t in column.to_pylist()]
    expected = [python_words(t) for t in shown]
    words = words_of(column)
    assert np.diff(words.first).tolist() == [len(w) for w in expected]
    flat = [word for row in expected for word in row]
    hashes = words.hashes.tolist()
    assert dict(zip(flat, hashes, strict=True)) == dict(zip(flat, hashes, strict=True))
    by_word: dict[str, int] = {}
    for word, hashed in zip(flat, hashes, strict=True):
        assert by_word.setdefault(word, hashed) == hashed
    assert len(set(by_word.values())) == len(by_word)
    assert words.text_of(np.arange(len(flat))).tolist() == [
        row for row, own in enumerate(expected) for _ in own
    ]


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_digests_ignore_case_space_and_closing_marks_only(texts: list[str]) -> None:
    digests = words_of(pa.array(texts)).digests().tolist()
    folded = [tuple(without_mark(python_words(t))) for t in texts]
    short = [max((len(w[-1]) for w in [f] if f), default=0) for f in folded]
    for i, one in enumerate(folded):
        for j, other in enumerate(folded):
            if one == other:
                assert digests[i] == digests[j] or max(short[i], short[j]) > 60
            elif [*one[:-1]] != [*other[:-1]] or not one or not other:
                assert digests[i] != digests[j]


@given(TEXTS, st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_windows_stay_within_a_text(texts: list[str], size: int) -> None:
    words = words_of(pa.array(texts))
    expected = []
    first = 0
    for text in texts:
        count = len(python_words(text))
        expected += [first + i for i in range(count - size + 1)]
        first += count
    starts = words.windows(size)
    assert starts.tolist() == expected
    flat = [w for t in texts for w in python_words(t)]
    grams = [tuple(flat[s : s + size]) for s in expected]
    hashes = words.ngram_hashes(starts, size).tolist()
    assert len(set(zip(grams, hashes, strict=True))) == len(set(grams)) == len(set(hashes))


def test_long_words_differ_in_every_byte() -> None:
    word = "abcdefgh" * 6
    variants = [word] + [word[:i] + "X" + word[i + 1 :] for i in range(len(word))]
    variants += [word[:i] for i in range(1, len(word))]
    hashes = words_of(pa.array([v.replace("X", "x") for v in variants])).hashes
    assert len(set(hashes.tolist())) == len({v.lower() for v in variants})


def test_hashes_are_the_same_on_every_machine() -> None:
    words = words_of(pa.array(["Solve x^2 = 4 für alle x."]))
    assert [f"{h:016x}" for h in words.hashes.tolist()][:2] == HASHES
    assert f"{int(words.digests()[0]):016x}" == DIGEST


HASHES = ["b6bb536ffb76e8d7", "047b4cd60e4ce72b"]
DIGEST = "18c0bcf45119926c"
