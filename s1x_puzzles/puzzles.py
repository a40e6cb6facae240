"""Puzzle benchmarks: held-out questions of the laptop world.

``easy`` and ``hard`` ask questions of the six families that the base model and the pool know, with
numbers that neither has seen; ``new`` asks a seventh family that neither has (out of domain).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from s1x.benchmark.benchmark import Benchmark
from s1x.benchmark.problem import Problem
from s1x.option import setting
from s1x_puzzles.families import FAMILIES, NEW_FAMILY, TRAINED_FAMILIES, Puzzle, draw_puzzle

SPLITS = ("easy", "hard", "new")
NOTES = (
    "Any gain from “Wait” on these puzzles comes from a flaw designed into the teacher: its traces "
    "sometimes take a near miss for a hit, and a forced recheck mends that. This shows the "
    "mechanism and is no evidence about large models.",
    "Part of the gain of the s1K-style selection over a random thousand is that it has more tokens "
    "and more hard questions, and that the teacher was designed to take more care with those; the "
    "section on the chosen set has the numbers.",
)
MAX_NUM_PROBLEMS = 1200
"""The smallest family has more than 200 held-out questions of each level."""


@dataclass(frozen=True)
class Puzzles(Benchmark):
    """Held-out puzzles of one split, evenly over its families, every question once."""

    split: str = setting("hard", "easy, hard (six families) or new (a seventh)", choices=SPLITS)
    num_problems: int = setting(300, "size of the benchmark", at_least=1, at_most=MAX_NUM_PROBLEMS)
    seed: int = setting(0, "of the draw", at_least=0)
    notes: list[str] = setting(
        factory=lambda: list(NOTES), doc="sentences that a report on it must say"
    )

    def source(self) -> str:
        """The split, and that its questions are held out."""
        return f"procedural puzzles, {self.split}, held out from pretraining and pool"

    def _problems(self) -> list[Problem]:
        puzzles = held_out_puzzles(self.split, self.num_problems, self.seed)
        return [_problem(self.split, i, puzzle) for i, puzzle in enumerate(puzzles)]


def held_out_puzzles(split: str, num_problems: int, seed: int = 0) -> list[Puzzle]:
    """Draws distinct held-out puzzles; the first k are the same whatever ``num_problems`` is."""
    rng = random.Random(f"benchmark:{split}:{seed}")
    families = (NEW_FAMILY,) if split == "new" else TRAINED_FAMILIES
    level = "medium" if split == "new" else split
    chosen: dict[str, Puzzle] = {}
    while len(chosen) < num_problems:
        puzzle = draw_puzzle(families[len(chosen) % len(families)], level, rng, held_out=True)
        chosen.setdefault(puzzle.question, puzzle)
    return list(chosen.values())


def _problem(split: str, index: int, puzzle: Puzzle) -> Problem:
    return Problem(
        problem_id=f"puzzles_{split}-{index:04d}",
        question=puzzle.question,
        answer=str(puzzle.answer),
        domain=FAMILIES[puzzle.family].domain,
        level=puzzle.level,
        metadata={"family": puzzle.family, "num_attempts": len(puzzle.attempts)},
    )
