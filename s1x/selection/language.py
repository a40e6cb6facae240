"""Language: rows whose text is not in a language wanted."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from s1x.errors import SettingError
from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step

#: language → its script, and words that any running text has (none where the script says enough)
LANGUAGES: dict[str, tuple[str, str]] = {
    "en": ("Latin", "the of and to is in we that so for it this be are have not but then if with"),
    "de": ("Latin", "der die und ist das wir ein eine nicht mit zu von den auf für also wenn dann"),
    "fr": ("Latin", "le la les de des et est que nous un une pour dans donc on pas avec si du"),
    "es": ("Latin", "el la los de que y es en un una se por con para como si entonces no del"),
    "zh": ("Han", ""),
    "ja": ("Hiragana", ""),
    "ko": ("Hangul", ""),
    "ru": ("Cyrillic", ""),
    "ar": ("Arabic", ""),
    "hi": ("Devanagari", ""),
}


@option("selection_step", "language")
@dataclass(frozen=True)
class Language(Step):
    """Drops rows not written in one of these languages.

    How it is judged: `min_script_share` of the letters must be of the language's script, and where
    a script serves many languages, `min_common_share` of the words must be among its twenty most
    common ones. Formulas have neither, so texts with fewer than `min_words` words pass, by script
    alone.
    """

    languages: list[str] = setting(factory=lambda: ["en"], doc="codes: " + ", ".join(LANGUAGES))
    columns: list[str] = setting(factory=lambda: ["reasoning_trace"], doc="texts that are judged")
    min_script_share: float = setting(0.7, "of letters in the script", above=0, at_most=1)
    min_common_share: float = setting(0.05, "of words among the common ones", at_least=0, at_most=1)
    min_words: int = setting(50, "words from which common words are counted", at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        for code in self.languages:
            if code not in LANGUAGES:
                raise SettingError("languages", "of " + ", ".join(LANGUAGES), code)

    def __call__(self, rows: Rows) -> Drops:
        wanted = " or ".join(self.languages)
        return rows.drop(
            {
                f"{name} is not in {wanted}": ~pl.any_horizontal(
                    self._fits(pl.col(name), code) for code in self.languages
                )
                for name in self.columns
            }
        )

    def _fits(self, text: pl.Expr, code: str) -> pl.Expr:
        script, common = LANGUAGES[code]
        inside = _count(text, rf"\p{{{script}}}")
        if script == "Hiragana":
            inside = inside * 2 + _count(text, r"[\p{Han}\p{Katakana}]") * (inside > 0)
        fits = inside >= self.min_script_share * _count(text, r"\p{L}")
        if common:
            words = _count(text, r"\p{L}+")
            known = _count(text, rf"(?i)\b(?:{'|'.join(common.split())})\b")
            fits &= (words < self.min_words) | (known >= self.min_common_share * words)
        return fits


def _count(text: pl.Expr, pattern: str) -> pl.Expr:
    return text.str.count_matches(pattern).fill_null(0).cast(pl.Int64)
