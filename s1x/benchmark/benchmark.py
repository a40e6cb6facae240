"""What every benchmark is: questions, a grader, and what a report must say of it."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from s1x.benchmark.grader import Grader, make_grader
from s1x.benchmark.problem import Problem
from s1x.errors import UserError
from s1x.option import Option, setting
from s1x.rows import CORRECT

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")


@dataclass(frozen=True)
class Benchmark(Option, ABC):
    """Base of every benchmark. A subclass says where its questions come from: `_problems()`.

    The instruction is put after each question, so a problem's text is what the user turn says.
    """

    grader: str = setting(
        "exact", "exact, choice, math, llm_judge, or the dotted path of a grader class"
    )
    grader_settings: dict[str, Any] = setting(
        factory=dict, doc="settings of the grader that differ from its defaults"
    )
    instruction: str = setting("", "put after each question, on a line of its own")
    answer_format: str = setting("", "how the answer is asked for and read, for reports")
    domain_names: list[str] = setting(
        factory=list, doc="fields its questions are from; none: as the problems say"
    )
    in_domain: bool | None = setting(
        None, "whether the training data covers this field; null: not known"
    )
    samples_per_problem: int | None = setting(
        None, "of this benchmark; null: sampling.samples_per_problem", at_least=1
    )
    notes: list[str] = setting(
        factory=list, doc="sentences that a report on it must say, the most important first"
    )
    limit: int | None = setting(None, "ask only the first N questions; null: all", at_least=1)

    @property
    def num_problems(self) -> int | None:
        """How many it has, where that is known before they are read; a setting of some."""
        return None

    def load(self) -> list[Problem]:
        """The problems, in the order of their source, checked.

        Raises:
            UserError: the source cannot be read, two problems have one id, or a reference answer
                that the grader does not call correct; it names the place and the remedy.
        """
        problems = checked(self._problems()[: self.limit], self.make_grader())
        return [dataclasses.replace(p, question=self._asked(p)) for p in problems]

    def _asked(self, problem: Problem) -> str:
        """The question, its choices as s1's evaluation writes them, and the instruction."""
        lettered = [f"{chr(65 + i)}) {choice}" for i, choice in enumerate(problem.choices or ())]
        parts = problem.question, "\n".join(lettered), self.instruction
        return "\n\n".join(filter(None, parts))

    def make_grader(self) -> Grader:
        """The grader of this benchmark's answers."""
        return make_grader(self.grader, self.grader_settings)

    def sampling(self, general: S) -> S:
        """The run's sampling settings (a dataclass) with this benchmark's number of samples."""
        if self.samples_per_problem is None:
            return general
        return dataclasses.replace(general, samples_per_problem=self.samples_per_problem)

    def info(self) -> dict[str, object]:
        """What evaluation.json keeps of the benchmark (`benchmark_info`)."""
        about: dict[str, object] = {
            "source": self.source(),
            "in_domain": self.in_domain,
            "answer_format": self.answer_format,
            "grader": self.grader,
            "notes": list(self.notes),
        }
        return about | ({"domain_names": list(self.domain_names)} if self.domain_names else {})

    @abstractmethod
    def source(self) -> str:
        """Where the questions come from, in words."""

    @abstractmethod
    def _problems(self) -> list[Problem]: ...


def load_problems(name: str, benchmark: Benchmark, most: int | None = None) -> list[Problem]:
    """A benchmark's problems, the first `most` of them.

    Raises:
        UserError: it has none, or they cannot be read or graded.
    """
    problems = benchmark.load()
    if not problems:
        raise UserError(f"benchmark {name} has no problems; check its path, split and limit")
    return problems[:most]


def checked(problems: Sequence[Problem], grader: Grader) -> list[Problem]:
    """The problems, each with an id of its own and a reference that its grader can meet.

    Raises:
        UserError: two problems with one id, or a reference that is not correct as an answer.
    """
    seen: dict[str, Problem] = {}
    for problem in problems:
        first = seen.setdefault(problem.problem_id, problem)
        if first is not problem:
            raise UserError(
                f"{_place(problem)}: the id {problem.problem_id!r} is that of {_place(first)} too; "
                "ids must be unique (without a column of ids, rows are numbered)"
            )
    read = [dataclasses.replace(p, answer=grader.reference(p)) for p in problems]
    pairs = [(p, text) for p in read if (text := grader.own_answer(p)) is not None]
    for (problem, _), grade in zip(pairs, grader.grade_all(pairs), strict=True):
        if grade.verdict != CORRECT:
            raise UserError(
                f"{_place(problem)}: the reference answer {problem.answer[:80]!r} given as an "
                f"answer is {grade.verdict} to the grader ({grade.reason or 'they differ'}); mend "
                "the row, or choose another grader (benchmark.grader)"
            )
    return read


def _place(problem: Problem) -> str:
    return str(problem.metadata.get("place") or f"problem {problem.problem_id}")
