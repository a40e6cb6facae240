"""Multiple choice: the letter that a model chose."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from s1x.benchmark.extraction import (
    ANSWER_IS,
    BOXED,
    DEFAULT_RULES,
    Extraction,
    candidates,
    written,
)
from s1x.benchmark.forms import clean, normal_form, plain
from s1x.benchmark.grader import UNANSWERED_GRADE, Grade, Grader, graded
from s1x.benchmark.problem import Problem
from s1x.option import option, setting

FIRST_LETTER, LAST_LETTER = "first_letter", "last_letter"
CHOICE_RULES = (*DEFAULT_RULES, FIRST_LETTER, LAST_LETTER)
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: choices of a problem that does not say them (MMLU-Pro has ten)
UNKNOWN_LETTERS = 10

#: what may stand after "A" or "I" where it is a letter; after any other word it is none
_AFTER_A_LETTER = re.compile(
    r"(?:is|was|are|were|and|or|nor|because|since|as|for|by|due|would|should|must|can|cannot|has|"
    r"gives|follows|holds|works|fits|seems|looks|but|so|if|when|which|to|only|alone|with|at|in)\b"
)
_STATED = re.compile(
    r"(?:\banswer|\bchoice|\boption|\bone)(?:\s(?!\w\b)[\w']{1,20}){0,4}?\s?(?:\bis\b|\bwas\b|:|=|"
    r"\b(?:would|should|must|has to|can only)\sbe\b)(.{0,60})",
    re.IGNORECASE,
)
_OPTION = re.compile(r"\b(?:option|choice|answer)s?\s[(*\"']{0,3}(\w)\b", re.IGNORECASE)
_FAILS = re.compile(
    r"[)*\"']{0,3}\s(?:\w+ly\s|also\s|then\s)?(?:fail|is (?:not|wrong|incorrect|false|out|"
    r"impossible|ruled|excluded|elim)|isn|are (?:not|wrong)|was (?:not|wrong)|can ?not|can['’]t|"
    r"does ?n[o'’]t|does not|contradict|would (?:not|be wrong)|has no|lacks|violat|ignor|mis)",
    re.IGNORECASE,
)
_REJECTED = re.compile(
    r"(?:\bnot|n['’]t|\brule out|\beliminat\w*|\breject\w*|\bexclud\w*|\bunlike|\bthan|"
    r"\bneither|\bnor|\bdiscard\w*)\s(?:the\s)?(?:answer\s|option\s|choice\s)?[(*\"']{0,3}$",
    re.IGNORECASE,
)
#: a line of a letter and its choice's name
_A_NAME = re.compile(r"[A-Z]\s[A-Z]\w*[ \t]*(?:\n|$)")
_SOLE = re.compile(r"[\s(*\[{\"'“]{0,6}([A-Za-z])[\s)*\]}\"'”.:,]{0,6}")
_LABEL = re.compile(r"[\s(*\[{\"'“]{0,6}([A-Za-z])\s?(?:[).:\]}*]{1,3}|\s[-–—])(?:\s|\*|$)")


@option("grader", "choice")
@dataclass(frozen=True)
class Choice(Grader):
    """The chosen letter, alone or before its choice's text.

    After the common rules come `answer_is` (the letter that is stated to be the answer, else the
    last option named that is not said to fail), `first_letter` (the text begins with it) and
    `last_letter` (the last letter that stands alone). The article "A", the pronoun "I", names as in
    "I = 3 A" and letters after "not" are no choices. Where boxed or marked text is the wording of
    one choice, that choice is meant.
    """

    own_rules: ClassVar = (BOXED, ANSWER_IS, FIRST_LETTER, LAST_LETTER)

    rules: list[str] = setting(
        factory=lambda: list(CHOICE_RULES),
        doc="extraction rules in order: boxed, answer_is, first_letter, last_letter, or a text "
        "that ends in a colon",
    )

    def extract(self, problem: Problem, answer_text: str) -> Extraction | None:
        """The letter by the first rule that finds one."""
        letters, text = _letters(problem), plain(answer_text)
        finders = {ANSWER_IS: _stated, FIRST_LETTER: _first, LAST_LETTER: _last}
        for rule in self.rules:
            if rule in finders:
                letter = finders[rule](text, letters)
            else:
                spans = (
                    part for f in candidates(text, [rule]) for part in (f.text, f.rest) if part
                )
                found = (_in_span(span, letters, problem.choices or ()) for span in spans)
                letter = next(filter(None, found), None)
            if letter is not None:
                return Extraction(letter, rule)
        return None

    def reference(self, problem: Problem) -> str:
        """The letter that the reference names."""
        return letter_of(problem.answer, problem.choices) or problem.answer

    def own_answer(self, problem: Problem) -> str | None:
        """The reference after a marker or in a box."""
        return written(problem.answer, self.rules)

    def grade(self, problem: Problem, answer_text: str) -> Grade:
        """The verdict on one answer, by letter or by equal wording; never ungraded."""
        found = self.extract(problem, answer_text)
        if found is None:
            return UNANSWERED_GRADE
        right = letter_of(problem.answer, problem.choices)
        wordings = dict(zip(_ALPHABET, map(_folded, problem.choices or ()), strict=False))
        same = found.text in wordings and wordings[found.text] == wordings.get(right or "")
        return graded(found, found.text == right or same)


def letter_of(reference: str, choices: tuple[str, ...] | None) -> str | None:
    """The letter of a reference: "b", "(B)", "B) pear", "\\text{(B)}", or a choice's wording."""
    text = normal_form(reference)
    if found := _SOLE.fullmatch(text) or _LABEL.match(clean(reference)) or _LABEL.match(text):
        return found[1].upper()
    return _worded(text, choices or ())


