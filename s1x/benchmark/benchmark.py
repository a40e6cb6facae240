"""What every benchmark is: questions, a grader, and what a report must say of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from s1x.benchmark.grader import Grader, make_grader
from s1x.benchmark.problem import Problem
from s1x.option import Option, setting

S = TypeVar("S", bound=Any)


@dataclass(frozen=True)
class Benchmark(Option):
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
    limit: int | None = setting(None, "ask only the first so many questions; null: all", at_least=1)

    def load(self) -> list[Problem]:
        """The problems, in the order of their source.

        Raises:
            UserError: the source cannot be read; it names what and the remedy.
        """
        problems = self._problems()[: self.limit]
        if not self.instruction:
            return problems
        return [
            dataclasses.replace(p, question=f"{p.question}\n\n{self.instruction}") for p in problems
        ]

    def make_grader(self) -> Grader:
        """The grader of this benchmark's answers."""
        return make_grader(self.grader, self.grader_settings)

    def sampling(self, general: S) -> S:
        """The run's sampling settings (a dataclass) with this benchmark's number of samples.

        Raises:
            SettingError: several samples at temperature 0.
        """
        if self.samples_per_problem is None:
            return general
        return dataclasses.replace(general, samples_per_problem=self.samples_per_problem)

    def info(self) -> dict[str, Any]:
        """What evaluation.json keeps of the benchmark (`benchmark_info`)."""
        about = {
            "source": self.source(),
            "in_domain": self.in_domain,
            "answer_format": self.answer_format,
            "grader": self.grader,
            "notes": list(self.notes),
        }
        return about | ({"domain_names": list(self.domain_names)} if self.domain_names else {})

    def source(self) -> str:
        """Where the questions come from, in words."""
        raise NotImplementedError

    def _problems(self) -> list[Problem]:
        raise NotImplementedError


def lettered(choices: Sequence[str]) -> str:
    """The choices as s1's evaluation writes them: a line "A) ..." each."""
    return "\n".join(f"{chr(65 + i)}) {choice}" for i, choice in enumerate(choices))
