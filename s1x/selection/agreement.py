"""Questions to which several models give one answer (the article's recipe).

A pool says what models can do in one of three forms: verdict columns `is_correct_<solver>`, answer
columns `answer_<model>`, or several rows for one question, each with another `model`'s attempt.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import polars as pl

from s1x.benchmark.extraction import DEFAULT_RULES, LAST_NUMBER, WHOLE_TEXT, extract
from s1x.benchmark.forms import normal_form, number_value
from s1x.option import option, setting
from s1x.pool.columns import ANSWER_PREFIX, VERDICT_PREFIX
from s1x.selection.step import Drops, Rows, Step
from s1x.selection.texts import question_keys
from s1x.selection.verdicts import column_names, num_right


@option("selection_step", "agreement")
@dataclass(frozen=True)
class Agreement(Step):
    """Drops questions on which N models give the same answer, right or wrong.

    Answers are the columns `answer_<model>`, else the attempts of several models' rows; they are
    compared by value (see `answer_value`). A pool that has verdicts only: right answers agree, the
    teacher's own attempt (`attempt_is_correct`) among them.
    """

    models: list[str] = setting(factory=list, doc="names of models; none given: all there are")
    num_models: int = setting(3, "models that must agree", at_least=2)

    def __call__(self, rows: Rows) -> Drops:
        enough = pl.col("agreeing") >= self.num_models
        return rows.drop({f"{self.num_models} models agree": enough}, self._agreeing(rows))

    def _agreeing(self, rows: Rows) -> pl.DataFrame:
        """For each row, the most models that give one answer."""
        if any(name.startswith(ANSWER_PREFIX) for name in rows.table.names):
            names = column_names(rows, ANSWER_PREFIX, self.models)
            counted = [
                (row, most_common(answers))
                for batch in rows.batches(names)
                for row, *answers in batch.iter_rows()
            ]
            return pl.DataFrame(counted, ["row", "agreeing"], orient="row")
        names = column_names(rows, VERDICT_PREFIX, self.models)
        if not names and rows.has("model"):
            return _agreeing_rows(rows)
        if not self.models and rows.has("attempt_is_correct"):
            names.append("attempt_is_correct")
        if not names:
            rows.table.need([f"{ANSWER_PREFIX}<model>"])
        rows.context.note(
            "agreement: the pool has verdicts only, so models agree where they are right"
        )
        return rows.frame(names).select("row", agreeing=num_right(names))


def most_common(answers: Iterable[str | None]) -> int:
    """How many of the answers have one value, blanks and missing ones aside."""
    found = Counter(answer_value(a) for a in answers if a is not None and a.strip())
    return max(found.values(), default=0)


#: where an answer may stand in an attempt; a short text is one itself
_RULES = (*DEFAULT_RULES, WHOLE_TEXT, LAST_NUMBER)


def answer_value(text: str) -> Fraction | str:
    """What an answer, or the answer that an attempt comes to, is worth.

    Numbers and fractions by value (1,000 is 1000, 0.50 is 1/2 is \\frac{1}{2}), all else by the
    graders' normal form. No symbolic engine: \\sqrt{4} and 2 stay apart.
    """
    found = extract(text, _RULES)
    normal = normal_form(found.text if found else text)
    value = number_value(normal)
    return normal if value is None else value


def _agreeing_rows(rows: Rows) -> pl.DataFrame:
    """The same where each row is another model's attempt; a model's first one counts."""
    every = rows.everything()
    key_of: dict[int, int] = dict(question_keys(every).iter_rows())
    answers: dict[int, dict[str, str | None]] = defaultdict(dict)
    for batch in every.batches(["model", "attempt"]):
        for row, model, attempt in batch.iter_rows():
            if model is not None:
                answers[key_of[row]].setdefault(model, attempt)
    agreeing = {key: most_common(given.values()) for key, given in answers.items()}
    found = [(row, agreeing.get(key_of[row], 0)) for row in rows.numbers]
    return pl.DataFrame(found, ["row", "agreeing"], orient="row")
