"""Paired differences: what pairing gives, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from s1x import curve as metrics
from s1x.errors import UserError
from tests.curve.rows_of import answered, table_of


def cell(verdicts, **columns):
    return metrics.cells(table_of(answered(verdicts, **columns)))[0]


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(300)
    base = list(hard < 0.5)
    tuned = [b or x for b, x in zip(base, rng.random(300) < 0.1, strict=True)]
    found = metrics.difference(cell(tuned), cell(base, model_role="base"))
    unpaired = 196 * np.sqrt(2 * 0.25 / 300)
    assert found.difference_points == pytest.approx(100 * (np.mean(tuned) - np.mean(base)))
    assert found.clear
    assert (found.high_points - found.low_points) / 2 < unpaired / 2
    assert (found.num_problems, found.left_samples_per_problem) == (300, 1)


@pytest.mark.parametrize("verdicts", [[True] * 30, [False] * 30, [True, False] * 15])
def test_runs_that_agree_on_thirty_problems_are_not_known_to_be_equal(verdicts) -> None:
    one = cell(verdicts)
    found = metrics.difference(one, one)
    assert found.difference_points == 0
    assert (found.low_points, found.high_points) == (
        pytest.approx(-8.66, abs=0.01),
        pytest.approx(8.66, abs=0.01),
    )
    assert not found.clear


def test_more_samples_tell_more_unless_they_all_agree() -> None:
    rng = np.random.default_rng(4)
    chance = rng.random(60)

    def drawn(num_samples, seed):
        draws = np.random.default_rng(seed)
        rows = [row for s in range(num_samples)
                for row in answered(draws.random(60) < chance, sample=s)]  # fmt: skip
        return metrics.cells(table_of(rows))[0]

    def width(num_samples):
        found = metrics.difference(drawn(num_samples, 1), drawn(num_samples, 2))
        return found.high_points - found.low_points

    assert width(8) < 0.6 * width(1)


def test_the_sign_turns_with_the_sides() -> None:
    rng = np.random.default_rng(2)
    left, right = (cell(list(rng.random(150) < p)) for p in (0.7, 0.5))
    there, back = metrics.difference(left, right), metrics.difference(right, left)
    assert there.difference_points == pytest.approx(-back.difference_points)
    assert there.low_points == pytest.approx(-back.high_points)


def test_only_shared_problems_count() -> None:
    left, right = cell([True] * 120), cell([False] * 110)
    found = metrics.difference(left, right)
    assert found.num_problems == 110
    assert any("10 problems are not in both" in words for words in found.warnings)


def asked(questions, verdicts, ids=None, answer="1"):
    rows = [
        {**row, "question": question, "reference_answer": answer, "problem_id": name}
        for row, question, name in zip(answered(verdicts), questions, ids or "abc", strict=False)
    ]
    return metrics.cells(table_of(rows))[0]


def test_problems_are_paired_by_content_not_by_id() -> None:
    left = asked(["1+1?", "1+2?", "1+3?"], [True, False, True])
    moved = asked(["1+3?", "1+1?", "1+2?"], [True, True, False])
    found = metrics.difference(left, moved)
    assert (found.difference_points, found.num_problems) == (0, 3)
    edited = asked(["1+1?", "1+2?", "1+4?"], [True, True, True])
    found = metrics.difference(left, edited)
    assert (found.num_problems, found.difference_points) == (2, -50)
    assert any("2 problems are not in both (by question" in words for words in found.warnings)
    with pytest.raises(UserError, match="two benchmarks"):
        metrics.difference(left, asked(["1+1?", "1+2?", "1+3?"], [True] * 3, answer="2"))


def test_equal_questions_are_told_apart_by_their_ids() -> None:
    left = asked(["q", "q", "r"], [True, False, True], ids=["a", "b", "c"])
    right = asked(["q", "q", "r"], [False, False, True], ids=["a", "x", "y"])
    found = metrics.difference(left, right)
    assert (found.num_problems, found.difference_points) == (2, 50)


def test_ungraded_answers_are_not_right_in_a_difference() -> None:
    rows = answered([True] * 4)
    rows[0]["verdict"] = "ungraded"
    found = metrics.difference(cell([True] * 4), metrics.cells(table_of(rows))[0])
    assert (found.num_problems, found.difference_points) == (4, 25)


def test_few_problems_are_warned_of() -> None:
    assert (
        "only 30 problems" in metrics.difference(cell([True] * 30), cell([False] * 30)).warnings[0]
    )


def test_different_benchmarks_are_refused() -> None:
    with pytest.raises(UserError, match="same benchmark"):
        metrics.difference(cell([True]), cell([True], benchmark="other"))
    rows = [{**row, "question": f"another {i}"} for i, row in enumerate(answered([True] * 3))]
    with pytest.raises(UserError, match="two benchmarks that are both called demo"):
        metrics.difference(cell([True]), metrics.cells(table_of(rows))[0])
    ungraded = metrics.cells(table_of([{"problem_id": "0", "verdict": "ungraded"}]))[0]
    with pytest.raises(UserError, match="in common"):
        metrics.difference(cell([True]), ungraded)


def test_benchmarks_that_share_a_name_and_no_question_get_two_names() -> None:
    first = asked(["1+1?", "1+2?"], [True, True])
    edited = asked(["1+1?", "1+5?"], [True, True])
    other, third = (asked([f"{x}?", f"{x}!"], [True, True]) for x in "xy")
    curves = [[first], [other], [edited], [third], [other]]
    names = [cells[0].benchmark for cells in metrics.told_apart(curves)]
    assert names == ["demo", "demo (other questions)", "demo", "demo (other questions 2)", names[1]]
