"""Multiple choice: the letter that a model chose."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from s1x.benchmark.extraction import (
    ANSWER_IS,
    BOXED,
    DEFAULT_RULES,
    Extraction,
    candidates,
)
from s1x.benchmark.forms import clean, normal_form, plain
from s1x.benchmark.grader import UNANSWERED_GRADE, Grade, Grader, graded, written
from s1x.benchmark.problem import Problem
from s1x.option import option, setting

FIRST_LETTER, LAST_LETTER = "first_letter", "last_letter"
CHOICE_RULES = (*DEFAULT_RULES, FIRST_LETTER, LAST_LETTER)
#: letters of a problem that does not say its choices (MMLU-Pro has ten)
UNKNOWN_LETTERS = "ABCDEFGHIJ"

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
        for rule in self.rules:
            letter = _by_rule(rule, text, letters, problem)
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
        """The verdict on one answer; never ungraded."""
        found = self.extract(problem, answer_text)
        if found is None:
            return UNANSWERED_GRADE
        right = letter_of(problem.answer, problem.choices)
        return graded(found, found.text == right or _same_wording(found.text, right, problem))


def _same_wording(one: str, other: str | None, problem: Problem) -> bool:
    """Whether two letters stand before the same text, as in some data sets."""
    choices = problem.choices or ()
    indexes = [ord(letter) - 65 for letter in (one, other or "?")]
    if not all(0 <= index < len(choices) for index in indexes):
        return False
    first, second = (normal_form(choices[index]).casefold() for index in indexes)
    return first == second


def letter_of(reference: str, choices: tuple[str, ...] | None) -> str | None:
    """The letter of a reference: "b", "(B)", "B) pear", "\\text{(B)}", or a choice's wording."""
    text = normal_form(reference)
    if found := _SOLE.fullmatch(text) or _LABEL.match(clean(reference)) or _LABEL.match(text):
        return found[1].upper()
    return next(iter(_worded(text, choices)), None)


def _worded(text: str, choices: tuple[str, ...] | None) -> list[str]:
    wanted = normal_form(text).casefold()
    return [
        chr(65 + index)
        for index, wording in enumerate(choices or ())
        if normal_form(wording).casefold() == wanted
    ]


def _letters(problem: Problem) -> str:
    """The letters a problem offers."""
    if problem.choices:
        return "".join(chr(65 + i) for i in range(min(len(problem.choices), 26)))
    last = letter_of(problem.answer, None) or "A"
    return "".join(chr(65 + i) for i in range(max(len(UNKNOWN_LETTERS), ord(last) - 64)))


def _by_rule(rule: str, text: str, letters: str, problem: Problem) -> str | None:
    if rule == ANSWER_IS:
        return _stated(text, letters)
    if rule == FIRST_LETTER:
        if (sole := _SOLE.fullmatch(text)) and sole[1].upper() in letters:
            return sole[1].upper()
        found = _lone(letters).match(text.lstrip())
        if found and _FAILS.match(found.string, found.end()):
            return None
        return found[1] if found and (_is_letter(found) or _A_NAME.match(found.string)) else None
    if rule == LAST_LETTER:
        last = [m for m in _lone(letters).finditer(text) if _is_letter(m)]
        return last[-1][1] if last else None
    for span in candidates(text, [rule]):
        for part in (span.text, span.rest):
            if part and (letter := _in_span(part, letters, problem)):
                return letter
    return None


def _stated(text: str, letters: str) -> str | None:
    """The letter said to be the answer, the last first; else the last option not said to fail."""
    for phrase in reversed(list(_STATED.finditer(text))):
        clause = phrase[1]
        if (label := _LABEL.match(clause)) and label[1].upper() in letters:
            return label[1].upper()
        for found in _lone(letters).finditer(clause):
            if _is_letter(found):
                return found[1]
    for found in reversed(list(_OPTION.finditer(text))):
        rejected = _REJECTED.search(text, max(0, found.start() - 30), found.start())
        if found[1] in letters and not rejected and not _FAILS.match(text, found.end()):
            return found[1]
    return None


@lru_cache(maxsize=64)
def _lone(letters: str) -> re.Pattern[str]:
    """A letter that is no part of a word, in brackets, quotes, bold or bare."""
    return re.compile(rf"[\"'“*(\[{{]{{0,4}}(?<![A-Za-z0-9\\_^])([{letters}])(?![A-Za-z0-9'’_^])")


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


def _in_span(span: str, letters: str, problem: Problem) -> str | None:
    """The letter in boxed or marked text: alone, by wording, at its start, else its only one."""
    bare = normal_form(span)
    sole = _SOLE.fullmatch(bare)
    if sole and sole[1].upper() in letters:
        return sole[1].upper()
    if worded := _worded(span, problem.choices):
        return worded[0]
    unwrapped = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s?\{([^{}]*)\}", r"\1", clean(span))
    label = _LABEL.match(unwrapped)
    if label and label[1].upper() in letters:
        return label[1].upper()
    lone = [m for m in _lone(letters).finditer(unwrapped) if _is_letter(m)]
    if lone and lone[0].start() == 0:
        return lone[0][1]
    distinct = {m[1] for m in lone}
    return distinct.pop() if len(distinct) == 1 else None