def _folded(text: str) -> str:
    return normal_form(text).casefold()


def _worded(text: str, choices: tuple[str, ...]) -> str | None:
    """The letter of the first choice of this wording."""
    wordings = list(map(_folded, choices))
    return chr(65 + wordings.index(_folded(text))) if _folded(text) in wordings else None


def _letters(problem: Problem) -> str:
    """The letters a problem offers."""
    if problem.choices:
        return _ALPHABET[: len(problem.choices)]
    last = letter_of(problem.answer, None) or "A"
    return _ALPHABET[: max(UNKNOWN_LETTERS, ord(last) - 64)]


def _offered(found: re.Match[str] | None, letters: str) -> str | None:
    """The letter of a match, if it is one of the choices."""
    return found[1].upper() if found and found[1].upper() in letters else None


def _first(text: str, letters: str) -> str | None:
    """The letter that the text begins with, or is."""
    if letter := _offered(_SOLE.fullmatch(text), letters):
        return letter
    found = _lone(letters).match(text.lstrip())
    if found is None or _FAILS.match(found.string, found.end()):
        return None
    return found[1] if _is_letter(found) or _A_NAME.match(found.string) else None


def _last(text: str, letters: str) -> str | None:
    """The last letter that stands alone."""
    return next(iter(deque(_standing(text, letters), 1)), None)


def _stated(text: str, letters: str) -> str | None:
    """The letter said to be the answer, the last first; else the last option not said to fail."""
    for phrase in reversed(list(_STATED.finditer(text))):
        label = _offered(_LABEL.match(phrase[1]), letters)
        if letter := label or next(_standing(phrase[1], letters), None):
            return letter
    for found in reversed(list(_OPTION.finditer(text))):
        rejected = _REJECTED.search(text, max(0, found.start() - 30), found.start())
        if found[1] in letters and not rejected and not _FAILS.match(text, found.end()):
            return found[1]
    return None


def _in_span(span: str, letters: str, choices: tuple[str, ...]) -> str | None:
    """The letter in boxed or marked text: alone, by wording, at its start, else its only one."""
    sole = _offered(_SOLE.fullmatch(normal_form(span)), letters)
    if letter := sole or _worded(span, choices):
        return letter
    unwrapped = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s?\{([^{}]*)\}", r"\1", clean(span))
    if letter := _offered(_LABEL.match(unwrapped), letters):
        return letter
    first = _lone(letters).match(unwrapped)
    if first and _is_letter(first):
        return first[1]
    distinct = set(_standing(unwrapped, letters))
    return distinct.pop() if len(distinct) == 1 else None


@lru_cache(maxsize=64)
def _lone(letters: str) -> re.Pattern[str]:
    """A letter that is no part of a word, in brackets, quotes, bold or bare."""
    return re.compile(rf"[\"'“*(\[{{]{{0,4}}(?<![A-Za-z0-9\\_^])([{letters}])(?![A-Za-z0-9'’_^])")


def _standing(text: str, letters: str) -> Iterator[str]:
    """The letters of choices that stand alone."""
    return (found[1] for found in _lone(letters).finditer(text) if _is_letter(found))


def _is_letter(found: re.Match[str]) -> bool:
    """Whether the letter names a choice: no article, pronoun, unit, variable or rejected choice."""
    text, start, end = found.string, found.start(), found.end()
    before, after = text[max(0, start - 30) : start], text[end : end + 30]
    if _REJECTED.search(before) or re.match(r"\s?=(?!>)", after):
        return False
    if found.group() == found[1] and re.search(r"\d\s?$", before):
        return False  # 3 A
    if found[1] == "I" and re.match(r"\s(?:would|should|must|can|cannot|has|have)\b", after):
        return False
    is_word = found[1] in "AI" and re.match(r"\s[A-Za-z]", after)
    return not is_word or _AFTER_A_LETTER.match(after, 1) is not None
