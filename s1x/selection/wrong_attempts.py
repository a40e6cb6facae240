"""Attempts that are wrong (the article's recipe)."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from s1x.option import option, setting
from s1x.selection.step import Drops, Rows, Step
from s1x.selection.verdicts import attempt_verdicts


@option("selection_step", "wrong_attempts")
@dataclass(frozen=True)
class WrongAttempts(Step):
    """Drops rows whose attempt is wrong: by `attempt_is_correct`, else by grading the attempt."""

    grade: bool = setting(True, "grade against the solution where there is no verdict")
    grader: str = setting("math", "grader of s1x.benchmark to grade with")
    keep_unknown: bool = setting(False, "keep rows that have neither verdict nor solution")

    def __call__(self, rows: Rows) -> Drops:
        is_right = pl.col("is_right")
        reasons = {"wrong attempt": ~is_right}
        if not self.keep_unknown:
            reasons["attempt cannot be judged"] = is_right.is_null()
        return rows.drop(reasons, attempt_verdicts(rows, self.grader if self.grade else None))
