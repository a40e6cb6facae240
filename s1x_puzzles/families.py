"""The seven puzzle families of the laptop world: questions, searches, and an exact solver.

Every family is *guess and check*: its candidates come in an order that can be computed step by
step, a candidate leads to one value, and the value is compared with the target that the question
states. That is the pattern a model of a million parameters can learn from a few million tokens, and
it has what test-time scaling needs: an answer that costs more tokens the later it comes in the
search.

Six families are in the pretraining corpus and in the pool. ``steps`` is in neither: it goes through
the candidates of ``digits`` with the check of ``remainders``, so ``puzzles_new`` measures
composition.

Numbers are 0..199 so that each is one token. Questions are short and dense in numbers: any eight
words of one hold (nearly) all of its numbers, so that a shared 8-gram means a shared question
(section 3.1 of the paper decontaminates by 8-grams; wordy templates would make every question look
contaminated).
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

MAX_NUMBER = 199
"""Largest number that may be written; each of 0..199 is one token."""

LEVELS = ("easy", "medium", "hard")

NUM_ATTEMPTS = {"easy": (1, 7), "medium": (2, 10), "hard": (3, 20)}
"""Level to the fewest and most attempts that its questions may need, both included."""

HELD_OUT_SHARE = 0.15
"""Share of all puzzles kept for benchmarks, by a hash of family and numbers."""

Params = dict[str, int]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One candidate, the numbers that lead to its value, and the value (the last of ``shown``)."""

    candidate: int
    shown: tuple[int, ...]

    @property
    def value(self) -> int:
        """The number to be compared with the target."""
        return self.shown[-1]


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A question with its search; the last attempt is the one that hits."""

    family: str
    level: str
    question: str
    target: int
    attempts: tuple[Attempt, ...]
    held_out: bool

    @property
    def answer(self) -> int:
        """The one right answer."""
        return self.attempts[-1].candidate


@dataclass(frozen=True)
class Family:
    """What makes a family: its wording, how numbers are drawn, and how its candidates are tried.

    `search` takes the numbers by name; `target_name` is the one that candidates must hit ("": 0).
    """

    name: str
    domain: str
    draw: Callable[[str, random.Random], Params]
    search: Callable[..., Iterator[Attempt]]
    templates: tuple[str, ...]
    target_name: str = "b"

    @cached_property
    def patterns(self) -> tuple[re.Pattern[str], ...]:
        """The regular expressions that read the numbers back from each template's questions."""
        return tuple(map(_pattern, self.templates))


def verdict(value: int, target: int) -> str:
    """``yes`` for a hit, ``near`` for a value one off, else ``no``."""
    distance = abs(value - target)
    return "yes" if distance == 0 else "near" if distance == 1 else "no"


# --- congruence: a x + c = b (mod m), x = 0, 1, 2, ... by adding a each time ----------------------

_MODULI = {"easy": (4, 12), "medium": (11, 17), "hard": (16, 23)}


def _draw_congruence(level: str, rng: random.Random) -> Params:
    m = rng.randint(*_MODULI[level])
    return {"a": rng.randrange(2, m), "c": rng.randrange(50), "b": rng.randrange(m), "m": m}


def _search_congruence(a: int, c: int, b: int, m: int) -> Iterator[Attempt]:
    if math.gcd(a, m) > 1:
        return
    total = c
    for x in range(m):
        value = total % m
        yield Attempt(x, (total, value))
        total = value + a


# --- remainders: x = a (mod m), x = b (mod n), x = a, a + m, a + 2 m, ... -------------------------

_REMAINDERS = {
    "easy": ((3, 12), (4, 9)),
    "medium": ((4, 12), (8, 13)),
    "hard": ((5, 10), (12, 19)),
}


def _draw_remainders(level: str, rng: random.Random) -> Params:
    m, n = (rng.randint(*bounds) for bounds in _REMAINDERS[level])
    return {"a": rng.randrange(m), "m": m, "b": rng.randrange(n), "n": n}


def _search_remainders(a: int, m: int, b: int, n: int) -> Iterator[Attempt]:
    if math.gcd(m, n) == 1:
        yield from (Attempt(x, (x % n,)) for x in range(a, m * n, m))


