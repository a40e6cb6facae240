"""Mathematical answers: math-verify behind our interface, in processes that cannot do harm."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from s1x.benchmark.exact import Exact, all_that_is_said
from s1x.benchmark.extraction import (
    DEFAULT_RULES,
    LONGEST_SEARCHED,
    Extraction,
    candidates,
    closing_sentences,
    closing_words,
    is_prose,
    reference_text,
)
from s1x.benchmark.forms import bold_number, is_integer, normal_form, number_value, only_number
from s1x.benchmark.grader import UNANSWERED_GRADE, Grade, Grader, graded, ungraded
from s1x.benchmark.latex import one_spelling, words
from s1x.benchmark.problem import Problem
from s1x.benchmark.worker_pool import Reply, WorkerError, WorkerPool, shared_pool
from s1x.option import option, setting

LAST_EXPRESSION = "last_expression"
#: what a formula or number has and words have not
_FORMULA = re.compile(r"[\d\\$^=<>½⅓⅔¼¾²³¹π√∞∅]")
_WORDS = re.compile(r"\*\*|(?<![\\A-Za-z])[A-Za-z]{3,}")


@option("grader", "math")
@dataclass(frozen=True)
class Math(Exact):
    """Mathematical equality (math-verify 0.9): 1/2 is 0.5, sets have no order, x = 3 is 3.

    Equal normal forms are correct and different integers wrong at once; all else goes to worker
    processes with a limit of time and memory. An answer that the engine cannot judge within them
    is `ungraded` with the reason. The rule `last_expression` leaves the search to math-verify, in
    the end of the text: the last formula or number, those after "answer is" first.
    """

    own_rules: ClassVar = (*Grader.own_rules, LAST_EXPRESSION)

    rules: list[str] = setting(
        factory=lambda: [*DEFAULT_RULES, LAST_EXPRESSION],
        doc="extraction rules in order: boxed, whole_text, last_number, last_expression, or a text "
        "that ends in a colon",
    )
    time_limit_seconds: float = setting(5.0, "for one answer", above=0)
    memory_limit_bytes: int = setting(2 << 30, "address space of a worker", at_least=1 << 29)
    num_workers: int = setting(0, "processes; 0: one a core, 8 at most", at_least=0)
    longest_answer_characters: int = setting(
        2000, "longer extracted answers are not compared", at_least=1
    )
    float_rounding: int = setting(6, "decimal places that count", at_least=0)
    strict: bool = setting(True, "names of variables count, sets are no tuples")
    allow_set_relation_comp: bool = setting(True, "an inequality may answer for an interval")
    targets: list[str] = setting(
        factory=lambda: ["latex", "expr"], doc="what last_expression looks for: latex, expr"
    )

    def extract(self, problem: Problem, answer_text: str) -> Extraction | None:
        """By the rules that need no engine, else the end of the text under `last_expression`."""
        reference = reference_text(problem.answer)
        is_formula = words(one_spelling(reference)) is None
        is_number = number_value(normal_form(reference)) is not None
        first = None
        for found in candidates(answer_text, self.rules):
            if said := all_that_is_said(found, reference):
                return Extraction(said, found.rule)
            if not is_formula or not found.rest:
                return found
            if is_prose(found.text) or not _FORMULA.search(found.text):
                if _FORMULA.search(found.rest):
                    return _searched(found.rest[-LONGEST_SEARCHED:], found.rule, is_number)
                first = first or found  # this marker's text holds no answer: on to the next rule
                continue
            in_words = number_value(normal_form(found.text)) is None and _WORDS.search(found.text)
            if is_number and in_words and (number := only_number(found.text)):
                return Extraction(number, found.rule)
            return found
        if first is None and LAST_EXPRESSION in self.rules and answer_text.strip():
            if said := closing_words(answer_text, reference):
                return Extraction(said, LAST_EXPRESSION)
            tail = answer_text[-self.longest_answer_characters :]
            return _searched(tail, LAST_EXPRESSION, is_number)
        return first

    def grade(self, problem: Problem, answer_text: str) -> Grade:
        """The verdict on one answer."""
        return self.grade_all([(problem, answer_text)])[0]

    def grade_all(self, pairs: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """Verdicts in the order of the pairs; equal work is done once."""
        read = [(reference_text(p.answer), self.extract(p, text)) for p, text in pairs]
        grades = [self._at_once(*one) for one in read]
        asked = dict.fromkeys(
            (gold, found.text, found.is_searched)
            for (gold, found), grade in zip(read, grades, strict=True)
            if found and not grade
        )
        options = {
            "float_rounding": self.float_rounding,
            "strict": self.strict,
            "allow_set_relation_comp": self.allow_set_relation_comp,
        }
        jobs = [
            {"gold": gold, "text": text, "search": search, "targets": self.targets, **options}
            for gold, text, search in asked
        ]
        told = self._pool().ask_all(jobs, self.time_limit_seconds) if jobs else []
        replies = dict(zip(asked, told, strict=True))
        for index, (gold, found) in enumerate(read):
            if found and not grades[index]:
                reply = replies[gold, found.text, found.is_searched]
                grades[index] = _from_reply(found, reply)
        return [grade for grade in grades if grade]

    def close(self) -> None:
        """Ends the worker processes; grading again starts new ones."""
        self._pool().close()

    def _at_once(self, reference: str, found: Extraction | None) -> Grade | None:
        """The verdict where no engine is needed, else None."""
        if found is None:
            return UNANSWERED_GRADE
        if found.is_searched:
            return None
        most = self.longest_answer_characters
        if len(found.text) > most:
            shown = Extraction(found.text[:most], found.rule)
            return ungraded(shown, f"{len(found.text)} characters, more than {most}")
        answer, reference = normal_form(found.text), normal_form(reference)
        if answer == reference or (is_integer(answer) and is_integer(reference)):
            return graded(found, answer == reference)
        return None

    def _pool(self) -> WorkerPool:
        num_workers = self.num_workers or min(os.cpu_count() or 1, 8)
        return shared_pool("s1x.benchmark.math_worker", num_workers, **self._worker_settings())

    def _worker_settings(self) -> dict[str, float]:
        return {
            "time_limit_seconds": self.time_limit_seconds,
            "memory_limit_bytes": self.memory_limit_bytes,
        }


def _searched(text: str, rule: str, is_number: bool) -> Extraction:
    """The number that a solution's last sentence with a digit states, else all for the engine."""
    for sentence in closing_sentences(text) if is_number else ():
        if any(character.isdigit() for character in sentence):
            number = (bold_number if rule == LAST_EXPRESSION else only_number)(sentence)
            if number:
                return Extraction(number, rule)
            break
    return Extraction(text, rule, is_searched=True)


def _from_reply(found: Extraction, reply: Reply | WorkerError) -> Grade:
    if isinstance(reply, WorkerError):
        return ungraded(None if found.is_searched else found, str(reply))
    text = reply["extracted"] if found.is_searched else found.text
    return Grade(text, found.rule if text else None, str(reply["verdict"]), reply["reason"])
