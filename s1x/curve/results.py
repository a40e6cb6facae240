"""What curves are: plain dataclasses that go to JSON as they are.

Accuracies and shares are percent (0 to 100) and say so in their names, token counts are tokens.
A value that cannot be computed is None, never 0. Every estimate stands beside the number of
problems and of samples that it rests on.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


class Result:
    """A result that can be written as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, nested results included."""
        return dataclasses.asdict(self)  # type: ignore[call-overload,no-any-return]


@dataclass(frozen=True)
class Estimate(Result):
    """A value with its 95% interval, clustered by problem; None where it cannot be told.

    Attributes:
        best_of: the value is the best of this many points, which its interval allows for.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    best_of: int | None = None


@dataclass(frozen=True)
class Point(Result):
    """One budget of a curve, averaged over its problems and samples.

    Attributes:
        point, setting: its index on the curve and its label ("max 512", "natural", "Wait x 2").
        mean_thinking_tokens: forced tokens included.
        accuracy_percent: mean over problems of the share of samples that are correct; an
            unanswered and an ungraded sample count as not correct. None where nothing was graded.
        accuracy_graded_percent: the same over graded samples only.
        interval_low_percent, interval_high_percent: 95% interval of `accuracy_percent`: Wilson's,
            at the effective number of answers (`s1x.curve.interval`).
        samples_per_problem: the largest number that a problem has.
        num_correct, num_graded: samples that are correct; that have a verdict.
        natural_percent, cut_percent, truncated_percent: how thinking ended.
        answers_cut_percent: share of answers that the limit of answer tokens ended; None where
            it was not recorded.
        limit_min_tokens, limit_max_tokens: the budget asked for, where there was one.
        within_limits_percent: share of single traces inside the limits; None without limits.
    """

    point: int
    setting: str
    mean_thinking_tokens: float
    mean_answer_tokens: float
    mean_total_tokens: float
    mean_forced_tokens: float
    mean_num_tries: float
    accuracy_percent: float | None
    interval_low_percent: float | None
    interval_high_percent: float | None
    accuracy_graded_percent: float | None
    num_problems: int
    samples_per_problem: int
    num_correct: int
    num_graded: int
    natural_percent: float
    cut_percent: float
    truncated_percent: float
    unanswered_percent: float
    ungraded_percent: float
    answers_cut_percent: float | None = None
    limit_min_tokens: int | None = None
    limit_max_tokens: int | None = None
    within_limits_percent: float | None = None


@dataclass(frozen=True)
class Curve(Result):
    """A test-time scaling curve: one model, prompt format and policy on one benchmark.

    Attributes:
        points: in the order of the swept setting, not of tokens.
        control_percent: share of the points with limits whose mean thinking tokens lie in them
            (paper, section 3.2, as its Table 3 counts); None where no point has a limit.
        scaling_per_thousand_tokens: points of accuracy gained per 1,000 thinking tokens, mean
            slope over all pairs of points.
        scaling_per_doubling: points of accuracy gained per doubling of thinking tokens, mean slope
            over all pairs; the unit of the paper's Table 3.
        performance_percent: the best accuracy of any point; its interval allows for the choice.
        warnings: sentences for people: too few problems, ungraded answers, uneven samples.
    """

    benchmark: str
    model: str
    model_role: str
    prompt_format: str
    policy: str
    points: list[Point]
    control_percent: Estimate
    scaling_per_thousand_tokens: Estimate
    scaling_per_doubling: Estimate
    performance_percent: Estimate
    num_problems: int
    samples_per_problem: int
    warnings: list[str]


@dataclass(frozen=True)
class DomainAccuracy(Result):
    """Accuracy of a point on the problems of one domain."""

    domain: str
    accuracy_percent: Estimate
    mean_thinking_tokens: float
    num_problems: int


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


@dataclass(frozen=True)
class SampleCount(Result):
    """Parallel scaling at one k, from the same samples as every other k.

    Attributes:
        k: samples per problem that take part.
        mean_total_tokens: thinking and answer tokens of all k samples, for the x axis that
            sequential and parallel scaling share.
        pass_percent: pass@k, unbiased (Chen et al. 2021): at least one of k is correct.
        average_percent: avg@k, the mean accuracy of a sample.
        majority_percent: cons@k, the answer most samples give is correct; ties to the first.
        shortest_majority_percent: votes weighted by 1 / log(mean thinking tokens) of the group
            (arXiv 2502.12215).
    """

    k: int
    num_problems: int
    num_samples: int
    mean_total_tokens: float
    pass_percent: Estimate
    average_percent: Estimate
    majority_percent: Estimate
    shortest_majority_percent: Estimate


@dataclass(frozen=True)
class Flips(Result):
    """What one more step of thinking (a Wait) did to the answers.

    Attributes:
        step: 1 for the first answer asked for against the second, and so on.
        wrong_to_right, right_to_wrong, stayed_right, stayed_wrong: numbers of samples; an answer
            that is missing counts as wrong, an ungraded one leaves the pair out.
        changed: samples whose extracted answer differs, right or not.
        net_points: points of accuracy gained, with the paired interval.
    """

    step: int
    wrong_to_right: int
    right_to_wrong: int
    stayed_right: int
    stayed_wrong: int
    changed: int
    net_points: Estimate = Estimate(None)