# --- coins: k a + j b = t, the fewest a, k = 0, 1, 2, ... by taking a away ------------------------

_COINS = {
    "easy": ((20, 149), (4, 10)),
    "medium": ((60, 169), (8, 14)),
    "hard": ((100, MAX_NUMBER), (11, 19)),
}


def _draw_coins(level: str, rng: random.Random) -> Params:
    t, b = (rng.randint(*bounds) for bounds in _COINS[level])
    return {"t": t, "a": rng.randint(2, 15), "b": b}


def _search_coins(t: int, a: int, b: int) -> Iterator[Attempt]:
    if math.gcd(a, b) == 1:
        yield from (Attempt(k, (rest, rest % b)) for k, rest in enumerate(range(t, -1, -a)))


# --- sums: c + a + (a + 1) + ... + x = b (mod m), x = a, a + 1, ... by adding x each time ---------


def _draw_sums(level: str, rng: random.Random) -> Params:
    m = rng.randint(*_MODULI[level])
    return {"a": rng.randint(1, 20), "c": rng.randrange(50), "b": rng.randrange(m), "m": m}


def _search_sums(a: int, c: int, b: int, m: int) -> Iterator[Attempt]:
    value = c
    for x in range(a, a + 2 * m):
        total = value + x
        value = total % m
        yield Attempt(x, (total, value))


# --- digits: from a in steps of d, the first number whose digits add up to s ----------------------


def _draw_digits(level: str, rng: random.Random) -> Params:
    step = rng.choice((3, 4, 5, 6, 7, 8, 10, 11, 12, 13))
    return {"a": rng.randint(1, 140), "d": step, "s": rng.randint(2, 19)}


def _search_digits(a: int, d: int, s: int) -> Iterator[Attempt]:
    yield from (Attempt(x, (digit_sum(x),)) for x in range(a, MAX_NUMBER + 1, d))


def digit_sum(number: int) -> int:
    """Sum of the decimal digits."""
    return sum(map(int, str(number)))


# --- powers: c a^k = b (mod m), the least k of 1, 2, ... by multiplying with a each time ----------


def _draw_powers(level: str, rng: random.Random) -> Params:
    m = rng.randint(*_MODULI[level])
    a = rng.randint(2, min(8, m - 2))
    return {"c": rng.randrange(1, m), "a": a, "b": rng.randrange(1, m), "m": m}


def _search_powers(c: int, a: int, b: int, m: int) -> Iterator[Attempt]:
    value = c
    for k in range(1, m):
        product = value * a
        value = product % m
        yield Attempt(k, (product, value))


# --- steps: from a in steps of d, the first number that is b (mod m); only in puzzles_new ---------


def _draw_steps(level: str, rng: random.Random) -> Params:
    m = rng.randint(*_MODULI[level])
    return {"a": rng.randrange(m), "d": rng.randint(3, 10), "b": rng.randrange(m), "m": m}


def _search_steps(a: int, d: int, b: int, m: int) -> Iterator[Attempt]:
    if math.gcd(d, m) == 1:
        yield from (Attempt(x, (x % m,)) for x in range(a, min(a + d * m, MAX_NUMBER + 1), d))


def _pattern(template: str) -> re.Pattern[str]:
    """A number that stands twice must be the same each time."""
    pattern = re.escape(template)
    for name in dict.fromkeys(re.findall(r"\{(\w+)\}", template)):
        hole = re.escape(f"{{{name}}}")
        pattern = pattern.replace(hole, rf"(?P<{name}>\d+)", 1).replace(hole, f"(?P={name})")
    return re.compile(pattern)


