"""Questions that are too easy to learn from (paper, section 2.2 "Difficulty")."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from s1x.option import option, setting
from s1x.pool.columns import VERDICT_PREFIX
from s1x.selection.step import Drops, Rows, Step
from s1x.selection.texts import question_keys
from s1x.selection.verdicts import attempt_verdicts, column_names, num_right


@option("selection_step", "solved")
@dataclass(frozen=True)
class Solved(Step):
    """Drops questions that solver models get right: any of them (s1), all, or N of them.

    Solvers are the columns `is_correct_<solver>`; in a pool without them that holds several models'
    rows for one question, each of these models is a solver. An unknown verdict counts as not right.
    """

    solvers: list[str] = setting(factory=list, doc="names of solvers; none given: all there are")
    min_right: int | None = setting(
        1, "drop when N solvers are right; null: when all are", at_least=1
    )
    grader: str = setting("math", "grades the attempts of pools without verdicts")

    def __call__(self, rows: Rows) -> Drops:
        names = column_names(rows, VERDICT_PREFIX, self.solvers)
        words = "all solvers" if self.min_right is None else f"{self.min_right} or more solvers"
        if self.min_right == 1 and len(names) == 1:
            words = names[0].removeprefix(VERDICT_PREFIX)
        if names:
            right, asked, frame = num_right(names), pl.lit(len(names)), None
        else:
            right, asked = pl.col("right"), pl.max_horizontal("asked", 1)
            frame = _right_models(rows, self.grader)
        needed = asked if self.min_right is None else self.min_right
        return rows.drop({f"solved by {words}": right >= needed}, frame)


def _right_models(rows: Rows, grader: str) -> pl.DataFrame:
    """For each row: `asked` models tried its question anywhere in the pool, `right` were right."""
    if not rows.has("model"):
        rows.table.need([f"{VERDICT_PREFIX}<solver>"])
    rows.context.note("solved: each model that has rows in the pool counts as a solver")
    every, model = rows.everything(), pl.col("model").drop_nulls()
    tried = attempt_verdicts(every, grader).join(every.frame(["model"]), on="row")
    is_right = pl.col("is_right").fill_null(False)
    return (
        tried.join(question_keys(every), on="row")
        .select(
            "row",
            asked=model.n_unique().over("key"),
            right=pl.col("model").filter(is_right).drop_nulls().n_unique().over("key"),
        )
        .filter(pl.col("row").is_in(rows.numbers.implode()))
    )
