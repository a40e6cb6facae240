"""The teacher: its traces are searches that calculate right, and it is wrong as often as stated."""

from __future__ import annotations

import random

import pytest

from s1x_puzzles.families import LEVELS, TRAINED_FAMILIES, draw_puzzle, verdict
from s1x_puzzles.teacher import Habits, write_trace
from s1x_puzzles.tokenizer import count_tokens

STRICT = Habits(early_take=0, early_take_then_wait=0, late_take=0, late_take_then_wait=0, recheck=0)


@pytest.mark.parametrize("family", TRAINED_FAMILIES)
def test_every_line_of_a_trace_is_true(family: str) -> None:
    rng = random.Random(family)
    for _ in range(100):
        puzzle = draw_puzzle(family, "hard", rng)
        attempts = {a.candidate: a for a in puzzle.attempts}
        trace = write_trace(puzzle, rng)
        for line in trace.text.split("\n"):
            words = line.removeprefix("Wait ").split()
            if words[0] == "so":
                continue
            attempt = attempts[int(words[0])]
            assert tuple(map(int, words[2:-1])) == attempt.shown
            assert words[-1] == verdict(attempt.value, puzzle.target)
        assert trace.text.endswith(f"\nso {trace.answer}")
        assert trace.text.count("Wait") == trace.num_waits
        assert count_tokens(trace.text) <= 270


def test_a_strict_teacher_is_always_right_and_never_waits() -> None:
    rng = random.Random(0)
    for family in TRAINED_FAMILIES:
        puzzle = draw_puzzle(family, "hard", rng)
        trace = write_trace(puzzle, rng, STRICT)
        assert (trace.answer, trace.num_waits) == (puzzle.answer, 0)
        assert trace.text.count("\n") == len(puzzle.attempts)


def test_a_wrong_answer_is_a_near_miss_and_waits_are_strict() -> None:
    rng = random.Random(0)
    for _ in range(500):
        puzzle = draw_puzzle(rng.choice(TRAINED_FAMILIES), "hard", rng)
        trace = write_trace(puzzle, rng)
        if trace.answer != puzzle.answer:
            taken = next(a for a in puzzle.attempts if a.candidate == trace.answer)
            assert verdict(taken.value, puzzle.target) == "near"
            assert "Wait" not in trace.text.split("\n")[-2]


@pytest.mark.parametrize(
    ("level", "low", "high"), [("easy", 0.65, 0.73), ("medium", 0.62, 0.70), ("hard", 0.55, 0.65)]
)
def test_how_often_the_teacher_is_right(level: str, low: float, high: float) -> None:
    rng = random.Random(level)
    assert level in LEVELS
    right = 0
    for number in range(3000):
        puzzle = draw_puzzle(TRAINED_FAMILIES[number % 6], level, rng)
        right += write_trace(puzzle, rng).answer == puzzle.answer
    assert low <= right / 3000 <= high
