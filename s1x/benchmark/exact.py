"""Exact answers: integers (AIME), numbers, words. No symbolic engine."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.benchmark.extraction import (
    DEFAULT_RULES,
    WHOLE_TEXT,
    Extraction,
    is_number,
    normal_form,
    only_number,
)
from s1x.benchmark.grader import UNANSWERED_GRADE, Grade, Grader, graded
from s1x.benchmark.problem import Problem
from s1x.option import option, setting


@option("grader", "exact")
@dataclass(frozen=True)
class Exact(Grader):
    """Equal in normal form, case ignored: 073 is 73, 1,000 is 1000, 2.50 is 2.5.

    Where the reference is a number and the extracted text a sentence with exactly one number
    ("x = 42 apples"), that number is the answer. Two numbers are no answer, and 1/2 is not 2.
    """

    rules: list[str] = setting(
        factory=lambda: [*DEFAULT_RULES, WHOLE_TEXT],
        doc="extraction rules in order: boxed, whole_text, last_number, or a text that ends in a "
        "colon",
    )

    def grade(self, problem: Problem, answer_text: str) -> Grade:
        """The verdict on one answer; never ungraded."""
        found = self.extract(problem, answer_text)
        if found is None:
            return UNANSWERED_GRADE
        return graded(found, normal_form(found.text).lower() == normal_form(problem.answer).lower())

    def extract(self, problem: Problem, answer_text: str) -> Extraction | None:
        """The answer, as a number where the reference is one and the sentence has just one."""
        found = super().extract(problem, answer_text)
        if found is None or is_number(normal_form(found.text)):
            return found
        if is_number(normal_form(problem.answer)) and (number := only_number(found.text)):
            return Extraction(number, found.rule)
        return found
