"""The puzzle world: its questions, its exact checker, and what is held out of it."""

from __future__ import annotations

import random

import pytest

from s1x.errors import SettingError
from s1x_puzzles.families import (
    FAMILIES,
    LEVELS,
    MAX_NUMBER,
    NEW_FAMILY,
    TRAINED_FAMILIES,
    Puzzle,
    draw_puzzle,
    is_right,
    parse_question,
    verdict,
)
from s1x_puzzles.puzzles import SPLITS, Puzzles, held_out_puzzles


def _draw(family: str, level: str, number: int) -> list[Puzzle]:
    rng = random.Random(f"{family}{level}")
    return [draw_puzzle(family, level, rng) for _ in range(number)]


def _brute_force(puzzle: Puzzle) -> int:
    """The answer by trying everything, without the families' own arithmetic."""
    read = parse_question(puzzle.question)
    assert read is not None
    family = FAMILIES[puzzle.family]
    for template, pattern in zip(family.templates, family.patterns, strict=True):
        match = pattern.fullmatch(puzzle.question)
        if match:
            p = {name: int(text) for name, text in match.groupdict().items()}
            assert template.format(**p) == puzzle.question
            break
    right = {
        "congruence": lambda x: (p["a"] * x + p["c"] - p["b"]) % p["m"] == 0,
        "remainders": lambda x: x % p["m"] == p["a"] and x % p["n"] == p["b"],
        "coins": lambda k: k * p["a"] <= p["t"] and (p["t"] - k * p["a"]) % p["b"] == 0,
        "sums": lambda x: (
            x >= p["a"] and (p["c"] + sum(range(p["a"], x + 1)) - p["b"]) % p["m"] == 0
        ),
        "digits": lambda x: (
            x >= p["a"] and (x - p["a"]) % p["d"] == 0 and sum(map(int, str(x))) == p["s"]
        ),
        "powers": lambda k: k > 0 and (p["c"] * p["a"] ** k - p["b"]) % p["m"] == 0,
        "steps": lambda x: x >= p["a"] and (x - p["a"]) % p["d"] == 0 and x % p["m"] == p["b"],
    }[puzzle.family]
    return next(x for x in range(MAX_NUMBER + 1) if right(x))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("level", LEVELS)
def test_the_answer_is_what_brute_force_finds(family: str, level: str) -> None:
    for puzzle in _draw(family, level, 60):
        assert puzzle.answer == _brute_force(puzzle)
        assert is_right(puzzle.question, puzzle.answer)
        assert not is_right(puzzle.question, puzzle.answer + 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_last_attempt_hits_and_every_number_is_one_token(family: str) -> None:
    for puzzle in _draw(family, "hard", 60):
        verdicts = [verdict(attempt.value, puzzle.target) for attempt in puzzle.attempts]
        assert verdicts[-1] == "yes"
        assert "yes" not in verdicts[:-1]
        numbers = [n for a in puzzle.attempts for n in (a.candidate, *a.shown)]
        assert all(0 <= number <= MAX_NUMBER for number in numbers)


def test_what_is_no_puzzle_is_not_parsed() -> None:
    assert parse_question("What is the meaning of life?") is None
    assert not is_right(
        "Solve 2x+1 = 3 (mod 4) for x.", 1
    )  # two solutions, no question of this world


def test_held_out_puzzles_are_held_out_in_every_wording() -> None:
    asked = {(p.family, p.target, p.attempts) for p in held_out_puzzles("hard", 300)}
    rng = random.Random(1)
    drawn = [draw_puzzle(f, "hard", rng) for f in TRAINED_FAMILIES for _ in range(500)]
    assert not any(p.held_out for p in drawn)
    assert not {p.question for p in drawn} & {p.question for p in held_out_puzzles("hard", 300)}
    digits_free = {key for key in asked if key[0] in ("congruence", "powers", "remainders")}
    same = digits_free & {(p.family, p.target, p.attempts) for p in drawn}
    assert len(same) < 0.02 * len(
        asked
    )  # equal searches of other moduli may happen, rewordings not


def test_benchmarks_are_distinct_balanced_and_stable() -> None:
    for split in SPLITS:
        problems = Puzzles(split=split).load()
        assert len({p.question for p in problems}) == len(problems) == 300
        assert len({p.problem_id for p in problems}) == 300
        assert all(is_right(p.question, int(p.answer)) for p in problems)
        families = [p.metadata["family"] for p in problems]
        expected = (NEW_FAMILY,) if split == "new" else TRAINED_FAMILIES
        assert {f: families.count(f) for f in expected} == dict.fromkeys(
            expected, 300 // len(expected)
        )
        assert Puzzles(split=split, limit=30).load() == problems[:30]


def test_a_wrong_split_is_refused_by_name() -> None:
    with pytest.raises(SettingError, match="split must be one of easy, hard, new"):
        Puzzles(split="harder")
