"""What a loop is: a text that repeats itself word for word."""

from __future__ import annotations

import polars as pl

#: words of a passage; share of passages that may have stood before; shorter texts are not judged
PASSAGE_WORDS, MAX_LOOP_SHARE, MIN_WORDS = 20, 0.3, 100
#: letters of scripts that put no spaces between words
UNSPACED = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}])"


def loop_shares(
    texts: pl.Series, passage_words: int = PASSAGE_WORDS, min_words: int = MIN_WORDS
) -> list[float]:
    """Of each text the share (0 to 1) of its passages that stood earlier in it already.

    A passage is `passage_words` words in a row, in text without spaces (Chinese) single characters.
    A trace that reasons, checks and starts again shares short phrases but hardly ever twenty words
    in a row; one that loops repeats nearly all of them.
    """
    spaced = texts.fill_null("").str.replace_all(UNSPACED, " $1 ")
    return [_share(text.lower().split(), passage_words, min_words) for text in spaced]


def is_loop(text: str) -> bool:
    """Whether a trace of this text goes round in circles."""
    return loop_shares(pl.Series([text], dtype=pl.String))[0] > MAX_LOOP_SHARE


def _share(words: list[str], passage_words: int, min_words: int) -> float:
    number = len(words) - passage_words + 1
    if len(words) < min_words or number < 1:
        return 0.0
    passages = zip(*(words[start:] for start in range(passage_words)), strict=False)
    return 1 - len(set(map(hash, passages))) / number
