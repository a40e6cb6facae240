"""Graders: from what a model wrote to a verdict, with what was extracted and by which rule.

A benchmark names its grader (`grader: exact`) and may change its settings (`grader_settings`). A
user's own class is named by its path (`grader: my_package.MyGrader`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

from s1x.benchmark.extraction import DEFAULT_RULES, RULES, Extraction, extract
from s1x.benchmark.problem import Problem
from s1x.classes import load_class, source_hash
from s1x.compose import made
from s1x.errors import SettingError, UserError
from s1x.option import Option, option_class, setting
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
    text, rule = (found.text, found.rule) if found else (None, None)
    return Grade(text, rule, UNGRADED, reason)


@dataclass
class Spent:
    """What judging took; a total of which a part is unknown is None."""

    model_calls: int = 0
    prompt_tokens: int | None = 0
    generated_tokens: int | None = 0
    wall_seconds: float = 0.0
    device: str | None = "server"
    num_devices: int = 1


@dataclass(frozen=True)
class Grader(Option, ABC):
    """Base of every grader: the extraction rules, and grading one by one."""

    #: names of rules that are no marker texts
    own_rules: ClassVar[tuple[str, ...]] = RULES

    rules: list[str] = setting(
        factory=lambda: list(DEFAULT_RULES),
        doc="extraction rules in order: boxed, answer_is, whole_text, last_number, or a text that "
        "ends in a colon",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for rule in self.rules:
            if rule not in self.own_rules and not rule.endswith(":"):
                must = f"{', '.join(self.own_rules)} or texts that end in a colon"
                raise SettingError("rules", must, rule)

    @property
    def spent(self) -> Spent | None:
        """What a judge took so far; None for graders that ask no model."""
        return None

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

    @abstractmethod
    def grade(self, problem: Problem, answer_text: str) -> Grade:
        """The verdict on one answer."""

    def grade_all(self, pairs: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """Verdicts in the order of the pairs, whatever finishes first."""
        return [self.grade(problem, text) for problem, text in pairs]

    def close(self) -> None:
        """Lets go of worker processes; the grader starts them again when it is used."""


def make_grader(name: str, settings: Mapping[str, object] | None = None) -> Grader:
    """The grader of that name, with settings that differ from its defaults.

    Args:
        name: `exact`, `choice`, `math`, `llm_judge`, or the dotted path of a class.
        settings: its fields.

    Raises:
        UserError: an unknown grader or field, or a value outside its limits.
    """
    cls = load_class(name, "grader") if "." in name else option_class("grader", name, "grader")
    given = dict(settings or {})
    if issubclass(cls, Grader):
        # the classes check types themselves: an error may not show an address with its key
        return made(cls, given, "grader_settings", check_types=False)
    try:
        own = cls(**given)
    except TypeError as error:
        raise UserError(f"grader_settings of {name}: {error}") from None
    if isinstance(own, _Grades):
        return OwnGrader(own=own, made_from=[name, given, source_hash(cls)])
    raise UserError(
        f"grader {name} must have grade(problem, answer_text) -> s1x.benchmark.grader.Grade; "
        "derive it from s1x.benchmark.grader.Grader"
    )


@runtime_checkable
class _Grades(Protocol):
    def grade(self, problem: Problem, answer_text: str) -> Grade: ...


@dataclass(frozen=True)
class OwnGrader(Grader):
    """A grader of one's own that is no `Grader`: what it lacks is added."""

    own: _Grades = field(kw_only=True, metadata={"affects_result": False})
    made_from: list[object] = field(kw_only=True)  # for fingerprints

    def grade(self, problem: Problem, answer_text: str) -> Grade:
        """Its verdict."""
        return self.own.grade(problem, answer_text)
