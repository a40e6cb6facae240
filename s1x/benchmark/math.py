"""Mathematical answers: math-verify behind our interface, in processes that cannot do harm."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from s1x.benchmark.extraction import (
    DEFAULT_RULES,
    LONGEST_SEARCHED,
    Extraction,
    candidates,
    closing_number,
    closing_words,
    is_prose,
)
from s1x.benchmark.forms import clean, is_integer, normal_form, number_value, only_number
from s1x.benchmark.grader import UNANSWERED_GRADE, Grade, Grader, ungraded, written
from s1x.benchmark.latex import one_spelling, words
from s1x.benchmark.problem import Problem
from s1x.benchmark.references import reference_text
from s1x.benchmark.worker_pool import WorkerError, WorkerPool, shared_pool
from s1x.option import option, setting
from s1x.rows import CORRECT, WRONG

LAST_EXPRESSION = "last_expression"
#: stands in an extraction's `rest`: the engine is to search the text
SEARCHED = "searched"
#: what a formula or number has and words have not
_FORMULA = re.compile(r"[\d\\$^=<>½⅓⅔¼¾²³¹π√∞∅]")
_WORDS = re.compile(r"\*\*|(?<![\\A-Za-z])[A-Za-z]{3,}")


@option("grader", "math")
@dataclass(frozen=True)
class Math(Grader):
    """Mathematical equality (math-verify 0.9): 1/2 is 0.5, sets have no order, x = 3 is 3.

    Equal normal forms are correct and different integers wrong at once; all else goes to worker
    processes with a limit of time and memory. An answer that the engine cannot judge within them
    is `ungraded` with the reason. The rule `last_expression` leaves the search to math-verify, in
    the end of the text: the last formula or number, those after "answer is" first.
    """

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

    def own_rules(self) -> tuple[str, ...]:
        """Names of rules that are no marker texts."""
        return (*super().own_rules(), LAST_EXPRESSION)

    def extract(self, problem: Problem, answer_text: str) -> Extraction | None:
        """By the rules that need no engine, else the end of the text under `last_expression`."""
        reference = reference_text(problem.answer)
        is_formula = words(one_spelling(reference)) is None
        is_number = number_value(normal_form(reference)) is not None
        first = None
        for found in candidates(answer_text, self.rules):
            if found.rest and _same(found.rest, reference):
                return Extraction(clean(found.rest), found.rule)
            if not is_formula and found.rest and (said := closing_words(found.rest, reference)):
                return Extraction(said, found.rule)
            if not is_formula or not found.rest:
                return found
            if is_prose(found.text) or not _FORMULA.search(found.text):
                if not _FORMULA.search(found.rest):
                    first = first or found
                    continue  # this marker's text holds no answer: on to the next rule
                return _searched(found.rest[-LONGEST_SEARCHED:], found.rule, is_number)
            in_words = number_value(normal_form(found.text)) is None and _WORDS.search(found.text)
            if is_number and in_words and (number := only_number(found.text)):
                return Extraction(number, found.rule)
            return found
        if first is None and LAST_EXPRESSION in self.rules and answer_text.strip():
            if not is_formula and (said := closing_words(answer_text, reference)):
                return Extraction(said, LAST_EXPRESSION)
            tail = answer_text[-self.longest_answer_characters :]
            return _searched(tail, LAST_EXPRESSION, is_number)
        return first

    def reference(self, problem: Problem) -> str:
        """The answer in its box, list or solution."""
        return reference_text(problem.answer)

    def own_answer(self, problem: Problem) -> str | None:
        """The reference after a marker or in a box."""
        return written(problem.answer, self.rules)

    def grade(self, problem: Problem, answer_text: str) -> Grade:
        """The verdict on one answer."""
        return self.grade_all([(problem, answer_text)])[0]

    def grade_all(self, pairs: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """Verdicts in the order of the pairs; equal work is done once."""
        found = [self.extract(problem, text) for problem, text in pairs]
        grades = [self._at_once(p, f) for (p, _), f in zip(pairs, found, strict=True)]
        jobs: dict[tuple[str, str, str], list[int]] = {}
        for index, (grade, extraction) in enumerate(zip(grades, found, strict=True)):
            if grade is None:
                assert extraction is not None
                kind = "whole" if extraction.rest is SEARCHED else "formula"
                gold = reference_text(pairs[index][0].answer)
                jobs.setdefault((gold, extraction.text, kind), []).append(index)
        options = self._engine_options()
        requests = [{"gold": g, "text": t, "kind": k, "options": options} for g, t, k in jobs]
        replies = self._pool().ask_all(requests, self.time_limit_seconds) if requests else []
        for indexes, reply in zip(jobs.values(), replies, strict=True):
            for index in indexes:
                grades[index] = _from_reply(found[index], reply)
        return [grade for grade in grades if grade is not None]

    def close(self) -> None:
        """Ends the worker processes; grading again starts new ones."""
        self._pool().close()

    def _at_once(self, problem: Problem, found: Extraction | None) -> Grade | None:
        """The verdict where no engine is needed, else None."""
        if found is None:
            return UNANSWERED_GRADE
        if found.rest is SEARCHED:
            return None
        if len(found.text) > self.longest_answer_characters:
            shown = Extraction(found.text[: self.longest_answer_characters], found.rule)
            most = self.longest_answer_characters
            return ungraded(shown, f"{len(found.text)} characters, more than {most}")
        answer, reference = normal_form(found.text), normal_form(reference_text(problem.answer))
        if answer == reference:
            return Grade(found.text, found.rule, CORRECT)
        if is_integer(answer) and is_integer(reference):
            return Grade(found.text, found.rule, WRONG)
        return None

    def _pool(self) -> WorkerPool:
        num_workers = self.num_workers or min(os.cpu_count() or 1, 8)
        return shared_pool("s1x.benchmark.math_worker", self._worker_settings(), num_workers)

    def _worker_settings(self) -> dict[str, Any]:
        return {
            "time_limit_seconds": self.time_limit_seconds,
            "memory_limit_bytes": self.memory_limit_bytes,
        }

    def _engine_options(self) -> dict[str, Any]:
        return {
            "float_rounding": self.float_rounding,
            "strict": self.strict,
            "allow_set_relation_comp": self.allow_set_relation_comp,
            "targets": list(self.targets),
        }


def _searched(text: str, rule: str, is_number: bool) -> Extraction:
    """The number that a solution's last sentence states, else the text for the engine."""
    number = closing_number(text, rule == LAST_EXPRESSION) if is_number else None
    return Extraction(number, rule) if number else Extraction(text, rule, SEARCHED)


def _same(answer: str, reference: str) -> bool:
    if len(answer) > 4 * len(reference) + 200:
        return False
    return normal_form(answer).casefold() == normal_form(reference).casefold()


def _from_reply(found: Extraction | None, reply: dict[str, Any] | WorkerError) -> Grade:
    assert found is not None
    if isinstance(reply, WorkerError):
        return ungraded(None if found.rest is SEARCHED else found, str(reply))
    text: str | None = found.text
    if found.rest is SEARCHED:
        text = reply.get("extracted")
    rule = found.rule if text is not None else None
    return Grade(text, rule, reply["verdict"], reply.get("reason"))
