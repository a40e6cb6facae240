"""Mathematical answers as text: one spelling, their parts, quantities with units, times of day."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from s1x.benchmark.forms import TEXT_COMMAND, WRITTEN_COMMA, normal_form, number_value, plain

#: a character, and behind it what it is in LaTeX, with "_" for a space
_IN_LATEX = r"""
×\times_ ÷\div_ ·\cdot_ ∙\cdot_ ⋅\cdot_ ±\pm_ ∓\mp_ ≤\le_ ≥\ge_ ≠\ne_ ≈\approx_ ∞\infty_ π\pi_
θ\theta_ α\alpha_ β\beta_ γ\gamma_ λ\lambda_ μ\mu_ σ\sigma_ φ\phi_ ω\omega_ ρ\rho_ δ\delta_
Δ\Delta_ Ω\Omega_ Σ\sum_ ∑\sum_ ∫\int_ ∪\cup_ ∩\cap_ ∈\in_ ∅\emptyset_ °^\circ_ …\ldots_ ⁄/ ′'
’' ，,_ ；;_ 、,_ （( ）) ∠\angle_ ℝ\mathbb{R} ⊥\perp_ ∥\parallel_ √\sqrt_ ∛\sqrt[3]_
½\frac{1}{2} ⅓\frac{1}{3} ⅔\frac{2}{3} ¼\frac{1}{4} ¾\frac{3}{4} ⅕\frac{1}{5} ⅖\frac{2}{5}
⅗\frac{3}{5} ⅘\frac{4}{5} ⅙\frac{1}{6} ⅚\frac{5}{6} ⅛\frac{1}{8} ⅜\frac{3}{8} ⅝\frac{5}{8}
⅞\frac{7}{8}
"""
_CHARACTERS = {pair[0]: pair[1:].replace("_", " ") for pair in _IN_LATEX.split()}
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣ", "0123456789+-()nix", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-", strict=True))
_TYPED = str.maketrans("×÷·⋅⁄", "*/**/")
_UPRIGHT = re.compile(r"\\(?:mathrm|text|rm|operatorname)\s?\{\s?([eid])\s?\}")
_TWICE_ESCAPED = re.compile(
    r"(?<!\\)\\\\(?=(?:left|right|frac|dfrac|sqrt|text|boxed|begin|end|pi|cdot|times)(?![a-z]))"
)
#: in this order: fonts, e^x, relations, no currency, delimiters or sizes, products of brackets
_REWRITTEN = [
    (re.compile(pattern), by)
    for pattern, by in (
        (">=", r"\\ge "),
        ("<=", r"\\le "),
        ("!=", r"\\ne "),
        (r"\\[dt]?frac(?![a-z])", r"\\frac"),
        (r"\\\$|(?<!\\)\$|€|£|¥|\\displaystyle(?![a-z])", ""),
        (_UPRIGHT.pattern, r"\1"),
        (r"\\(?:mathbf|boldsymbol|bm|mathit|bf)\s?\{([^{}]*)\}", r"\1"),
        (r"\\exp\s?\{", "e^{"),
        (r"(?<=\d)i(?![A-Za-z])", " i"),
        (WRITTEN_COMMA.pattern, ","),
        (
            r"\\(?:left|right|big|Big|bigg|Bigg)(?![a-z])|(?<!\\)\\[!,;: ]|\\q?quad(?![a-z])|~",
            " ",
        ),
        (r"(?<=[_^])\{\s?([A-Za-z0-9])\s?\}", r"\1"),
        (r"(\([-\d.]+\))(?=\([-\d.]+\))", r"\1\\cdot "),
        (r"\s+", " "),
    )
]


def one_spelling(text: str) -> str:
    """The answer in LaTeX: Unicode operators as commands, no currency, delimiters or sizes."""
    if not text.isascii():
        text = _runs(_runs(text, _RAISED, "^"), _LOWERED, "_")
        text = re.sub(r"√\s?(\d+(?:\.\d+)?|[A-Za-z]|\((?:[^()]*)\))", r"\\sqrt{\1}", text)
        text = plain("".join(_CHARACTERS.get(c, c) for c in text))
    text = _once_escaped(text)
    for pattern, by in _REWRITTEN:
        text = pattern.sub(by, text)
    return text.strip(' "“”').rstrip(".。\\").strip()


def _runs(text: str, table: dict[str, str], mark: str) -> str:
    found = re.compile("[" + "".join(table) + "]+")
    return found.sub(lambda m: f"{mark}{{{''.join(table[c] for c in m[0])}}}", text)


def typed(text: str) -> str:
    """A text to search, its Unicode operators as they are typed."""
    text = _UPRIGHT.sub(r"\1", _once_escaped(text)).replace("\\$", "")
    return text if text.isascii() else plain(text.translate(_TYPED))


def _once_escaped(text: str) -> str:
    """The text with single backslashes where they came doubled, as out of a JSON string."""
    return text.replace("\\\\", "\\") if _TWICE_ESCAPED.search(text) else text


# -- parts ----------------------------------------------------------------------------------------

_OPEN, _CLOSE = ("(", "[", "\\{", "{", "\\begin{"), (")", "]", "\\}", "}")
_PIECE = re.compile(
    r"\\begin\{|\\end\{|\\[{}]|\\\\|\\(?:text|mathrm|mbox)\s?\{\s*(?:,\s*)?(?:and|or)\s*\}|"
    r"(?<![A-Za-z])(?:and|or)(?![A-Za-z])|\\[A-Za-z]+|[()\[\]{},;]|=|.",
    re.DOTALL,
)


class Parts(NamedTuple):
    """An answer as a list: its bracket ("" for none, "(]" for half open) and its members."""

    bracket: str
    members: tuple[str, ...]


def parts(text: str) -> Parts:
    """The members of a list, tuple or set; a thing by itself is a list of one without bracket."""
    text = text.strip()
    while text.startswith("{") and (inner := _enclosed(text, "{")[0]):
        text = inner.strip()
    for opening in ("\\{", "(", "["):
        if text.startswith(opening):
            inner, closing = _enclosed(text, opening)
            if closing:
                return Parts(opening[-1] + closing[-1], _split(inner, ",;"))
    groups = _split(text, ";")
    if len(groups) > 1 and all("=" in group and "," in group for group in groups):
        return Parts("", tuple(f"({group})" for group in groups))  # x=1,y=2; x=3,y=4
    return Parts("", _split(text, ",;"))


def _enclosed(text: str, opening: str) -> tuple[str, str]:
    """What the first bracket holds and what closes it, where that is the end of the text."""
    depth = 0
    for piece in _PIECE.finditer(text):
        mark = piece.group()
        depth += mark in _OPEN or mark == "\\end{"
        if mark in _CLOSE:
            depth -= 1
            if depth == 0:
                whole = piece.end() == len(text) and (mark == "}") == (opening == "{")
                return (text[len(opening) : piece.start()], mark) if whole else ("", "")
    return "", ""


def _split(text: str, separators: str) -> tuple[str, ...]:
    """The parts outside of brackets and environments; a comma may be written "and" or "or"."""
    members, start, depth, environments = [], 0, 0, 0
    for piece in _PIECE.finditer(text):
        mark = piece.group()
        environments += (mark == "\\begin{") - (mark == "\\end{")
        depth += (mark in _OPEN or mark == "\\end{") - (mark in _CLOSE)
        joins = mark in ("and", "or") or ("{" in mark and mark.startswith(("\\t", "\\m")))
        if (
            depth <= 0
            and not environments
            and (mark in separators or (joins and "," in separators))
        ):
            members.append(text[start : piece.start()])
            start = piece.end()
    members.append(text[start:])
    return tuple(member.strip() for member in members if member.strip())


def sides(text: str) -> tuple[str, ...]:
    """The sides of an equation, or the text alone."""
    return _split(text, "=")


_MATRIX = re.compile(
    r"\\begin\{(?:[pbvBV]?matrix|array)\}(?:\{[^{}]*\})?((?:(?!\\begin|\\end).)*)"
    r"\\end\{(?:[pbvBV]?matrix|array)\}",
    re.DOTALL,
)


def matrix(text: str) -> list[list[str]] | None:
    """The rows of a matrix that stands alone, in any brackets."""
    text = text.strip()
    for opening, closing in ("()", "[]"):
        if text.startswith(opening) and text.endswith(closing):
            text = text[1:-1].strip()
    found = _MATRIX.fullmatch(text)
    rows = [row for row in found[1].split("\\\\") if row.strip()] if found else []
    return [[cell.strip() for cell in row.split("&")] for row in rows] if found else None


# -- quantities, times, words ---------------------------------------------------------------------

_EXPONENT = r"(?:\{\s?[-+]?\d{1,3}\s?\}|[-+]?\d{1,3})"
_NUMBER_FIRST = re.compile(
    r"(?:\\approx|\\sim|about|approximately|\s)*"
    r"((?:[-+]\s?)?(?:(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    rf"(?:[eE][-+]?\d{{1,3}}(?!\d)|\s?(?:\\times|\\cdot|\*|x)\s?10\s?\^\s?{_EXPONENT})?"
    r"|[-+]?\s?\d*\s?\\frac\s?(?:\{\s?-?\d+\s?\}\s?\{\s?\d+\s?\}|\d\s?\d)"
    rf"|[-+]?10\s?\^\s?{_EXPONENT})"
    r"(?![\d_]|\s?\^(?!\s?\{?\s?(?:\\(?:circ|mathrm|text|mbox|rm)|(?:st|nd|rd|th)(?![a-z]))))"
)
_UNITS = (
    "cm|km|mm|nm|kg|mg|ml|mL|ft|in|mi|mph|kph|lb|lbs|oz|hr|hrs|min|mins|sec|Hz|kHz|MHz|kJ|kW|"
    "Pa|kPa|eV|cal|mol|deg|pt|yd|sq"
)
_LETTER_UNITS = "s|m|g|h|N|J|K|V|W|C|F|L"
_MACRO = r"\\(?:text|mathrm|mbox|rm|textrm|operatorname)\s?\{[^{}]*\}"
_UNIT = re.compile(
    r"(?:\s|\\?%|\^\s?\{?\s?\\circ\s?\}?|\\degree|/|\\cdot|\.|-|\^\s?(?:\{\s?-?\d\s?\}|-?\d)|"
    rf"\^?\s?\{{?{_MACRO}\}}?|\^?\{{?(?:st|nd|rd|th)(?![A-Za-z])\}}?|(?:{_UNITS})(?![A-Za-z])|"
    rf"(?<=\s)(?:{_LETTER_UNITS})(?![A-Za-z])|(?<=[\s/(])[A-Za-z]{{3,}}|[^\x00-\x7f])*"
)
_TRAILING = re.compile(
    rf"\s?(?:{_MACRO}(?:\s?\^\s?\{{?-?\d+\}}?)?|\^\s?\{{?\s?\\circ\s?\}}?|\\degree|\\?%|"
    rf"(?<=\s)(?:degrees?|units?|{_UNITS}))$"
)
_NAMED_UNITS = frozenset(f"{_UNITS}|{_LETTER_UNITS}".split("|"))


def quantity(text: str) -> tuple[Fraction, str] | None:
    """The number and unit of an answer that is one; None for all else."""
    found = _NUMBER_FIRST.match(text)
    if found is None or not _UNIT.fullmatch(text, found.end()):
        return None
    value = number_value(normal_form(found[1].replace(" ", "")))
    unit = re.sub(r"[\s{}^\\.]|text|mathrm|mbox|circ", "", text[found.end() :])
    return None if value is None else (value, unit)


def units_differ(one: str, other: str) -> bool:
    """Whether both are known and not the same: cm and m, but not ft and feet."""
    return one != other and one in _NAMED_UNITS and other in _NAMED_UNITS


def without_unit(text: str) -> str:
    """A formula without the unit behind it."""
    while (found := _TRAILING.search(text)) and text[: found.start()].strip(" -+*/=<>(,"):
        text = text[: found.start()].strip()
    return text


def same_number(one: Fraction, other: Fraction, places: int) -> bool:
    """Equal to N decimal places; of tiny numbers, to N digits after the zeros."""
    if one == other:
        return True
    largest, scale = max(abs(one), abs(other)), Fraction(1)
    while largest < Fraction(1, 10 ** (places // 2)) and largest * scale < 1:
        scale *= 10
    return round(one * scale, places) == round(other * scale, places)


_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?([ap])?m?", re.IGNORECASE)


def time_of_day(text: str) -> tuple[int, bool] | None:
    """Seconds of a time such as 1:58 p.m., and whether it says which half of the day."""
    found = _TIME.fullmatch(re.sub(r"[\s.{}~]|\\(?:text|mathrm|mbox)", "", text))
    if found is None:
        return None
    hours, minutes, seconds, half = found.groups()
    hour = int(hours) % 12 + 12 * (half.lower() == "p") if half else int(hours)
    return hour * 3600 + int(minutes) * 60 + int(seconds or 0), half is not None


_NUMERALS = """zero one two three four five six seven eight nine ten eleven twelve thirteen
fourteen fifteen sixteen seventeen eighteen nineteen twenty"""


def words(text: str) -> str | None:
    """A text in words, without articles and punctuation; None where it is a formula."""
    bare = TEXT_COMMAND.sub(r"\1", text)
    if re.search(r"[\\^_=<>+*/|{}]|\d", bare) or not re.search(r"[^\W\d_]{2,}", bare):
        return None
    bare = re.sub(r"[^\w]+", " ", bare.replace("'", "")).strip().casefold()
    return re.sub(r"^(?:an?|the) (?=\w)", "", bare)


def numeral(text: str) -> str:
    """A number that is written as a word, in digits."""
    numerals = _NUMERALS.split()
    return str(numerals.index(text)) if text in numerals else text
