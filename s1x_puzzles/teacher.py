"""The teacher that writes reasoning traces, with a flaw that is there on purpose.

A trace is one line an attempt, ``candidate > numbers verdict``, and ends in ``so answer``. The
teacher is a search with two habits of real reasoners:

* **It gets careless.** A value one off (``near``) is sometimes taken for a hit; rarely among the
first attempts, mostly later, and on easy questions sooner. Sometimes it then says "Wait", checks
the candidate again, and goes on.
* **It doubts.** After a real hit it sometimes says "Wait" and checks again; a recheck is strict.

So a model that learns from it stops too early on long searches, and "Wait" makes it look again.
*This is the whole reason why budget forcing with "Wait" gains in this world*, and the care that it
takes with hard questions is most of what a selection of hard questions gains over a random one: the
gains are designed, they show the mechanism and test the tool, and they are no evidence about large
models.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from s1x_puzzles.families import Attempt, Puzzle, verdict

CAREFUL_ATTEMPTS = {"easy": 1, "medium": 2, "hard": 3}
"""Attempts at the start of a search that are judged with care, by the question's level."""

MAX_RECHECKS = 2
"""More would make the longest traces of easy questions longer than those of hard ones."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How careless and how doubtful the teacher is (probabilities, 0..1)."""

    early_take: float = 0.08
    """A near miss among the careful attempts is taken and the trace ends wrong."""
    early_take_then_wait: float = 0.06
    """... is taken, then "Wait" corrects it."""
    late_take: float = 0.88
    """A near miss after the careful attempts is taken and the trace ends wrong."""
    late_take_then_wait: float = 0.08
    """... is taken, then "Wait" corrects it."""
    recheck: float = 0.15
    """After a hit, "Wait" and check again; after a recheck, a second one with the same
    probability."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A reasoning trace and the answer that it comes to, right or wrong."""

    text: str
    answer: int
    num_waits: int


HABITS = Habits()


def attempt_line(attempt: Attempt, target: int) -> str:
    """One attempt as text, such as ``4 > 23 6 near``."""
    numbers = " ".join(map(str, attempt.shown))
    return f"{attempt.candidate} > {numbers} {verdict(attempt.value, target)}"


def write_trace(puzzle: Puzzle, rng: random.Random, habits: Habits = HABITS) -> Trace:
    """Writes the teacher's trace of a puzzle."""
    lines: list[str] = []
    num_waits = 0
    for index, attempt in enumerate(puzzle.attempts):
        line = attempt_line(attempt, puzzle.target)
        lines.append(line)
        if not line.endswith("near"):
            continue
        careful = index < CAREFUL_ATTEMPTS[puzzle.level]
        take = habits.early_take if careful else habits.late_take
        take_then_wait = habits.early_take_then_wait if careful else habits.late_take_then_wait
        fate = rng.random()
        if fate < take:
            lines.append(f"so {attempt.candidate}")
            return Trace("\n".join(lines), attempt.candidate, num_waits)
        if fate < take + take_then_wait:
            lines += [f"so {attempt.candidate}", f"Wait {line}"]
            num_waits += 1
    last = attempt_line(puzzle.attempts[-1], puzzle.target)
    lines.append(f"so {puzzle.answer}")
    for _ in range(MAX_RECHECKS):
        if rng.random() >= habits.recheck:
            break
        lines += [f"Wait {last}", f"so {puzzle.answer}"]
        num_waits += 1
    return Trace("\n".join(lines), puzzle.answer, num_waits)
