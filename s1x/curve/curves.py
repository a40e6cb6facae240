"""Test-time scaling curves from the cells of evaluation rows, with intervals and warnings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from s1x.curve.cells import CURVE_KEY, Cell, Floats, cells
from s1x.curve.interval import Z95, share_interval
from s1x.curve.results import Curve, DomainAccuracy, Estimate, Point
from s1x.curve.scaling import Measured, control_estimate, performance_estimate, slope_estimate
from s1x.rows import CUT, NATURAL, TRUNCATED, UNANSWERED, UNGRADED

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
    keys = sorted({key for cell in points for key in cell.problem_keys})
    most = max(cell.samples_per_problem for cell in points)
    tokens = [aligned(c, c.by_problem(c.thinking_tokens), keys) for c in points]
    accuracy = [aligned(c, c.accuracy, keys) for c in points]
    measured = Measured(np.stack(tokens, axis=1), np.stack(accuracy, axis=1), most)
    made = [_point(cell) for cell in points]
    limits = [(cell.limit_min_tokens, cell.limit_max_tokens) for cell in points]
    return Curve(
        **dict(zip(CURVE_KEY, points[0].key, strict=True)),
        points=made,
        control_percent=control_estimate(measured, limits),
        scaling_per_thousand_tokens=slope_estimate(measured, per_doubling=False),
        scaling_per_doubling=slope_estimate(measured, per_doubling=True),
        performance_percent=performance_estimate(measured),
        num_problems=len(keys),
        samples_per_problem=most,
        warnings=_warnings(points, made, len(keys)),
    )


def by_domain(cell: Cell) -> list[DomainAccuracy]:
    """Accuracy of a point in each domain, by name."""
    domains = np.array([domain or "" for domain in cell.domain])
    found = []
    for domain in sorted(set(domains) - {""}):
        mine = domains == domain
        values = cell.accuracy[np.unique(cell.problem[mine])]
        tokens = float(cell.thinking_tokens[mine].mean())
        estimate = share_estimate(values, cell.samples_per_problem)
        found.append(DomainAccuracy(str(domain), estimate, tokens, len(values)))
    return found


def aligned(cell: Cell, by_problem: Floats, keys: Sequence[str]) -> Floats:
    """Values by problem in the order of `keys`, NaN for a problem that the cell lacks."""
    where = dict(zip(cell.problem_keys, by_problem.tolist(), strict=True))
    return np.array([where.get(key, np.nan) for key in keys], np.float64)


def share_estimate(values: Floats, most: float) -> Estimate:
    """The mean of shares by problem in percent, with its interval; NaN are left out."""
    values = values[np.isfinite(values)]
    if not len(values):
        return Estimate(None)
    low, high = share_interval(values, most)
    return Estimate(float(100 * values.mean()), float(100 * low), float(100 * high))


def _point(cell: Cell) -> Point:
    accuracy = share_estimate(cell.accuracy, cell.samples_per_problem)
    graded = cell.by_problem(cell.is_correct)
    graded = graded[np.isfinite(graded)]
    thinking, answer = cell.mean("thinking_tokens"), cell.mean("answer_tokens")
    known = cell.rows["answer_cut"].drop_nulls()
    return Point(
        point=cell.point,
        setting=cell.setting,
        mean_thinking_tokens=thinking,
        mean_answer_tokens=answer,
        mean_total_tokens=thinking + answer,
        mean_forced_tokens=cell.mean("forced_tokens"),
        mean_num_tries=cell.mean("num_tries"),
        accuracy_percent=accuracy.value,
        interval_low_percent=accuracy.low,
        interval_high_percent=accuracy.high,
        accuracy_graded_percent=float(100 * graded.mean()) if len(graded) else None,
        num_problems=len(cell.problem_ids),
        samples_per_problem=cell.samples_per_problem,
        num_correct=int(np.nansum(cell.is_correct)),
        num_graded=int(np.isfinite(cell.is_correct).sum()),
        natural_percent=cell.share_percent("end_reason", NATURAL),
        cut_percent=cell.share_percent("end_reason", CUT),
        truncated_percent=cell.share_percent("end_reason", TRUNCATED),
        unanswered_percent=cell.share_percent("verdict", UNANSWERED),
        ungraded_percent=cell.share_percent("verdict", UNGRADED),
        answers_cut_percent=float(100 * known.sum() / len(known)) if len(known) else None,
        limit_min_tokens=cell.limit_min_tokens,
        limit_max_tokens=cell.limit_max_tokens,
        within_limits_percent=_within_limits(cell),
    )


def _within_limits(cell: Cell) -> float | None:
    low, high = cell.limit_min_tokens, cell.limit_max_tokens
    if low is None and high is None:
        return None
    inside = cell.thinking_tokens >= (low or 0)
    if high is not None:
        inside &= cell.thinking_tokens <= high
    return float(100 * inside.mean())


def _warnings(points: Sequence[Cell], made: Sequence[Point], num_problems: int) -> list[str]:
    found = []
    few = few_problems(num_problems, max(cell.samples_per_problem for cell in points))
    if few:
        found.append(few)
    if len({cell.problem_keys for cell in points}) > 1:
        found.append("the points were measured on different problems")
    if any(c.rows.height != len(c.problem_ids) * c.samples_per_problem for c in points):
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
