"""Multiple choice: the letter that a model chose."""

from __future__ import annotations

import re
from dataclasses import dataclass

from s1x.benchmark.extraction import DEFAULT_RULES, Extraction, extract, normal_form
from s1x.benchmark.grader import UNANSWERED_GRADE, Grade, Grader, graded
from s1x.benchmark.problem import Problem
from s1x.option import option, setting

ANSWER_IS, FIRST_LETTER, LAST_LETTER = "answer_is", "first_letter", "last_letter"
CHOICE_RULES = (*DEFAULT_RULES, ANSWER_IS, FIRST_LETTER, LAST_LETTER)


@option("grader", "choice")
@dataclass(frozen=True)
class Choice(Grader):
    """The chosen letter, capital, alone or before its choice's text.

    After the common rules come `answer_is` (the first letter after the last "answer is" or
    "option"), `first_letter` (the text begins with it) and `last_letter` (the last letter that
    stands alone; "A" before a small word is an article). Where boxed or marked text is no letter
    but the wording of one choice, that choice is meant.
    """

    rules: list[str] = setting(
        factory=lambda: list(CHOICE_RULES),
        doc="extraction rules in order: boxed, answer_is, first_letter, last_letter, or a text "
        "that ends in a colon",
    )

    def own_rules(self) -> tuple[str, ...]:
        """Names of rules that are no marker texts."""
        return ("boxed", ANSWER_IS, FIRST_LETTER, LAST_LETTER)

    def extract(self, problem: Problem, answer_text: str) -> Extraction | None:
        """The letter by the first rule that finds one."""
        letters = _letters(problem)
        for rule in self.rules:
            letter = _by_rule(rule, answer_text, letters, problem.choices)
            if letter is not None:
                return Extraction(letter, rule)
        return None

    def grade(self, problem: Problem, answer_text: str) -> Grade:
        """The verdict on one answer; never ungraded."""
        found = self.extract(problem, answer_text)
        if found is None:
            return UNANSWERED_GRADE
        return graded(found, found.text == problem.answer.strip().strip("()."))


def _letters(problem: Problem) -> str:
    """The letters a problem offers: A to D unless it says otherwise."""
    count = len(problem.choices) if problem.choices else max(4, ord(problem.answer[:1] or "D") - 64)
    return "".join(chr(65 + i) for i in range(min(count, 26)))


def _by_rule(rule: str, text: str, letters: str, choices: tuple[str, ...] | None) -> str | None:
    lone = _lone(letters)
    if rule == ANSWER_IS:
        for phrase in reversed(_ANSWER_IS.findall(text)):
            if found := lone.search(phrase):
                return found.group(1)
        return None
    if rule == FIRST_LETTER:
        found = lone.match(text.lstrip())
        return found.group(1) if found and not _article(found) else None
    if rule == LAST_LETTER:
        last = None
        for found in lone.finditer(text):
            last = last if _article(found) else found
        return last.group(1) if last else None
    span = extract(text, [rule])
    return None if span is None else _in_span(span.text, lone, letters, choices)


_ANSWER_IS = re.compile(r"(?:answer\s{1,4}is|choice\s{1,4}is|option)\b(.{0,60})", re.IGNORECASE)


def _lone(letters: str) -> re.Pattern[str]:
    """A letter that is no part of a word, in brackets, quotes, bold or bare."""
    return re.compile(rf"[\"'“*(\[{{]{{0,4}}(?<![A-Za-z0-9])([{letters}])(?![A-Za-z0-9'’])")


def _article(found: re.Match[str]) -> bool:
    """Whether the letter is the word "A", as in "A triangle"."""
    after = found.string[found.end() : found.end() + 2]
    return found.group() == "A" and len(after) == 2 and after[0] == " " and after[1].islower()


def _in_span(
    span: str, lone: re.Pattern[str], letters: str, choices: tuple[str, ...] | None
) -> str | None:
    """The letter in boxed or marked text: at its start, else its only one, else by wording."""
    if found := lone.match(span):
        return found.group(1)
    for letter, wording in zip(letters, choices or (), strict=False):
        if normal_form(wording).lower() == normal_form(span).lower():
            return letter
    distinct = {m.group(1) for m in lone.finditer(span) if not _article(m)}
    return distinct.pop() if len(distinct) == 1 else None
