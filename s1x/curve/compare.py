"""What changed between two runs or two points, paired by problem (paper, Table 2).

A problem is its question and reference answer, whatever its id or file is called: only problems
that both have are compared. What makes a problem hard for both cancels, and the interval is the
narrower for it. The paper resamples the pairs; here the interval is that of `s1x.curve.interval`,
which also holds where two runs (nearly) always agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from s1x.curve.cells import Cell
from s1x.curve.curves import few_problems
from s1x.curve.interval import Estimate, Result, contrast_interval
from s1x.errors import UserError
from s1x.rows import CORRECT, UNGRADED


@dataclass(frozen=True)
class Difference(Result):
    """Accuracy of `left` minus accuracy of `right` on the problems that both have, in points.

    `low_points` and `high_points` are the 95% interval, paired by problem; `clear` says that it
    excludes 0: the difference is significant.
    """

    left: str
    right: str
    benchmark: str
    left_accuracy_percent: float
    right_accuracy_percent: float
    difference_points: float
    low_points: float
    high_points: float
    num_problems: int
    left_samples_per_problem: int
    right_samples_per_problem: int
    clear: bool
    warnings: list[str]

    @property
    def gap(self) -> Estimate:
        """The difference with its interval, in points."""
        return Estimate(self.difference_points, self.low_points, self.high_points)


@dataclass(frozen=True)
class Flips(Result):
    """What one more step of thinking (a Wait) did to the answers: numbers of samples.

    A missing answer counts as wrong, an ungraded one leaves the pair out.
    """

    step: int  # 1: the first answer asked for against the second
    wrong_to_right: int
    right_to_wrong: int
    stayed_right: int
    stayed_wrong: int
    changed: int  # the extracted answer differs, right or not
    net_points: Estimate = Estimate(None)  # of accuracy gained, paired


def difference(left: Cell, right: Cell) -> Difference:
    """Accuracy of `left` minus that of `right`, in points, with its paired 95% interval.

    Raises:
        UserError: different benchmarks, or no problem that both have an answer to.
    """
    if left.benchmark != right.benchmark:
        raise UserError(
            f"{left.name} is on {left.benchmark}, {right.name} on {right.benchmark}: "
            "only runs on the same benchmark can be compared"
        )
    both = left.problems.join(right.problems, on="key", maintain_order="left")
    if not both.height:
        raise UserError(
            f"{left.name} and {right.name} are on two benchmarks that are both called "
            f"{left.benchmark}: no question with its reference answer is in both"
        )
    if not (left.num_graded and right.num_graded):
        raise UserError(f"{left.name} and {right.name} have no graded problem in common")
    most = max(left.samples_per_problem, right.samples_per_problem)
    accuracy = both.select("accuracy", "accuracy_right").to_numpy()
    low, high = (100 * float(end) for end in contrast_interval(accuracy, (1, -1), most))
    means = 100 * accuracy.mean(axis=0)
    warnings = []
    if few := few_problems(both.height, min(left.samples_per_problem, right.samples_per_problem)):
        warnings.append(few)
    if dropped := left.problems.height + right.problems.height - 2 * both.height:
        by = "by question and reference answer"
        warnings.append(f"{dropped} problems are not in both ({by}) and were left out")
    return Difference(
        left=left.name,
        right=right.name,
        benchmark=left.benchmark,
        left_accuracy_percent=float(means[0]),
        right_accuracy_percent=float(means[1]),
        difference_points=float(means[0] - means[1]),
        low_points=low,
        high_points=high,
        num_problems=both.height,
        left_samples_per_problem=left.samples_per_problem,
        right_samples_per_problem=right.samples_per_problem,
        clear=low > 0 or high < 0,
        warnings=warnings,
    )


def difference_if_any(left: Cell | None, right: Cell | None) -> Difference | None:
    """The same; None where there is nothing to compare."""
    try:
        return difference(left, right) if left and right else None
    except UserError:
        return None


def told_apart(curves: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
    """The curves again, benchmarks that share their name and no problem under names of their own.

    Two files of one name, or one whose questions were all changed, are different benchmarks: the
    later one is called "test (other questions)".
    """
    known: dict[str, list[set[str]]] = {}
    found = []
    for cells in curves:
        name = cells[0].benchmark
        keys = {key for cell in cells for key in cell.problems["key"]}
        groups = known.setdefault(name, [])
        place = next((i for i, group in enumerate(groups) if group & keys), len(groups))
        groups[place:] = groups[place:] or [set()]
        groups[place] |= keys
        number = f" {place}" if place > 1 else ""
        named = f"{name} (other questions{number})" if place else name
        found.append([dataclasses.replace(cell, benchmark=named) for cell in cells])
    return found


def flips(cell: Cell) -> list[Flips]:
    """Flips between the answers asked for along each trace: entry i compares answer i with i + 1.

    The answers are those of `interim_verdicts`, the final one last. Empty without any.
    """
    asked = cell.rows["interim_verdicts"].list.len().max()
    found = []
    for step in range(1, asked if isinstance(asked, int) else 0):
        at = {"before": step - 1, "after": step}
        columns = {
            f"{kind}_{when}": pl.col(f"interim_{kind}s").list.get(index, null_on_oob=True)
            for when, index in at.items()
            for kind in ("verdict", "answer")
        }
        found.append(_count(step, cell.rows.select("key", **columns), cell.samples_per_problem))
    return found


def flips_between(before: Cell, after: Cell) -> Flips:
    """Flips from one point to another of the same samples ("natural" to "Wait x 1")."""

    def told(cell: Cell, when: str) -> pl.DataFrame:
        names = {"verdict": f"verdict_{when}", "extracted_answer": f"answer_{when}"}
        return cell.rows.select("key", "sample", *names).rename(names)

    pairs = told(after, "after").join(told(before, "before"), on=["key", "sample"])
    return _count(1, pairs, after.samples_per_problem)


def _count(step: int, pairs: pl.DataFrame, most: int) -> Flips:
    """Counts of a frame with key, verdict_before, verdict_after, answer_before, answer_after."""
    verdicts = pl.col("verdict_before", "verdict_after")
    graded = pairs.filter(pl.all_horizontal(verdicts != UNGRADED)).with_columns(
        before=pl.col("verdict_before") == CORRECT, after=pl.col("verdict_after") == CORRECT
    )
    kinds = graded.select("before", "after").rows()
    changed = pl.col("answer_before").ne_missing(pl.col("answer_after"))
    net = Estimate(None)
    if graded.height:
        shares = graded.group_by("key").agg(pl.col("before", "after").mean())
        values = shares.select("before", "after").to_numpy()
        gain = (values[:, 1] - values[:, 0]).mean()
        net = Estimate.percent(gain, contrast_interval(values, (-1, 1), most))
    return Flips(
        step=step,
        wrong_to_right=kinds.count((False, True)),
        right_to_wrong=kinds.count((True, False)),
        stayed_right=kinds.count((True, True)),
        stayed_wrong=kinds.count((False, False)),
        changed=int(graded.select(changed.sum()).item()),
        net_points=net,
    )
