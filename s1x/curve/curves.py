"""Test-time scaling curves from the cells of evaluation rows, with intervals and warnings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from s1x.curve.cells import CURVE_KEY, Cell, cells
from s1x.curve.interval import Z95, share_interval
from s1x.curve.results import Curve, DomainAccuracy, Estimate, Point
from s1x.curve.scaling import Measured, control_estimate, performance_estimate, slope_estimate
from s1x.rows import CORRECT, CUT, NATURAL, TRUNCATED, UNANSWERED, UNGRADED

#: below so many problems a single answer moves accuracy by more than a point
FEW_PROBLEMS = 100


def curves(rows: pl.DataFrame | Sequence[Cell]) -> list[Curve]:
    """Every curve in the rows, in order of first appearance.

    Args:
        rows: a frame from `read` or with the columns of `s1x.rows`, or cells.
    """
    found = cells(rows) if isinstance(rows, pl.DataFrame) else rows
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in found:
        source = cell.rows["source"][0] if "source" in cell.rows.columns else 0
        groups.setdefault((source, *cell.key), []).append(cell)
    return [curve(group) for group in groups.values()]


def curve(points: Sequence[Cell]) -> Curve:
    """The curve through cells of one benchmark, model and policy."""
    assert points
    assert len({cell.key for cell in points}) == 1
    keys = pl.concat([cell.problems.select("key") for cell in points]).unique().sort("key")
    most = max(cell.samples_per_problem for cell in points)
    tokens, accuracy = (
        np.stack([cell.aligned(column, keys) for cell in points], axis=1)
        for column in ("thinking_tokens", "accuracy")
    )
    measured = Measured(tokens, accuracy, most)
    made = [_point(cell) for cell in points]
    limits = [(cell.limit_min_tokens, cell.limit_max_tokens) for cell in points]
    return Curve(
        **dict(zip(CURVE_KEY, points[0].key, strict=True)),
        points=made,
        control_percent=control_estimate(measured, limits),
        scaling_per_thousand_tokens=slope_estimate(measured, per_doubling=False),
        scaling_per_doubling=slope_estimate(measured, per_doubling=True),
        performance_percent=performance_estimate(measured),
        num_problems=keys.height,
        samples_per_problem=most,
        warnings=_warnings(points, made, keys.height),
    )


def by_domain(cell: Cell) -> list[DomainAccuracy]:
    """Accuracy of a point in each domain, by name."""
    named = cell.problems.filter(pl.col("domain").fill_null("") != "")
    return [
        DomainAccuracy(
            part["domain"][0],
            share_estimate(part["accuracy"], cell.samples_per_problem),
            _mean(part["thinking_tokens"]),
            part.height,
        )
        for part in named.sort("domain").partition_by("domain")
    ]


def share_estimate(shares: pl.Series, most: float) -> Estimate:
    """The mean of shares by problem in percent, with its interval; what is null is left out."""
    values = shares.drop_nulls().to_numpy()
    if not len(values):
        return Estimate(None)
    low, high = share_interval(values, most)
    return Estimate(float(100 * values.mean()), float(100 * low), float(100 * high))


def _mean(series: pl.Series) -> float:
    return float(series.to_numpy().mean())


def _point(cell: Cell) -> Point:
    problems = cell.problems
    accuracy = share_estimate(problems["accuracy"], cell.samples_per_problem)
    graded = share_estimate(problems["graded"], cell.samples_per_problem)
    thinking, answer = _mean(problems["thinking_tokens"]), _mean(problems["answer_tokens"])
    inside = pl.col("thinking_tokens").is_between(
        cell.limit_min_tokens or 0,
        float("inf") if cell.limit_max_tokens is None else cell.limit_max_tokens,
    )
    unlimited = cell.limit_min_tokens is None and cell.limit_max_tokens is None
    kept = None if unlimited else 100 * _mean(cell.rows.select(inside).to_series())
    ends = {end: cell.share_percent("end_reason", end) or 0.0 for end in (NATURAL, CUT, TRUNCATED)}
    return Point(
        point=cell.point,
        setting=cell.setting,
        mean_thinking_tokens=thinking,
        mean_answer_tokens=answer,
        mean_total_tokens=thinking + answer,
        mean_forced_tokens=_mean(problems["forced_tokens"]),
        mean_num_tries=_mean(problems["num_tries"]),
        accuracy_percent=accuracy.value,
        interval_low_percent=accuracy.low,
        interval_high_percent=accuracy.high,
        accuracy_graded_percent=graded.value,
        num_problems=problems.height,
        samples_per_problem=cell.samples_per_problem,
        num_correct=int((cell.rows["verdict"] == CORRECT).sum()),
        num_graded=cell.num_graded,
        natural_percent=ends[NATURAL],
        cut_percent=ends[CUT],
        truncated_percent=ends[TRUNCATED],
        unanswered_percent=cell.share_percent("verdict", UNANSWERED) or 0.0,
        ungraded_percent=cell.share_percent("verdict", UNGRADED) or 0.0,
        answers_cut_percent=cell.share_percent("answer_cut", True),
        limit_min_tokens=cell.limit_min_tokens,
        limit_max_tokens=cell.limit_max_tokens,
        within_limits_percent=kept,
    )


def _warnings(points: Sequence[Cell], made: Sequence[Point], num_problems: int) -> list[str]:
    found = []
    few = few_problems(num_problems, max(cell.samples_per_problem for cell in points))
    if few:
        found.append(few)
    if len({tuple(cell.problems["key"]) for cell in points}) > 1:
        found.append("the points were measured on different problems")
    if any(c.rows.height != c.problems.height * c.samples_per_problem for c in points):
        found.append("some problems have fewer samples than others")
    ungraded = max(p.ungraded_percent for p in made)
    if ungraded > 0:
        found.append(
            f"up to {ungraded:.1f}% of the answers of a point could not be graded; they count as "
            "not right"
        )
    cut = max(p.answers_cut_percent or 0.0 for p in made)
    if cut > 0:
        found.append(
            f"up to {cut:.1f}% of the answers of a point were cut at budget.max_answer_tokens; "
            "raise it"
        )
    return found


def few_problems(num_problems: int, samples_per_problem: int) -> str | None:
    """A sentence where there are too few problems to tell small differences, else None."""
    if num_problems >= FEW_PROBLEMS:
        return None
    one = 100 / num_problems
    half = 100 * Z95 * (0.25 / num_problems) ** 0.5
    samples = "1 sample" if samples_per_problem == 1 else f"{samples_per_problem} samples"
    return (
        f"only {num_problems} problems ({samples} each): one of them is {one:.1f} points, an "
        f"accuracy near 50% is known to about ±{half:.0f} points; smaller differences tell nothing"
    )
