"""Difficulty: questions that are too easy to learn from (paper, section 2.2 "Difficulty").

A pool says what models can do in one of three forms: verdict columns `is_correct_<solver>`, answer
columns `answer_<model>`, or several rows for one question, each with another `model`'s attempt.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from s1x.benchmark.extraction import (
    DEFAULT_RULES,
    LAST_NUMBER,
    WHOLE_TEXT,
    extract,
)
from s1x.benchmark.forms import is_number, normal_form
from s1x.option import option, setting
from s1x.selection.duplicates import question_digests
from s1x.selection.step import Drops, Rows, Step
from s1x.selection.verdicts import (
    answer_names,
    attempt_verdicts,
    codes,
    solver_names,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@option("selection_step", "solved")
@dataclass(frozen=True)
class Solved(Step):
    """Drops questions that solver models get right: any of them (s1), all, or so many.

    Solvers are the columns `is_correct_<solver>`; in a pool without them that holds several models'
    rows for one question, each of these models is a solver. An unknown verdict counts as not right.
    """

    solvers: list[str] = setting(factory=list, doc="names of solvers; none given: all there are")
    min_right: int | None = setting(
        1, "drop when so many solvers are right; null: when all are", at_least=1
    )
    grader: str = setting("math", "grades the attempts of pools without verdicts")

    def __call__(self, rows: Rows) -> Drops:
        import numpy as np

        drops = Drops(len(rows))
        names = solver_names(rows, self.solvers)
        if names:
            verdicts = np.stack([codes(rows.column(f"is_correct_{name}")) for name in names])
            right: Any = (verdicts == 1).sum(axis=0)
            needed: Any = len(names) if self.min_right is None else self.min_right
        else:
            right, asked = _right_models(rows, self.grader)
            needed = np.maximum(asked, 1) if self.min_right is None else self.min_right
        words = "all solvers" if self.min_right is None else f"{self.min_right} or more solvers"
        if self.min_right == 1 and len(names) == 1:
            words = names[0]
        drops.mark(None, right >= needed, f"solved by {words}")
        return drops


def _right_models(rows: Rows, grader: str) -> tuple[Any, Any]:
    """For each row: how many models are right on its question anywhere in the pool, how many
    tried."""
    import numpy as np

    if not rows.has("model"):
        rows.table.need(["is_correct_<solver>"])
    everything = Rows(rows.table, np.arange(rows.table.num_rows), rows.context, "difficulty")
    rows.context.note("solved: each model that has rows in the pool counts as a solver")
    verdicts = attempt_verdicts(everything, grader)
    models = everything.column("model").to_pylist()
    keys = question_digests(everything).tolist()
    tried: dict[int, set[str]] = defaultdict(set)
    right: dict[int, set[str]] = defaultdict(set)
    for key, model, verdict in zip(keys, models, verdicts.tolist(), strict=True):
        if model is not None:
            tried[key].add(model)
            if verdict == 1:
                right[key].add(model)
    own = [keys[n] for n in rows.numbers.tolist()]
    return np.array([len(right[k]) for k in own]), np.array([len(tried[k]) for k in own])


@option("selection_step", "agreement")
@dataclass(frozen=True)
class Agreement(Step):
    """Drops questions on which so many models give the same answer, right or wrong.

    Answers are the columns `answer_<model>`, else the attempts of several models' rows; they are
    compared by value (see `answer_value`). A pool that has verdicts only: right answers agree, the
    teacher's own attempt (`attempt_is_correct`) among them.
    """

    models: list[str] = setting(factory=list, doc="names of models; none given: all there are")
    num_models: int = setting(3, "models that must agree", at_least=2)

    def __call__(self, rows: Rows) -> Drops:
        drops = Drops(len(rows))
        agreeing = self._agreeing(rows)
        drops.mark(None, agreeing >= self.num_models, f"{self.num_models} models agree")
        return drops

    def _agreeing(self, rows: Rows) -> npt.NDArray[np.int64]:
        """For each row, the most models that give one answer."""
        import numpy as np

        names = answer_names(rows, self.models) if rows_have_answers(rows) else []
        if names:
            columns = [rows.column(f"answer_{name}").to_pylist() for name in names]
            return np.array([most_common(answers) for answers in zip(*columns, strict=True)])
        solvers = solver_names(rows, self.models)
        if not solvers and rows.has("model"):
            return _agreeing_rows(rows)
        columns = [f"is_correct_{name}" for name in solvers]
        if not self.models and rows.has("attempt_is_correct"):
            columns.append("attempt_is_correct")
        if not columns:
            rows.table.need(["answer_<model>"])
        rows.context.note(
            "agreement: the pool has verdicts only, so models agree where they are right"
        )
        right: npt.NDArray[np.int64] = np.stack([codes(rows.column(n)) == 1 for n in columns]).sum(
            axis=0
        )
        return right


def rows_have_answers(rows: Rows) -> bool:
    """Whether the pool has a column `answer_<model>`."""
    return any(name.startswith("answer_") for name in rows.table.names)


def most_common(answers: Iterable[str | None]) -> int:
    """How many of the answers have one value, blanks and missing ones aside."""
    found = Counter(answer_value(a) for a in answers if a is not None and a.strip())
    return max(found.values(), default=0)


_FRACTION = re.compile(r"(-?)(?:\\frac\{?(\d+?)\}?\{?(\d+)\}?|(\d+)/(\d+))")
#: where an answer may stand in an attempt; a short text is one itself
_RULES = (*DEFAULT_RULES, WHOLE_TEXT, LAST_NUMBER)


def answer_value(text: str) -> Fraction | str:
    """What an answer, or the answer that an attempt comes to, is worth.

    Numbers and fractions by value (1,000 is 1000, 0.50 is 1/2 is \\frac{1}{2}), all else by the
    graders' normal form. No symbolic engine: \\sqrt{4} and 2 stay apart.
    """
    found = extract(text, _RULES)
    normal = normal_form(found.text if found else text)
    fraction = _FRACTION.fullmatch(normal)
    try:
        if fraction:
            sign, *parts = fraction.groups()
            over, under = (int(part) for part in parts if part is not None)
            return Fraction(-over if sign else over, under)
        return Fraction(normal) if is_number(normal) else normal
    except (ValueError, ZeroDivisionError):  # too many digits, 1/0
        return normal


def _agreeing_rows(rows: Rows) -> npt.NDArray[np.int64]:
    import numpy as np

    everything = Rows(rows.table, np.arange(rows.table.num_rows), rows.context, "agreement")
    models = everything.column("model").to_pylist()
    keys = question_digests(everything).tolist()
    answers: dict[int, dict[str, str | None]] = defaultdict(dict)
    for places, batch in everything.scan(["attempt"]):
        for place, attempt in zip(places.tolist(), batch.column(0).to_pylist(), strict=True):
            if models[place] is not None:
                answers[keys[place]].setdefault(models[place], attempt)
    return np.array(
        [most_common(answers[keys[n]].values()) for n in rows.numbers.tolist()], np.int64
    )
