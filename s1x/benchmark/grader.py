"""Graders: from what a model wrote to a verdict, with what was extracted and by which rule.

A benchmark names its grader (`grader: exact`) and may change its settings (`grader_settings`). A
user's own class is named by its path (`grader: my_package.MyGrader`).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from s1x.benchmark.extraction import (
    ANSWER_IS,
    BOXED,
    DEFAULT_RULES,
    LAST_NUMBER,
    WHOLE_TEXT,
    Extraction,
    extract,
)
from s1x.benchmark.problem import Problem
from s1x.errors import SettingError, UserError
from s1x.option import REGISTRY, Option, setting
from s1x.rows import CORRECT, UNANSWERED, UNGRADED, WRONG


@dataclass(frozen=True)
class Grade:
    """The verdict on one answer.

    Attributes:
        extracted: the answer that was found; None where there was none.
        rule: the name of the rule that found it.
        verdict: correct, wrong, unanswered or ungraded (see `s1x.rows`).
        reason: why it is ungraded, else None.
    """

    extracted: str | None
    rule: str | None
    verdict: str
    reason: str | None = None


UNANSWERED_GRADE = Grade(None, None, UNANSWERED)


def graded(found: Extraction, is_correct: bool) -> Grade:
    """A verdict on an answer that was found."""
    return Grade(found.text, found.rule, CORRECT if is_correct else WRONG)


def ungraded(found: Extraction | None, reason: str) -> Grade:
    """An answer that could not be judged, and why."""
    if found is None:
        return Grade(None, None, UNGRADED, reason)
    return Grade(found.text, found.rule, UNGRADED, reason)


@dataclass(frozen=True)
class Grader(Option):
    """Base of every grader: the extraction rules, and grading one by one."""

    rules: list[str] = setting(
        factory=lambda: list(DEFAULT_RULES),
        doc="extraction rules in order: boxed, answer_is, whole_text, last_number, or a text that "
        "ends in a colon",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        known = self.own_rules()
        for rule in self.rules:
            if rule not in known and not rule.endswith(":"):
                raise SettingError(
                    "rules", f"{', '.join(known)} or texts that end in a colon", rule
                )

    def own_rules(self) -> tuple[str, ...]:
        """Names of rules that are no marker texts."""
        return (BOXED, ANSWER_IS, WHOLE_TEXT, LAST_NUMBER)

    def extract(self, problem: Problem, answer_text: str) -> Extraction | None:
        """The answer in the text, without judging it; cheap, safe on any text."""
        return extract(answer_text, self.rules)

    def reference(self, problem: Problem) -> str:
        """The reference answer as this grader means it; a benchmark is read with it."""
        return problem.answer

    def own_answer(self, problem: Problem) -> str | None:
        """A text that answers with the reference itself, to see whether that is correct.

        None where that cannot be said without asking (a judge, a grader of one's own).
        """
        return None

    def grade(self, problem: Problem, answer_text: str) -> Grade:
        """The verdict on one answer."""
        raise NotImplementedError

    def grade_all(self, pairs: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """Verdicts in the order of the pairs, whatever finishes first."""
        return [self.grade(problem, text) for problem, text in pairs]

    def close(self) -> None:
        """Lets go of worker processes; the grader starts them again when it is used."""


def written(answer: str, rules: Sequence[str]) -> str | None:
    """A text in which a rule finds the answer; None where no rule of these can be served so."""
    marker = next((rule for rule in rules if rule.endswith(":")), None)
    if marker:
        return f"{marker} {answer}"
    if BOXED in rules:
        return f"\\boxed{{{answer}}}"
    return f"The answer is {answer}" if ANSWER_IS in rules else None


def make_grader(name: str, settings: Mapping[str, Any] | None = None) -> Grader:
    """The grader of that name, with settings that differ from its defaults.

    Args:
        name: `exact`, `choice`, `math`, `llm_judge`, or the dotted path of a class.
        settings: its fields.

    Raises:
        UserError: an unknown grader or field, or a value outside its limits.
    """
    cls = _grader_class(name)
    for old, new in cls.renamed.items() if issubclass(cls, Option) else ():
        if old in (settings or {}):
            raise UserError(f"grader_settings.{old} of {name} is now called {new}")
    try:
        made: Grader = cls(**dict(settings or {}))
    except SettingError as error:
        raise error.under("grader_settings") from None
    except TypeError as error:
        known = ", ".join(sorted(getattr(cls, "__dataclass_fields__", {})))
        raise UserError(f"grader_settings of {name}: {error}; it has {known}") from None
    return made if isinstance(made, Grader) else _adapted(name, made)


def _adapted(name: str, own: object) -> Grader:
    """A class that is no subclass of Grader, where it can grade.

    Raises:
        UserError: it has no `grade`.
    """
    if not callable(getattr(own, "grade", None)):
        raise UserError(
            f"grader {name} must have grade(problem, answer_text) -> s1x.benchmark.grader.Grade; "
            "derive it from s1x.benchmark.grader.Grader"
        )
    return OwnGrader(own=own)


@dataclass(frozen=True)
class OwnGrader(Grader):
    """A grader of one's own that is no `Grader`: what it lacks is added."""

    own: Any = field(default=None, metadata={"doc": "the object that grades"})

    def grade(self, problem: Problem, answer_text: str) -> Grade:
        """Its verdict."""
        found: Grade = self.own.grade(problem, answer_text)
        return found

    def grade_all(self, pairs: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """Its verdicts, all at once if it can."""
        if hasattr(self.own, "grade_all"):
            return list(self.own.grade_all(pairs))
        return super().grade_all(pairs)

    def close(self) -> None:
        """Lets go of what it holds."""
        if hasattr(self.own, "close"):
            self.own.close()


def _grader_class(name: str) -> type[Any]:
    for module in ("exact", "choice", "math", "llm_judge"):
        importlib.import_module(f"s1x.benchmark.{module}")
    known = REGISTRY["grader"]
    if name in known:
        return known[name]
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        names = ", ".join(sorted(known))
        raise UserError(
            f"grader {name} is unknown; use one of {names}, or the dotted path of a class"
        ) from None
    if not isinstance(found, type):
        raise UserError(f"grader {name} must be a class, got a {type(found).__name__}")
    return found