_ALL = (
    Family(
        "congruence",
        "modular arithmetic",
        _draw_congruence,
        _search_congruence,
        (
            "Solve {a}x+{c} = {b} (mod {m}) for x.",
            "Find x with {a}x+{c} = {b} (mod {m}).",
            "Which x makes {a}x+{c} equal {b} mod {m}?",
        ),
    ),
    Family(
        "remainders",
        "number theory",
        _draw_remainders,
        _search_remainders,
        (
            "Solve x={a} (mod {m}), x={b} (mod {n}) for x.",
            "What is {a} mod {m}, {b} mod {n}?",
            "x/{m} leaves {a}, x/{n} leaves {b}. Find x.",
        ),
    ),
    Family(
        "coins",
        "Diophantine equations",
        _draw_coins,
        _search_coins,
        (
            "Pay {t} using {a}s and {b}s; how many {a}s?",
            "How many {a}s with {b}s sum to {t}?",
            "Split {t} into {a}s and {b}s. Fewest {a}s?",
        ),
        target_name="",
    ),
    Family(
        "sums",
        "series",
        _draw_sums,
        _search_sums,
        (
            "Which of {a} and up takes {c} to {b} mod {m}?",
            "Last of {a} and up from {c} to {b} mod {m}?",
            "Last of {a} and up taking {c} to {b} mod {m}?",
        ),
    ),
    Family(
        "digits",
        "digits and sequences",
        _draw_digits,
        _search_digits,
        (
            "Add {d} to {a} until digits sum to {s}.",
            "Step by {d} from {a} to digit sum {s}.",
            "Start at {a}, add {d}: first digit sum {s}?",
        ),
        target_name="s",
    ),
    Family(
        "powers",
        "discrete logarithms",
        _draw_powers,
        _search_powers,
        (
            "Solve {c}*{a}^k = {b} (mod {m}) for k.",
            "Least k with {c}*{a}^k = {b} (mod {m}).",
            "How many times {a} takes {c} to {b} mod {m}?",
        ),
    ),
    Family(
        "steps",
        "arithmetic progressions",
        _draw_steps,
        _search_steps,
        (
            "Step by {d} from {a} to {b} mod {m}.",
            "Add {d} to {a} until {b} mod {m}.",
            "Start at {a}, add {d}: first {b} mod {m}?",
        ),
    ),
)

FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}

NEW_FAMILY = "steps"
"""The family of ``puzzles_new``: neither the base model nor the pool has it."""

TRAINED_FAMILIES = tuple(name for name in FAMILIES if name != NEW_FAMILY)


def _build(family: Family, level: str, params: Params, template: str) -> Puzzle | None:
    """None when no candidate hits, or its search is too short or too long for the level."""
    target = params[family.target_name] if family.target_name else 0
    fewest, most = NUM_ATTEMPTS.get(level, (1, MAX_NUMBER))
    attempts = []
    for attempt in family.search(**params):
        attempts.append(attempt)
        if attempt.value == target:
            break
        if len(attempts) == most:
            return None
    if len(attempts) < fewest or attempts[-1].value != target:
        return None
    held_out = _is_held_out(family.name, params)
    return Puzzle(family.name, level, template.format(**params), target, tuple(attempts), held_out)


def _is_held_out(family: str, params: Params) -> bool:
    """The wording has no say, so no rewording leaks a puzzle."""
    key = f"{family}:{sorted(params.items())}".encode()
    lot = int.from_bytes(hashlib.blake2b(key, digest_size=2).digest(), "big")
    return lot < int(HELD_OUT_SHARE * 2**16)


def draw_puzzle(family: str, level: str, rng: random.Random, held_out: bool = False) -> Puzzle:
    """Draws a puzzle from the held-out share or from the rest of the world."""
    chosen = FAMILIES[family]
    while True:
        puzzle = _build(chosen, level, chosen.draw(level, rng), rng.choice(chosen.templates))
        if puzzle is not None and puzzle.held_out == held_out:
            return puzzle


def parse_question(question: str) -> Puzzle | None:
    """The question's puzzle (level ``""``); None for what is no puzzle of this world."""
    for family in FAMILIES.values():
        for template, pattern in zip(family.templates, family.patterns, strict=True):
            match = pattern.fullmatch(question.strip())
            if match:
                params = {name: int(text) for name, text in match.groupdict().items()}
                return _build(family, "", params, template)
    return None


def is_right(question: str, answer: int) -> bool:
    """Exact checker: whether ``answer`` is the one right answer of a question of this world."""
    puzzle = parse_question(question)
    return puzzle is not None and puzzle.answer == answer
