"""Mathematical answers as text: one spelling, their parts, quantities with units, times of day."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from s1x.benchmark.forms import WRITTEN_COMMA, normal_form, number_value, plain

_CHARACTERS = {
    **{
        "×": r"\times ",
        "÷": r"\div ",
        "·": r"\cdot ",
        "∙": r"\cdot ",
        "⋅": r"\cdot ",
        "±": r"\pm ",
    },
    **{"∓": r"\mp ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∞": r"\infty "},
    **{
        "π": r"\pi ",
        "θ": r"\theta ",
        "α": r"\alpha ",
        "β": r"\beta ",
        "γ": r"\gamma ",
        "λ": r"\lambda ",
    },
    **{
        "μ": r"\mu ",
        "σ": r"\sigma ",
        "φ": r"\phi ",
        "ω": r"\omega ",
        "ρ": r"\rho ",
        "δ": r"\delta ",
    },
    **{
        "Δ": r"\Delta ",
        "Ω": r"\Omega ",
        "Σ": r"\sum ",
        "∑": r"\sum ",
        "∫": r"\int ",
        "∪": r"\cup ",
    },
    **{"∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "°": r"^\circ ", "…": r"\ldots ", "⁄": "/"},
    **{
        "′": "'",
        "’": "'",
        "，": ", ",
        "；": "; ",
        "、": ", ",
        "（": "(",
        "）": ")",
        "∠": r"\angle ",
    },
    **{"ℝ": r"\mathbb{R}", "⊥": r"\perp ", "∥": r"\parallel ", "√": r"\sqrt ", "∛": r"\sqrt[3] "},
}
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣ", "0123456789+-()nix", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-", strict=True))
_VULGAR = {
    **{"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5"},
    **{
        "⅗": "3/5",
        "⅘": "4/5",
        "⅙": "1/6",
        "⅚": "5/6",
        "⅛": "1/8",
        "⅜": "3/8",
        "⅝": "5/8",
        "⅞": "7/8",
    },
}
_ROOT = re.compile(r"√\s?(\d+(?:\.\d+)?|[A-Za-z]|\((?:[^()]*)\))")
_UPRIGHT = re.compile(r"\\(?:mathrm|text|rm|operatorname)\s?\{\s?([eid])\s?\}")
_BOLD = re.compile(r"\\(?:mathbf|boldsymbol|bm|mathit|bf)\s?\{([^{}]*)\}")
_EXPONENT = re.compile(r"\\exp\s?\{")
_TWICE_ESCAPED = re.compile(
    r"(?<!\\)\\\\(?=(?:left|right|frac|dfrac|sqrt|text|boxed|begin|end|pi|cdot|times)(?![a-z]))"
)
_RELATIONS = {">=": r"\ge ", "<=": r"\le ", "!=": r"\ne "}
_ASCII_RELATION = re.compile("[<>!]=")
_SPACING = re.compile(
    r"\\(?:left|right|big|Big|bigg|Bigg)(?![a-z])|(?<!\\)\\[!,;: ]|\\q?quad(?![a-z])|~"
)
_PRODUCT = re.compile(r"(\([-\d.]+\))(?=\([-\d.]+\))")
_ONE_CHARACTER = re.compile(r"(?<=[_^])\{\s?([A-Za-z0-9])\s?\}")
_STRUCK = re.compile(r"\\\$|(?<!\\)\$|€|£|¥|\\displaystyle(?![a-z])|\\(?:d|t)?frac(?![a-z])")


def one_spelling(text: str) -> str:
    """The answer in LaTeX: Unicode operators as commands, no currency, delimiters or sizes."""
    if not text.isascii():
        text = _runs(_runs(text, _RAISED, "^"), _LOWERED, "_")
        for character, written in _VULGAR.items():
            over, under = written.split("/")
            text = text.replace(character, f"\\frac{{{over}}}{{{under}}}")
        text = _ROOT.sub(r"\\sqrt{\1}", text)
        text = plain("".join(_CHARACTERS.get(c, c) for c in text))
    text = _ASCII_RELATION.sub(lambda m: _RELATIONS[m[0]], _once_escaped(text))
    text = _STRUCK.sub(lambda m: "\\frac" if "frac" in m[0] else "", text)
    text = _EXPONENT.sub("e^{", _BOLD.sub(r"\1", _UPRIGHT.sub(r"\1", text)))
    text = re.sub(r"(?<=\d)i(?![A-Za-z])", " i", text)
    text = WRITTEN_COMMA.sub(",", text)
    text = _PRODUCT.sub(r"\1\\cdot ", _ONE_CHARACTER.sub(r"\1", _SPACING.sub(" ", text)))
    return re.sub(r"\s+", " ", text).strip(' "“”').rstrip(".。\\").strip()


def typed(text: str) -> str:
    """A text to search, its Unicode operators as they are typed."""
    text = _UPRIGHT.sub(r"\1", _once_escaped(text)).replace("\\$", "")
    return text if text.isascii() else plain(text.translate(_TYPED))


def _once_escaped(text: str) -> str:
    """The text with single backslashes where they came doubled, as out of a JSON string."""
    return text.replace("\\\\", "\\") if _TWICE_ESCAPED.search(text) else text


_TYPED = str.maketrans({"×": "*", "÷": "/", "·": "*", "⋅": "*", "⁄": "/"})


def _runs(text: str, table: dict[str, str], mark: str) -> str:
    found = re.compile("[" + "".join(table) + "]+")
    return found.sub(lambda m: f"{mark}{{{''.join(table[c] for c in m[0])}}}", text)


# -- parts ----------------------------------------------------------------------------------------

_OPEN, _CLOSE = {"(": ")", "[": "]", "\\{": "\\}", "{": "}"}, (")", "]", "\\}", "}")
_PIECE = re.compile(
    r"\\begin\{|\\end\{|\\[{}]|\\\\|\\(?:text|mathrm|mbox)\s?\{\s*(?:,\s*)?(?:and|or)\s*\}|"
    r"(?<![A-Za-z])(?:and|or)(?![A-Za-z])|\\[A-Za-z]+|[()\[\]{},;]|=|.",
    re.DOTALL,
)


@dataclass(frozen=True)
class Parts:
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
        if mark in _OPEN or mark in ("\\begin{", "\\end{"):
            depth += 1
        elif mark in _CLOSE:
            depth -= 1
            if depth == 0:
                whole = piece.end() == len(text) and (mark == "}") == (opening == "{")
                return (text[len(opening) : piece.start()], mark) if whole else ("", "")
    return "", ""


def _split(text: str, separators: str) -> tuple[str, ...]:
    members, start, depth, environments = [], 0, 0, 0
    words = "," in separators
    for piece in _PIECE.finditer(text):
        mark = piece.group()
        if mark in _OPEN or mark == "\\begin{":
            depth += 1
            environments += mark == "\\begin{"
        elif mark in _CLOSE:
            depth -= 1
        elif mark == "\\end{":
            depth += 1
            environments -= 1
        elif depth <= 0 and not environments:
            joins = words and (mark.startswith(("\\text", "\\mathrm", "\\mbox")) and "{" in mark)
            if mark in separators or (words and mark in ("and", "or")) or joins:
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
    for opening, closing in (("(", ")"), ("[", "]")):
        if text.startswith(opening) and text.endswith(closing):
            text = text[1:-1].strip()
    found = _MATRIX.fullmatch(text)
    if found is None:
        return None
    rows = [row for row in re.split(r"\\\\", found[1]) if row.strip()]
    return [[cell.strip() for cell in row.split("&")] for row in rows]


# -- quantities, times, words ---------------------------------------------------------------------

_NUMBER_FIRST = re.compile(
    r"(?:\\approx|\\sim|about|approximately|\s)*"
    r"((?:[-+]\s?)?(?:(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?:[eE][-+]?\d{1,3}(?!\d)|\s?(?:\\times|\\cdot|\*|x)\s?10\s?\^\s?(?:\{\s?[-+]?\d{1,3}\s?\}|[-+]?\d{1,3}))?"
    r"|[-+]?\s?\d*\s?\\frac\s?(?:\{\s?-?\d+\s?\}\s?\{\s?\d+\s?\}|\d\s?\d)"
    r"|[-+]?10\s?\^\s?(?:\{\s?[-+]?\d{1,3}\s?\}|[-+]?\d{1,3}))"
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
_MARKS = re.compile(r"[\s{}^\\.]|text|mathrm|mbox|circ")


@dataclass(frozen=True)
class Quantity:
    """A number with what is written after it."""

    value: Fraction
    unit: str
    is_decimal: bool


def quantity(text: str) -> Quantity | None:
    """The number and unit of an answer that is one; None for all else."""
    found = _NUMBER_FIRST.match(text)
    if found is None or not _UNIT.fullmatch(text, found.end()):
        return None
    number = found[1].replace(" ", "")
    value = number_value(normal_form(number))
    if value is None:
        return None
    unit = _MARKS.sub("", text[found.end() :])
    return Quantity(value, unit, "." in number)


def units_differ(one: str, other: str) -> bool:
    """Whether both are known and not the same: cm and m, but not ft and feet."""
    return one != other and one in _NAMED_UNITS and other in _NAMED_UNITS


def without_unit(text: str) -> str:
    """A formula without the unit behind it."""
    while (found := _TRAILING.search(text)) and text[: found.start()].strip(" -+*/=<>(,"):
        text = text[: found.start()].strip()
    return text


def same_number(one: Fraction, other: Fraction, places: int) -> bool:
    """Equal to so many decimal places; of tiny numbers, to so many digits after the zeros."""
    if one == other:
        return True
    largest = max(abs(one), abs(other))
    scale = Fraction(1)
    while largest < Fraction(1, 10 ** (places // 2)) and largest * scale < 1:
        scale *= 10
    return round(one * scale, places) == round(other * scale, places)


_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?([ap])?m?", re.IGNORECASE)


def time_of_day(text: str) -> tuple[int, bool] | None:
    """Seconds of a time such as 1:58 p.m., and whether it says which half of the day."""
    bare = re.sub(r"[\s.{}~]|\\(?:text|mathrm|mbox)", "", text)
    found = _TIME.fullmatch(bare)
    if found is None:
        return None
    hours, minutes, seconds, half = found.groups()
    hour = int(hours) % 12 + 12 * (half.lower() == "p") if half else int(hours)
    return hour * 3600 + int(minutes) * 60 + int(seconds or 0), half is not None


_NUMERALS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    *("nineteen", "twenty"),
)
_TEXT_COMMAND = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mbox|textrm|operatorname)\s?\{([^{}]*)\}"
)


def words(text: str) -> str | None:
    """A text in words, without articles and punctuation; None where it is a formula."""
    bare = _TEXT_COMMAND.sub(r"\1", text)
    if re.search(r"[\\^_=<>+*/|{}]|\d", bare) or not re.search(r"[^\W\d_]{2,}", bare):
        return None
    bare = re.sub(r"[^\w]+", " ", bare.replace("'", "")).strip().casefold()
    return re.sub(r"^(?:an?|the) (?=\w)", "", bare)


def numeral(text: str) -> str:
    """A number that is written as a word, in digits."""
    return str(_NUMERALS.index(text)) if text in _NUMERALS else text
