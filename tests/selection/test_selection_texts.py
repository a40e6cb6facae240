"""Words, whole questions and n-grams of any text, as s1's own lines fold them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from small_pools import problems

from s1x.selection.decontaminate import Ngrams
from s1x.selection.texts import folded, words_of

#: letters of one to four bytes, every kind of white space, closing marks
ALPHABET = "abAB7$\\{}éÉжЖ数🙂 \t\n\x0b\x0c\r\x1c\x1f\x85\xa0\u2003\u2028\u3000.?!:"
TEXTS = st.lists(st.text(ALPHABET, max_size=60), min_size=1, max_size=12)
#: few words, so that texts share n-grams
SENTENCES = st.lists(
    st.lists(st.sampled_from(["a", "B", "b.", "c\n", "dd"]), max_size=20).map(" ".join),
    min_size=1,
    max_size=8,
)


def without_mark(text: str) -> list[str]:
    words = text.lower().split()
    bare = [words[-1][:1] + words[-1][1:].rstrip(".?!:")] if words else []
    return words[:-1] + bare


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_questions_are_one_whatever_case_space_and_closing_mark(texts: list[str]) -> None:
    for one in texts:
        for other in texts:
            same = without_mark(one) == without_mark(other)
            assert (folded(words_of(one)) == folded(words_of(other))) is same


@given(SENTENCES, SENTENCES, st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_shared_ngrams_are_those_of_every_pair(
    asked: list[str], texts: list[str], size: int
) -> None:
    def ngrams(text: str) -> set[str]:
        words = " ".join(text.lower().strip().split()).split()
        return {" ".join(words[start : start + size]) for start in range(len(words) - size + 1)}

    known = Ngrams({"b": problems(*asked)}, size)
    for text in texts:
        found = {known.texts[gram] for gram in known.find(words_of(text))}
        assert found == ngrams(text) & set().union(*map(ngrams, asked))


def test_words_without_punctuation() -> None:
    assert words_of("Let $x_1=4$, für \\frac{a}{b}?", ignore_punctuation=True) == [
        *("let", "x_1", "4", "für", "frac", "a", "b"),
    ]
