"""Whether two mathematical answers are equal: their parts first, a symbolic engine for the rest.

The engine (math-verify) is asked about single formulas only. Lists, tuples, matrices, equations,
quantities, times and words are compared here, because its fallbacks call some that differ equal: it
rounds tiny numbers to 0, takes the first number of what it cannot parse, and lists for sets.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from s1x.benchmark.forms import normal_form
from s1x.benchmark.latex import (
    Parts,
    matrix,
    numeral,
    one_spelling,
    parts,
    quantity,
    same_number,
    sides,
    time_of_day,
    units_differ,
    without_unit,
    words,
)

_IS_IN = re.compile(r"^[A-Za-z]\w?\s?(?:\\in|∈|in)(?![A-Za-z])\s?")
_ELLIPSIS = re.compile(r"\\[lcd]?dots|\.\.\.|…")
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
_BASE = re.compile(r"(\d+)_\{?(\d+)\}?")
_NO_NAME = re.compile(r"[A-Za-z}]\s*\^|\d\s*[A-Za-z]")
_COMMANDS = re.compile(
    r"_\{[^{}]*\}|_\w|\\(?:text|mathrm|operatorname|mbox)\s?\{[^{}]*\}|\\[A-Za-z]+"
)
_FUNCTION = re.compile(r"[A-Za-z]\s?\([A-Za-z]\)|[yz]")
_ONE_NAME = re.compile(
    r"\(\s?\w\s?(?:,\s?\w\s?)+\)|(?:\\?[A-Za-z]+|[A-Za-z]\s?\([A-Za-z]\))(?:_\{?\w+\}?)?'*"
)
_RELATION = re.compile(r"[<>]|\\(?:le|ge|leq|geq|lt|gt|ne|neq)(?![a-z])")
_SET_NOTATION = re.compile(r"\\mid|\||:")
MOST_MEMBERS = 60

#: gold and answer, in one spelling → whether the engine calls the formulas equal
Engine = Callable[[str, str], bool]


@dataclass(frozen=True)
class Equality:
    """Compares by parts; `engine` judges single formulas."""

    engine: Engine
    places: int = 6
    relations_for_sets: bool = True

    def __call__(self, gold: str, answer: str) -> bool:
        """Whether an answer equals the reference."""
        if normal_form(gold) == normal_form(answer):
            return True
        gold, answer = one_spelling(gold), one_spelling(answer)
        return self._equal(_IS_IN.sub("", gold), _IS_IN.sub("", answer))

    def _equal(self, gold: str, answer: str, depth: int = 0) -> bool:
        if _form(gold) == _form(answer):
            return True
        if depth > 4:
            return self.engine(gold, answer)
        for known in (self._as_words, self._as_numbers):
            verdict = known(gold, answer)
            if verdict is not None:
                return verdict
        for by_parts in (self._as_matrices, self._as_lists, self._as_equations):
            verdict = by_parts(gold, answer, depth)
            if verdict is not None:
                return verdict
        if _ELLIPSIS.search(gold + answer) or _is_foreign(gold + answer):
            return False
        if words(gold) is not None and words(answer) is not None:
            return False
        return self._by_engine(gold, answer)

    def _as_words(self, gold: str, answer: str) -> bool | None:
        """Times of day and texts; None where the reference is neither."""
        wanted, given = time_of_day(gold), time_of_day(answer)
        if wanted and given:
            half_known = wanted[1] and given[1]
            return wanted[0] == given[0] or (
                not half_known and (wanted[0] - given[0]) % 43200 == 0 and wanted[1] != given[1]
            )
        expected, said = words(gold), words(answer)
        if expected is None or said is None:
            return None
        return expected == said or (None if re.search("[,;，；]", gold + answer) else False)

    def _as_numbers(self, gold: str, answer: str) -> bool | None:
        """Numbers with their units and bases; None where one is something else."""
        bases = _BASE.fullmatch(gold), _BASE.fullmatch(answer)
        if bases[0] and bases[1]:
            return bases[0].groups() == bases[1].groups()
        said = words(answer)
        if _DECIMAL_COMMA.fullmatch(gold) and "." in answer:
            gold = gold.replace(",", ".")
        wanted, given = quantity(gold), quantity(numeral(said) if said else answer)
        if wanted is None or given is None:
            return None
        if units_differ(wanted.unit, given.unit):
            return False
        if same_number(wanted.value, given.value, self.places):
            return True
        if ("%" in wanted.unit) != ("%" in given.unit):
            one, other = (q.value / 100 if "%" in q.unit else q.value for q in (wanted, given))
            return same_number(one, other, self.places)
        return None if _may_list(gold) or _may_list(answer) else False

    def _as_matrices(self, gold: str, answer: str, depth: int) -> bool | None:
        wanted, given = matrix(gold), matrix(answer)
        if wanted is None and given is None:
            return None
        wanted, given = wanted or _as_column(gold), given or _as_column(answer)
        if wanted is None or given is None:
            return None
        if [len(row) for row in wanted] != [len(row) for row in given]:
            return False
        cells = zip(itertools.chain(*wanted), itertools.chain(*given), strict=True)
        return all(self._equal(one, other, depth + 1) for one, other in cells)

    def _as_lists(self, gold: str, answer: str, depth: int) -> bool | None:
        """Lists and sets in any order, tuples in theirs; None where neither is one."""
        wanted, given = parts(gold), parts(answer)
        sizes = len(wanted.members), len(given.members)
        if max(sizes) < 2 and not (wanted.bracket and given.bracket):
            return None
        if max(sizes) > MOST_MEMBERS or _ELLIPSIS.search(gold + answer):
            return False
        if min(sizes) < 2 and any(len(sides(text)) > 1 for text in (gold, answer)):
            return None
        if sizes[0] != sizes[1] and ("\\pm" in gold) != ("\\pm" in answer):
            wanted, given = _both_signs(wanted), _both_signs(given)
            sizes = len(wanted.members), len(given.members)
        bare = "" in (wanted.bracket, given.bracket)
        if sizes[0] == sizes[1]:
            if not bare and wanted.bracket != given.bracket:
                return False
            if _SET_NOTATION.search(gold + answer) and not bare:
                return None
            ordered = "(" in wanted.bracket + given.bracket or "[" in wanted.bracket + given.bracket
            return self._members_equal(wanted, given, ordered, depth)
        if "\\pm" in gold + answer or _RELATION.search(gold + answer):
            return None
        if sizes[0] == 1 and bare:  # two boxes with the same value in two forms
            forms = {_form(member) for member in given.members}
            return len(forms) == sizes[1] and all(
                self._equal(gold, member, depth + 1) for member in given.members
            )
        if any(mark in gold + answer for mark in ("=", "\\cup", "\\{", "\\begin")):
            return None
        distinct = [
            Parts(found.bracket, tuple({_form(m): m for m in found.members}.values()))
            for found in (wanted, given)
            if all(member.startswith("(") for member in found.members)
        ]
        if len(distinct) == 2 and len(distinct[0].members) == len(distinct[1].members):
            return self._members_equal(distinct[0], distinct[1], False, depth)
        return False

    def _members_equal(self, wanted: Parts, given: Parts, ordered: bool, depth: int) -> bool:
        gold, answer = _unnamed(wanted.members), _unnamed(given.members)
        if not all("=" in member for member in answer) and any("=" in m for m in gold):
            gold = list(wanted.members)
        if ordered:
            pairs = zip(gold, answer, strict=True)
            return all(self._equal(one, other, depth + 1) for one, other in pairs)
        left = list(answer)
        for member in gold:
            same = next((i for i, other in enumerate(left) if _form(member) == _form(other)), None)
            if same is None:
                same = next(
                    (i for i, o in enumerate(left) if self._equal(member, o, depth + 1)), None
                )
            if same is None:
                return False
            del left[same]
        return True

    def _as_equations(self, gold: str, answer: str, depth: int) -> bool | None:
        """Equations: sides may be swapped, and a value may stand for "name = value"."""
        wanted, given = sides(gold), sides(answer)
        if len(wanted) < 2 and len(given) < 2:
            return None
        if len(wanted) < 2:
            return _is_value(given) and self._equal(gold, given[-1], depth + 1)
        if len(given) < 2:
            return _is_value(wanted) and self._equal(wanted[-1], answer, depth + 1)
        if not _ONE_NAME.fullmatch(given[0]) and _ONE_NAME.fullmatch(given[-1]):
            given = given[::-1]
        names = wanted[0], given[0]
        if _form(names[0]) == _form(names[1]) or all(map(_FUNCTION.fullmatch, names)):
            return self._equal(wanted[-1], given[-1], depth + 1)
        if all(map(_ONE_NAME.fullmatch, names)) and len(wanted) == len(given) == 2:
            return False
        if "\\begin" in gold + answer:
            same = zip(wanted, given, strict=False)
            return len(wanted) == len(given) and all(
                self._equal(one, other, depth + 1) for one, other in same
            )
        return self.engine(gold, answer)

    def _by_engine(self, gold: str, answer: str) -> bool:
        if not self.relations_for_sets and _RELATION.search(answer) and not _RELATION.search(gold):
            return False
        bare = without_unit(gold), without_unit(answer)
        if self.engine(*bare):
            return True
        in_degrees = ["\\circ" in text for text in (gold, answer)]
        if in_degrees[0] != in_degrees[1] and "\\pi" in gold + answer:
            turned = [
                f"({text}) \\cdot \\frac{{\\pi}}{{180}}" if degrees else text
                for text, degrees in zip(bare, in_degrees, strict=True)
            ]
            return self.engine(*turned)
        return False


def _form(text: str) -> str:
    """Equal strings are equal answers; words in any case."""
    form = normal_form(text)
    return form.casefold() if words(text) is not None else form


def _is_foreign(text: str) -> bool:
    """Whether it holds letters that are no mathematics: such texts are only compared as texts."""
    return any(ord(character) > 0x2E7F for character in text)


def _may_list(text: str) -> bool:
    """Whether a number with separators may be a list: 60,180."""
    return re.search(r"\d,\d{3}(?!\d)", text) is not None


def _as_column(text: str) -> list[list[str]] | None:
    """A tuple as the column vector that it may stand for."""
    found = parts(text)
    return [[member] for member in found.members] if found.bracket in ("()", "[]") else None


def _unnamed(members: Sequence[str]) -> list[str]:
    """ "x = 24", "112" or "x = 24", "x = 112" without the name that all share."""
    split = [sides(member) for member in members]
    names = {part[0] for part in split if len(part) == 2}
    if len(names) == 1 and len(split[0]) == 2 and _ONE_NAME.fullmatch(next(iter(names))):
        return [part[-1] for part in split]
    return list(members)


def _both_signs(found: Parts) -> Parts:
    """The list with each member that holds one plus-minus written out as two."""
    members: list[str] = []
    for member in found.members:
        once = member.count("\\pm") == 1
        members += [member.replace("\\pm", sign) for sign in "+-"] if once else [member]
    return Parts(found.bracket, tuple(members))


def _is_value(equation: Sequence[str]) -> bool:
    """Whether an equation gives a name its value, or is arithmetic: not x^2 = 1 or 7 = 2a."""
    if re.search("[A-Za-z]", _COMMANDS.sub("", equation[-1])) and equation[0].isdecimal():
        return False
    return all(not _NO_NAME.search(_COMMANDS.sub("", side)) for side in equation[:-1])
