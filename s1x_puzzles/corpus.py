"""What the base model is pretrained on: facts, direct answers and raw search snippets.

The corpus has no chat template. The base model can calculate, search, and check an attempt again
where the text says "Wait", but it never learns to say "Wait" (there is no loss on the word), it
knows nothing of think and answer, nor when to stop or to doubt. SFT then elicits and formats a
skill that the base has, which is what the paper claims for its own base model (section 6). All
verdicts are right: carelessness is the teacher's, and only SFT brings it in.

A document is a list of segments, text and whether the loss counts there; what can't be predicted
(the numbers of a question, the operands of a fact) has no loss, so that every step is spent on
calculation.
"""

from __future__ import annotations

import random

from s1x_puzzles.families import (
    LEVELS,
    MAX_NUMBER,
    TRAINED_FAMILIES,
    Puzzle,
    digit_sum,
    draw_puzzle,
    verdict,
)
from s1x_puzzles.teacher import attempt_line
from s1x_puzzles.tokenizer import END_OF_TEXT

Document = list[tuple[str, bool]]

FACTS_SHARE = 0.22
"""Share of documents that are lists of arithmetic facts."""
DIRECT_SHARE = 0.10
"""Share of documents that are a question and its answer, nothing between."""
MAX_SNIPPET_ATTEMPTS = 9
"""Most attempts in a search snippet; one in eight may be as long as the search is."""
CHECK_SHARE = 0.08
"""How often an attempt that misses by far is checked again."""
NEAR_CHECK_SHARE = 0.35
"""How often a near miss or a hit is checked again."""
GAP_SHARE = 0.2
"""How often other lines stand between a question and its search."""
LEVEL_WEIGHTS = (0.3, 0.25, 0.45)
"""How often easy, medium and hard questions occur."""


def draw_document(rng: random.Random) -> Document:
    """Draws one document of the corpus."""
    kind = rng.random()
    if kind < FACTS_SHARE:
        return _facts(rng)
    family = rng.choice(TRAINED_FAMILIES)
    puzzle = draw_puzzle(family, rng.choices(LEVELS, LEVEL_WEIGHTS)[0], rng)
    if kind < FACTS_SHARE + DIRECT_SHARE:
        return [(direct_prompt(puzzle.question), False), (f" {puzzle.answer}{END_OF_TEXT}", True)]
    return _snippet(puzzle, rng)


def direct_prompt(question: str) -> str:
    """The raw form in which the base model is asked for an answer without a search."""
    return f"{question}\nAnswer:"


def search_prompt(question: str) -> str:
    """The raw form after which the base model searches."""
    return f"{question}\n"


def _snippet(puzzle: Puzzle, rng: random.Random) -> Document:
    """A piece of a search: from its start, or (one in three) from the middle."""
    attempts = puzzle.attempts
    start = rng.randrange(len(attempts)) if rng.random() < 1 / 3 else 0
    length = len(attempts) if rng.random() < 1 / 8 else MAX_SNIPPET_ATTEMPTS
    document = [(search_prompt(puzzle.question), False)]
    if rng.random() < GAP_SHARE:
        document += [(text, False) for text, _ in _facts(rng)[: 3 * rng.randint(1, 2)]]
    for index, attempt in enumerate(attempts[start : start + length]):
        line = attempt_line(attempt, puzzle.target)
        if start > 0 and index == 0:
            given, _, last = line.rpartition(" ")
            document += [(given, False), (f" {last}\n", True)]
        else:
            document.append((f"{line}\n", True))
        if rng.random() < (NEAR_CHECK_SHARE if line.endswith("near") else CHECK_SHARE):
            if rng.random() < 0.5:  # as if it had been taken for a hit; nothing to be learnt here
                document.append((f"so {attempt.candidate}\n", False))
            document += [("Wait", False), (f" {line}\n", True)]
    if start + length >= len(attempts):
        document += _conclusion(puzzle, rng)
    return document


def _conclusion(puzzle: Puzzle, rng: random.Random) -> Document:
    """What follows a hit: the number again, perhaps a check, perhaps stated as the answer."""
    document: Document = [(f"so {puzzle.answer}\n", True)]
    last = attempt_line(puzzle.attempts[-1], puzzle.target)
    while rng.random() < NEAR_CHECK_SHARE:
        document += [("Wait", False), (f" {last}\nso {puzzle.answer}\n", True)]
    if rng.random() < 0.5:
        document += [("Answer:", False), (f" {puzzle.answer}\n", True)]
    return [*document, (END_OF_TEXT, True)]


def _facts(rng: random.Random) -> Document:
    """Eight facts of one kind, the loss on their results."""
    fact = rng.choice((_modulo, _modulo, _modulo, _plus, _minus, _times, _digits, _verdict))
    document: Document = []
    for _ in range(8):
        given, result = fact(rng)
        document += [(given, False), (f" {result}", True), ("\n", False)]
    return document


def _modulo(rng: random.Random) -> tuple[str, int]:
    number, m = rng.randint(0, MAX_NUMBER), rng.randint(4, 23)
    return f"{number} mod {m} =", number % m


def _plus(rng: random.Random) -> tuple[str, int]:
    a = rng.randint(0, 180)
    b = rng.randint(0, min(23, MAX_NUMBER - a))
    return f"{a} + {b} =", a + b


def _minus(rng: random.Random) -> tuple[str, int]:
    a = rng.randint(0, MAX_NUMBER)
    b = rng.randint(0, min(15, a))
    return f"{a} - {b} =", a - b


def _times(rng: random.Random) -> tuple[str, int]:
    a, b = rng.randint(1, 22), rng.randint(2, 8)
    return f"{a} * {b} =", a * b


def _digits(rng: random.Random) -> tuple[str, int]:
    number = rng.randint(0, MAX_NUMBER)
    return f"digit sum of {number} =", digit_sum(number)


def _verdict(rng: random.Random) -> tuple[str, str]:
    value = rng.randint(0, 22)
    target = max(0, value + rng.choice((-2, -1, 0, 1, 2, rng.randint(-20, 20))))
    return f"{value} against {target} =", verdict(value, target)
