"""Test-time scaling curves from the cells of evaluation rows, with intervals and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from s1x.curve.cells import CURVE_KEY, Cell, cells
from s1x.curve.interval import Z95, Estimate, Result, share_interval
from s1x.curve.scaling import Measured, control_estimate, performance_estimate, slope_estimate
from s1x.rows import CORRECT, CUT, LOOP, NATURAL, TRUNCATED, UNANSWERED, UNGRADED

#: with fewer problems a single answer moves accuracy by more than a point
FEW_PROBLEMS = 100


@dataclass(frozen=True)
class Point(Result):
    """One budget of a curve, averaged over its problems and samples.

    An unanswered and an ungraded sample count as not correct; where nothing at all was graded,
    accuracy is None. `accuracy_graded_percent` leaves ungraded samples out.
    """

    point: int  # its index on the curve
    setting: str  # "max 512", "natural", "Wait x 2"
    mean_thinking_tokens: float | None  # forced tokens included; None where not recorded
    mean_answer_tokens: float | None
    mean_total_tokens: float | None
    mean_forced_tokens: float | None
    mean_num_tries: float | None
    accuracy_percent: float | None  # mean over problems of the share of samples that are correct
    interval_low_percent: float | None  # 95%, Wilson's at the effective number of answers
    interval_high_percent: float | None
    accuracy_graded_percent: float | None
    num_problems: int
    samples_per_problem: int  # the most that a problem has
    num_correct: int  # samples
    num_graded: int  # samples with a verdict
    natural_percent: float | None  # how thinking ended, where recorded
    cut_percent: float | None
    truncated_percent: float | None
    loop_percent: float | None  # closed while it repeated itself word for word
    unanswered_percent: float
    ungraded_percent: float
    answers_cut_percent: float | None = None  # by the limit of answer tokens, where recorded
    limit_min_tokens: int | None = None  # the budget asked for
    limit_max_tokens: int | None = None
    within_limits_percent: float | None = None  # of single traces
    mean_num_traces: float | None = None  # of a search, forks included; 1 or tries else
    mean_generated_tokens: float | None = None  # of all traces, probes and restarts of a row
    mean_scorer_tokens: float | None = None
    mean_all_tokens: float | None = None
    """Generated tokens, and the scorer's weighed by its parameters / the model's."""


@dataclass(frozen=True)
class Curve(Result):
    """A test-time scaling curve: one model, prompt format and policy on one benchmark.

    The three metrics are the paper's (section 3.2); `s1x.curve.scaling` defines them.
    """

    benchmark: str
    model: str
    model_role: str
    prompt_format: str
    policy: str
    points: list[Point]  # in the order of the swept setting, not of tokens
    control_percent: Estimate  # of the points that have a limit
    scaling_per_thousand_tokens: Estimate  # points of accuracy, mean slope over pairs of points
    scaling_per_doubling: Estimate  # likewise; the unit of the paper's Table 3
    performance_percent: Estimate  # the best accuracy of any point
    num_problems: int
    samples_per_problem: int
    warnings: list[str]  # sentences: too few problems, ungraded answers, uneven samples


@dataclass(frozen=True)
class DomainAccuracy(Result):
    """Accuracy of a point on the problems of one domain."""

    domain: str
    accuracy_percent: Estimate
    mean_thinking_tokens: float | None
    num_problems: int


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
    columns = ("thinking_tokens", "accuracy")
    frames = [
        c.problems.select("key", pl.col(columns).cast(pl.Float64), at=pl.lit(n))
        for n, c in enumerate(points)
    ]
    whole = pl.concat(frames, how="vertical_relaxed").sort("key", "at")
    tokens, accuracy = (
        whole.pivot("at", index="key", values=name, sort_columns=True).drop("key").to_numpy()
        for name in columns
    )
    num_problems, most = len(tokens), max(cell.samples_per_problem for cell in points)
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
        num_problems=num_problems,
        samples_per_problem=most,
        warnings=_warnings(points, made, num_problems),
    )


def by_domain(cell: Cell) -> list[DomainAccuracy]:
    """Accuracy of a point in each domain, by name."""
    named = cell.problems.filter(pl.col("domain").fill_null("") != "")
    return [
        DomainAccuracy(
            part["domain"][0],
            share_estimate(part["accuracy"], cell.samples_per_problem),
            part.select(pl.col("thinking_tokens").mean()).item(),
            part.height,
        )
        for part in named.sort("domain").partition_by("domain")
    ]


def share_estimate(shares: pl.Series, most: float) -> Estimate:
    """The mean of shares by problem in percent, with its interval; what is null is left out."""
    values = shares.drop_nulls().to_numpy()
    if not len(values):
        return Estimate(None)
    return Estimate.percent(values.mean(), share_interval(values, most))


def _point(cell: Cell) -> Point:
    problems, most = cell.problems, cell.samples_per_problem
    low, high = cell.limit_min_tokens, cell.limit_max_tokens
    accuracy = share_estimate(problems["accuracy"], most)
    thinking = pl.col("thinking_tokens")
    inside = thinking.is_between(low or 0, float("inf") if high is None else high)
    shares = cell.rows.select(
        natural_percent=_percent("end_reason", NATURAL),
        cut_percent=_percent("end_reason", CUT),
        truncated_percent=_percent("end_reason", TRUNCATED),
        loop_percent=_percent("end_reason", LOOP),
        unanswered_percent=_percent("verdict", UNANSWERED).fill_null(0.0),
        ungraded_percent=_percent("verdict", UNGRADED).fill_null(0.0),
        answers_cut_percent=_percent("answer_cut", True),
        within_limits_percent=None if low is None and high is None else 100 * inside.mean(),
        num_correct=(pl.col("verdict") == CORRECT).sum(),
    )
    means = problems.select(
        mean_thinking_tokens=thinking.mean(),
        mean_answer_tokens=pl.col("answer_tokens").mean(),
        mean_total_tokens=thinking.mean() + pl.col("answer_tokens").mean(),
        mean_forced_tokens=pl.col("forced_tokens").mean(),
        mean_num_tries=pl.col("num_tries").mean(),
        mean_num_traces=pl.col("num_traces").mean(),
        mean_generated_tokens=pl.col("total_tokens").mean(),
        mean_scorer_tokens=pl.col("scorer_tokens").mean(),
        mean_all_tokens=(pl.col("total_tokens") + pl.col("scorer_weighed_tokens")).mean(),
    )
    return Point(
        point=cell.point,
        setting=cell.setting,
        accuracy_percent=accuracy.value,
        interval_low_percent=accuracy.low,
        interval_high_percent=accuracy.high,
        accuracy_graded_percent=share_estimate(problems["graded"], most).value,
        num_problems=problems.height,
        samples_per_problem=most,
        num_graded=cell.num_graded,
        limit_min_tokens=low,
        limit_max_tokens=high,
        **means.row(0, named=True),
        **shares.row(0, named=True),
    )


def _percent(column: str, value: object) -> pl.Expr:
    """Percent of the rows whose column has the value; null where no row is known."""
    return 100 * pl.col(column).eq(value).mean()


def _warnings(points: Sequence[Cell], made: Sequence[Point], num_problems: int) -> list[str]:
    found = []
    few = few_problems(num_problems, max(cell.samples_per_problem for cell in points))
    if few:
        found.append(few)
    if len({tuple(cell.problems["key"]) for cell in points}) > 1:
        found.append("the points were measured on different problems")
    if any(c.rows.height != c.problems.height * c.samples_per_problem for c in points):
        found.append("some problems have fewer samples than others")
    unknown = sum(cell.rows["thinking_tokens"].null_count() for cell in points)
    if unknown:
        total = sum(cell.rows.height for cell in points)
        found.append(
            f"thinking tokens are not recorded in {'any' if unknown == total else unknown} of the "
            f"{total} rows: "
            + (
                "accuracy has no place on an axis of tokens, and stands as bars"
                if unknown == total
                else "their means are over the others"
            )
        )
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
