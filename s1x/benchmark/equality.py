"""Whether two mathematical answers are equal: their parts first, a symbolic engine for the rest.

The engine (math-verify) is asked about single formulas only. Lists, tuples, matrices, equations,
quantities, times and words are compared here, because its fallbacks call some that differ equal: it
rounds tiny numbers to 0, takes the first number of what it cannot parse, and lists for sets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from s1x.benchmark import latex
from s1x.benchmark.forms import normal_form
from s1x.benchmark.latex import Parts, parts, sides, words

_IS_IN = re.compile(r"^[A-Za-z]\w?\s?(?:\\in|∈|in)(?![A-Za-z])\s?")
_ELLIPSIS = re.compile(r"\\[lcd]?dots|\.\.\.|…")
#: letters that are no mathematics: such texts are only compared as texts
_FOREIGN = re.compile("[\u2e80-\U0010ffff]")
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
        gold, answer = (_IS_IN.sub("", latex.one_spelling(text)) for text in (gold, answer))
        return self._equal(gold, answer)

    def _equal(self, gold: str, answer: str, depth: int = 0) -> bool:
        if _form(gold) == _form(answer):
            return True
        if depth > 4:
            return self.engine(gold, answer)
        for by in (
            _as_words,
            self._as_numbers,
            self._as_matrices,
            self._as_lists,
            self._as_equations,
        ):
            verdict = by(gold, answer, depth + 1)
            if verdict is not None:
                return verdict
        both = gold + answer
        if (
            _ELLIPSIS.search(both)
            or _FOREIGN.search(both)
            or None not in map(words, (gold, answer))
        ):
            return False
        return self._by_engine(gold, answer)

    def _all_equal(self, pairs: Iterable[tuple[str, str]], depth: int) -> bool:
        return all(self._equal(gold, answer, depth) for gold, answer in pairs)

    def _as_numbers(self, gold: str, answer: str, _: int) -> bool | None:
        """Numbers with their units and bases; None where one is something else."""
        bases = _BASE.fullmatch(gold), _BASE.fullmatch(answer)
        if bases[0] and bases[1]:
            return bases[0].groups() == bases[1].groups()
        said = words(answer)
        if re.fullmatch(r"-?\d+,\d+", gold) and "." in answer:
            gold = gold.replace(",", ".")
        wanted, given = (
            latex.quantity(gold),
            latex.quantity(latex.numeral(said) if said else answer),
        )
        if wanted is None or given is None:
            return None
        (value, unit), (other, other_unit) = wanted, given
        if latex.units_differ(unit, other_unit):
            return False
        if latex.same_number(value, other, self.places):
            return True
        if ("%" in unit) != ("%" in other_unit):
            value, other = (n / 100 if "%" in u else n for n, u in (wanted, given))
            return latex.same_number(value, other, self.places)
        may_list = re.search(r"\d,\d{3}(?!\d)", f"{gold} {answer}")  # 60,180
        return None if may_list else False

    def _as_matrices(self, gold: str, answer: str, depth: int) -> bool | None:
        """Matrices; a tuple may stand for a column."""
        wanted, given = latex.matrix(gold), latex.matrix(answer)
        if wanted is None and given is None:
            return None
        wanted, given = wanted or _as_column(gold), given or _as_column(answer)
        if wanted is None or given is None:
            return None
        if [len(row) for row in wanted] != [len(row) for row in given]:
            return False
        rows = zip(wanted, given, strict=True)
        return all(self._all_equal(zip(*both, strict=True), depth) for both in rows)

    def _as_lists(self, gold: str, answer: str, depth: int) -> bool | None:
        """Lists and sets in any order, tuples in theirs; None where neither is one."""
        wanted, given, both = parts(gold), parts(answer), gold + answer
        sizes = len(wanted.members), len(given.members)
        if max(sizes) < 2 and not (wanted.bracket and given.bracket):
            return None
        if max(sizes) > MOST_MEMBERS or _ELLIPSIS.search(both):
            return False
        if min(sizes) < 2 and any(len(sides(text)) > 1 for text in (gold, answer)):
            return None
        if sizes[0] != sizes[1] and ("\\pm" in gold) != ("\\pm" in answer):
            wanted, given = _both_signs(wanted), _both_signs(given)
            sizes = len(wanted.members), len(given.members)
        brackets, bare = wanted.bracket + given.bracket, "" in (wanted.bracket, given.bracket)
        if sizes[0] == sizes[1]:
            if not bare and wanted.bracket != given.bracket:
                return False
            if re.search(r"\\mid|\||:", both) and not bare:
                return None  # {x | x > 1}
            ordered = "(" in brackets or "[" in brackets
            return self._members_equal(wanted, given, ordered, depth)
        if "\\pm" in both or _RELATION.search(both):
            return None
        if sizes[0] == 1 and bare:  # two boxes with the same value in two forms
            different = len(set(map(_form, given.members))) == sizes[1]
            return different and self._all_equal(((gold, m) for m in given.members), depth)
        if any(mark in both for mark in ("=", "\\cup", "\\{", "\\begin")):
            return None
        if not all(m.startswith("(") for m in wanted.members + given.members):
            return False
        wanted, given = _distinct(wanted), _distinct(given)  # points, some of them twice
        same_size = len(wanted.members) == len(given.members)
        return same_size and self._members_equal(wanted, given, False, depth)

    def _members_equal(self, wanted: Parts, given: Parts, ordered: bool, depth: int) -> bool:
        gold, answer = _unnamed(wanted.members), _unnamed(given.members)
        if not all("=" in member for member in answer) and any("=" in m for m in gold):
            gold = list(wanted.members)
        if ordered:
            return self._all_equal(zip(gold, answer, strict=True), depth)
        left = list(answer)
        for member in gold:
            alike = (i for i, other in enumerate(left) if _form(member) == _form(other))
            equal = (i for i, other in enumerate(left) if self._equal(member, other, depth))
            same = next(alike, None)
            same = next(equal, None) if same is None else same
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
            return _is_value(given) and self._equal(gold, given[-1], depth)
        if len(given) < 2:
            return _is_value(wanted) and self._equal(wanted[-1], answer, depth)
        if not _ONE_NAME.fullmatch(given[0]) and _ONE_NAME.fullmatch(given[-1]):
            given = given[::-1]
        names = wanted[0], given[0]
        if _form(names[0]) == _form(names[1]) or all(map(_FUNCTION.fullmatch, names)):
            return self._equal(wanted[-1], given[-1], depth)
        if all(map(_ONE_NAME.fullmatch, names)) and len(wanted) == len(given) == 2:
            return False
        if "\\begin" in gold + answer:
            pairs = zip(wanted, given, strict=False)
            return len(wanted) == len(given) and self._all_equal(pairs, depth)
        return self.engine(gold, answer)

    def _by_engine(self, gold: str, answer: str) -> bool:
        if not self.relations_for_sets and _RELATION.search(answer) and not _RELATION.search(gold):
            return False
        bare = latex.without_unit(gold), latex.without_unit(answer)
        if self.engine(*bare):
            return True
        in_degrees = ["\\circ" in text for text in (gold, answer)]
        if in_degrees[0] == in_degrees[1] or "\\pi" not in gold + answer:
            return False
        turned = (
            f"({text}) \\cdot \\frac{{\\pi}}{{180}}" if degrees else text
            for text, degrees in zip(bare, in_degrees, strict=True)
        )
        return self.engine(*turned)


def _as_words(gold: str, answer: str, _: int) -> bool | None:
    """Times of day and texts; None where the reference is neither."""
    wanted, given = latex.time_of_day(gold), latex.time_of_day(answer)
    if wanted and given:
        apart, half_known = wanted[0] - given[0], wanted[1] + given[1]
        return apart == 0 or (half_known == 1 and apart % 43200 == 0)
    expected, said = words(gold), words(answer)
    if expected is None or said is None:
        return None
    return expected == said or (None if re.search("[,;，；]", gold + answer) else False)


def _form(text: str) -> str:
    """Equal strings are equal answers; words in any case."""
    form = normal_form(text)
    return form.casefold() if words(text) is not None else form


def _as_column(text: str) -> list[list[str]] | None:
    """A tuple as the column vector that it may stand for."""
    found = parts(text)
    return [[member] for member in found.members] if found.bracket in ("()", "[]") else None


def _distinct(found: Parts) -> Parts:
    return found._replace(members=tuple({_form(m): m for m in found.members}.values()))


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
