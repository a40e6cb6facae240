"""Test-time scaling curves from evaluation rows, with intervals and warnings.

    from s1x import metrics
    for curve in metrics.curves(metrics.read([folder])):
        print(curve.benchmark, [(p.setting, p.accuracy_percent) for p in curve.points])

All points of a curve are resampled by the same problems, so that slopes and differences keep what
the pairing gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from s1x.metrics.bootstrap import NUM_RESAMPLES, SEED, interval, resampled_means
from s1x.metrics.results import Curve, Estimate, Point
from s1x.metrics.scaling import control, performance, slope_per_doubling, slope_per_thousand
from s1x.metrics.table import Cell, cells
from s1x.rows import CUT, NATURAL, TRUNCATED, UNANSWERED, UNGRADED

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: below so many problems a single answer moves accuracy by more than a point
FEW_PROBLEMS = 100


def curves(
    rows: pa.Table | Sequence[Cell], num_resamples: int = NUM_RESAMPLES, seed: int = SEED
) -> list[Curve]:
    """Every curve in the rows, in order of first appearance.

    Args:
        rows: a table from `metrics.read`, or cells.
        num_resamples: of the bootstrap.
        seed: of the bootstrap; equal seeds give equal intervals.
    """
    found = rows if isinstance(rows, Sequence) else cells(rows)
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in found:
        groups.setdefault(cell.key, []).append(cell)
    return [curve(group, num_resamples, seed) for group in groups.values()]


def curve(points: Sequence[Cell], num_resamples: int = NUM_RESAMPLES, seed: int = SEED) -> Curve:
    """The curve through cells of one benchmark, model and policy."""
    import numpy as np

    assert points
    assert len({cell.key for cell in points}) == 1
    ids = sorted({problem for cell in points for problem in cell.problem_ids})
    accuracy = 100 * np.stack([aligned(c, c.is_correct, ids) for c in points], axis=1)
    tokens = np.stack([aligned(c, c.thinking_tokens, ids) for c in points], axis=1)
    y = resampled_means(accuracy, num_resamples, seed)
    x = resampled_means(tokens, num_resamples, seed)
    made = [_point(cell, y[:, i]) for i, cell in enumerate(points)]
    mean_x = np.array([p.mean_thinking_tokens for p in made])
    mean_y = np.array([np.nan if p.accuracy_percent is None else p.accuracy_percent for p in made])
    limits = [(cell.limit_min_tokens, cell.limit_max_tokens) for cell in points]
    first = points[0]
    return Curve(
        **dict(zip(_KEY, first.key, strict=True)),
        points=made,
        control_percent=_estimate(control(mean_x, limits), control(x, limits)),
        scaling_per_thousand_tokens=_estimate(
            slope_per_thousand(mean_x, mean_y), slope_per_thousand(x, y)
        ),
        scaling_per_doubling=_estimate(
            slope_per_doubling(mean_x, mean_y), slope_per_doubling(x, y)
        ),
        performance_percent=_estimate(performance(mean_y), performance(y)),
        num_problems=len(ids),
        samples_per_problem=max(cell.samples_per_problem for cell in points),
        warnings=_warnings(points, made, len(ids)),
    )


_KEY = ("benchmark", "model", "model_role", "prompt_format", "policy")


def aligned(cell: Cell, values: Floats | NDArray[np.int64], ids: Sequence[str]) -> Floats:
    """Means by problem in the order of `ids`, NaN for a problem that the cell lacks."""
    import numpy as np

    means = cell.by_problem(values)
    if tuple(ids) == cell.problem_ids:
        return means
    where = {problem: index for index, problem in enumerate(cell.problem_ids)}
    return np.array([means[where[i]] if i in where else np.nan for i in ids])


def _point(cell: Cell, resamples: Floats) -> Point:
    import numpy as np

    by_problem = 100 * cell.by_problem(cell.is_correct)
    graded = np.isfinite(by_problem)
    low, high = interval(resamples)
    thinking = cell.by_problem(cell.thinking_tokens).mean()
    answer = cell.by_problem(cell.answer_tokens).mean()
    return Point(
        point=cell.point,
        setting=cell.setting,
        mean_thinking_tokens=float(thinking),
        mean_answer_tokens=float(answer),
        mean_total_tokens=float(thinking + answer),
        mean_forced_tokens=float(cell.by_problem(cell.forced_tokens).mean()),
        mean_num_tries=float(cell.by_problem(cell.num_tries).mean()),
        accuracy_percent=float(by_problem[graded].mean()) if graded.any() else None,
        interval_low_percent=low,
        interval_high_percent=high,
        num_problems=len(cell.problem_ids),
        samples_per_problem=cell.samples_per_problem,
        num_correct=int(np.nansum(cell.is_correct)),
        num_graded=int(np.isfinite(cell.is_correct).sum()),
        natural_percent=cell.share_percent(cell.end_reason, NATURAL),
        cut_percent=cell.share_percent(cell.end_reason, CUT),
        truncated_percent=cell.share_percent(cell.end_reason, TRUNCATED),
        unanswered_percent=cell.share_percent(cell.verdict, UNANSWERED),
        ungraded_percent=cell.share_percent(cell.verdict, UNGRADED),
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


def _estimate(value: Floats, resamples: Floats) -> Estimate:
    import numpy as np

    if not np.isfinite(value):
        return Estimate(None)
    return Estimate(float(value), *interval(resamples))


def _warnings(points: Sequence[Cell], made: Sequence[Point], num_problems: int) -> list[str]:
    found = []
    few = few_problems(num_problems, max(cell.samples_per_problem for cell in points))
    if few:
        found.append(few)
    if len({cell.problem_ids for cell in points}) > 1:
        found.append("the points were measured on different problems")
    if any(
        len(cell.problem) != len(cell.problem_ids) * cell.samples_per_problem for cell in points
    ):
        found.append("some problems have fewer samples than others")
    ungraded = [p for p in made if p.ungraded_percent > 0]
    if ungraded:
        worst = max(p.ungraded_percent for p in ungraded)
        found.append(f"up to {worst:.1f}% of the answers of a point could not be graded; left out")
    return found


def few_problems(num_problems: int, samples_per_problem: int) -> str | None:
    """A sentence where there are too few problems to tell small differences, else None."""
    if num_problems >= FEW_PROBLEMS:
        return None
    one = 100 / num_problems
    half = 196 * (0.25 / num_problems) ** 0.5
    samples = "1 sample" if samples_per_problem == 1 else f"{samples_per_problem} samples"
    return (
        f"only {num_problems} problems ({samples} each): one of them is {one:.1f} points, an "
        f"accuracy near 50% is known to about ±{half:.0f} points; smaller differences tell nothing"
    )
