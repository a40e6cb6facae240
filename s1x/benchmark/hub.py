"""Benchmarks of the hub: AIME, MATH500, GPQA Diamond, MMLU-Pro, or any other data set.

One class reads them all; `conf/benchmark/*.yaml` says which repository, split and columns, with
the source of each choice. A row with wrong choices is multiple choice: its choices are shuffled
with a seed and the letter of the right one is its answer.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from s1x.benchmark.benchmark import Benchmark
from s1x.benchmark.problem import Problem
from s1x.benchmark.row import Row
from s1x.errors import UserError
from s1x.hub import load_dataset
from s1x.option import option, setting


@option("benchmark", "hub")
@dataclass(frozen=True)
class Hub(Benchmark):
    """Questions of a data set on the Hugging Face hub."""

    repository: str = setting(doc="id of the data set, owner/name")
    config_name: str | None = setting(None, "configuration of the data set; null: its only one")
    split: str = setting("test", "split of the data set")
    revision: str | None = setting(None, "commit or tag; null: the newest")
    num_problems: int | None = setting(None, "how many it must have; null: any", at_least=1)
    question_column: str = setting("problem", "column of the question")
    answer_column: str = setting("answer", "column of the reference answer")
    id_column: str | None = setting(None, "column of ids; null: numbered from 1")
    domain_column: str | None = setting(None, "column of the field; null: domain_name")
    level_column: str | None = setting(None, "column of the difficulty")
    wrong_choice_columns: list[str] = setting(
        factory=list, doc="columns of the wrong choices; none: not multiple choice"
    )
    choices_column: str | None = setting(
        None, "column of a list of choices, lettered in its order; null: not multiple choice"
    )
    shuffle_seed: int = setting(0, "of the order of each question's choices", at_least=0)
    domain_name: str = setting("unknown", "field of the rows that name none")

    def source(self) -> str:
        """Repository, configuration and split."""
        config = f"/{self.config_name}" if self.config_name else ""
        return f"hub: {self.repository}{config}, split {self.split}"

    def _problems(self) -> list[Problem]:
        problems = self.from_rows(self._rows())
        if self.num_problems is not None and len(problems) != self.num_problems:
            raise UserError(
                f"{self.repository} has {len(problems)} questions in split {self.split}, not the "
                f"{self.num_problems} it must have; set revision to the commit that has them"
            )
        return problems

    def _rows(self) -> Iterable[Mapping[str, object]]:
        where = self.repository, self.config_name, self.split, self.revision
        rows: Iterable[Mapping[str, object]] = load_dataset("benchmark", *where)
        return rows

    def from_rows(self, rows: Iterable[Mapping[str, object]]) -> list[Problem]:
        """The problems in rows that have the columns of the data set.

        Raises:
            UserError: a row that lacks a column or holds what cannot be meant.
        """
        return [self._problem(number, row) for number, row in enumerate(rows, 1)]

    def _problem(self, number: int, values: Mapping[str, object]) -> Problem:
        columns = {
            "question": self.question_column,
            "answer": self.answer_column,
            "id": self.id_column,
            "domain": self.domain_column,
            "level": self.level_column,
            "choices": self.choices_column,
        }
        place = f"{self.repository} row {number}"
        row = Row(place, number, values, columns, "set the benchmark's columns")
        metadata: dict[str, object] = {"place": place}
        problem = row.problem(self.domain_name, metadata, self.wrong_choice_columns)
        if problem.choices is None or not self.wrong_choice_columns:
            return problem
        order = list(range(len(problem.choices)))
        random.Random(f"{self.shuffle_seed}:{problem.question}").shuffle(order)
        metadata["shuffle_seed"] = self.shuffle_seed
        choices = tuple(problem.choices[i] for i in order)
        return dataclasses.replace(problem, choices=choices, answer=chr(65 + order.index(0)))
