"""Exact answers: integers (AIME), numbers, words. No symbolic engine."""

from __future__ import annotations

import re
from dataclasses import dataclass

from s1x.benchmark.extraction import (
    DEFAULT_RULES,
    WHOLE_TEXT,
    Extraction,
    candidates,
    closing_sentences,
    closing_words,
    is_prose,
    reference_text,
    written,
)
from s1x.benchmark.forms import clean, last_number, normal_form, number_value, only_number
from s1x.benchmark.grader import UNANSWERED_GRADE, Grade, Grader, graded
from s1x.benchmark.problem import Problem
from s1x.option import option, setting

_LETTER_FIRST = re.compile(r"[*\"'\s]{0,4}\(?([A-Z])[).:](?!\w)")


@option("grader", "exact")
@dataclass(frozen=True)
class Exact(Grader):
    """Equal in normal form or as numbers, case ignored: 073 is 73, 1,000 is 1000, 4/2 is 2.

    Where the reference is a number and the extracted text a sentence with exactly one number
    ("x = 42 apples"), or one in bold, that number is the answer. Two numbers are no answer, and 1/2
    is not 2. After a marker that a whole solution follows, its last number counts.
    """

    rules: list[str] = setting(
        factory=lambda: [*DEFAULT_RULES, WHOLE_TEXT],
        doc="extraction rules in order: boxed, answer_is, whole_text, last_number, or a text that "
        "ends in a colon",
    )

    def reference(self, problem: Problem) -> str:
        """The answer in its box, list or solution."""
        return reference_text(problem.answer)

    def own_answer(self, problem: Problem) -> str | None:
        """The reference after a marker or in a box."""
        return written(problem.answer, self.rules)

    def grade(self, problem: Problem, answer_text: str) -> Grade:
        """The verdict on one answer; never ungraded."""
        found = self.extract(problem, answer_text)
        if found is None:
            return UNANSWERED_GRADE
        return graded(found, equal(found.text, reference_text(problem.answer)))

    def extract(self, problem: Problem, answer_text: str) -> Extraction | None:
        """The first answer of the reference's kind; without any, the first that was found."""
        reference = reference_text(problem.answer)
        is_numeric = number_value(normal_form(reference)) is not None
        first = None
        for found in candidates(answer_text, self.rules):
            text = all_that_is_said(found, reference)
            if text is None:
                text = _number(found) if is_numeric else _letter(found.text, reference)
            if text is not None:
                return Extraction(text, found.rule)
            first = first or found
        return first


def equal(answer: str, reference: str) -> bool:
    """Whether two answers are the same text or the same number."""
    one, other = normal_form(answer).casefold(), normal_form(reference).casefold()
    value = number_value(one)
    return one == other or (value is not None and value == number_value(other))


def all_that_is_said(found: Extraction, reference: str) -> str | None:
    """What follows a marker where that is the reference and no more, or ends in its words."""
    if not found.rest:
        return None
    if len(found.rest) < 4 * len(reference) + 200 and equal(found.rest, reference):
        return clean(found.rest)
    return closing_words(found.rest, reference)


def _number(found: Extraction) -> str | None:
    """The answer itself where it is a number, else the only one of its sentence."""
    if number_value(normal_form(found.text)) is not None:
        return found.text
    reads_on = len(found.rest) > len(found.text) + 8 and is_prose(found.text)
    if reads_on or (found.rest and not any(map(str.isdigit, found.text))):
        for sentence in closing_sentences(found.rest):
            if number := only_number(sentence) or last_number(sentence):
                return number
    return only_number(found.text)


def _letter(text: str, reference: str) -> str:
    """The letter of "(B) pear" where the reference is a letter alone."""
    if len(reference) == 1 and reference.isupper() and (letter := _LETTER_FIRST.match(text)):
        return letter[1]
    return text
