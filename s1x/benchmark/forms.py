"""Forms in which equal answers are equal: for votes, for `exact`, and before a symbolic engine.

Everything here reads hostile text in linear time and evaluates nothing but decimal numbers.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

#: what may stand around an answer
_AROUND = (r"\[ \]", r"\( \)", "$$ $$", "$ $", "** **", "` `", '" "', "“ ”", "' '")
_DROPPED = re.compile(
    r"\\left(?![a-z])|\\right(?![a-z])|(?<!\\)\\[,!;: $]|\\displaystyle(?![a-z])|[\s$~]"
)
TEXT_COMMAND = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|textnormal|operatorname)\s{0,4}"
    r"\{([^{}]*)\}"
)
_DEGREES = re.compile(r"\^\s?\{?\s?\\circ\s?\}?|°|\\degree(?![a-z])")
#: digits in groups of three, with the commas that LaTeX and typists write
_GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
WRITTEN_COMMA = re.compile(r"\{\s?,\s?\}|\\!,|,\s?\\!\s?")
_DECIMAL = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
_WHOLE_DECIMAL = re.compile(_DECIMAL)
_SCIENTIFIC = re.compile(
    rf"({_DECIMAL})(?:[eE]([-+]?\d{{1,3}})|(?:\\times|\\cdot|[×·*x])10\^(?:\{{([-+]?\d{{1,3}})\}}|"
    r"\(?([-+]?\d{1,3})\)?))"
)
_POWER_OF_TEN = re.compile(r"([-+]?)10\^(?:\{([-+]?\d{1,3})\}|([-+]?\d{1,3}))")
_FRACTION = re.compile(
    r"([-+]?)(\d{0,30}?)(?:\\frac(?:\{([-+]?\d{1,60})\}\{(\d{1,60})\}|(\d)(\d)|(\d)\{(\d{1,60})\}|"
    r"\{(\d{1,60})\}(\d)))"
)
_SLASHED = re.compile(r"([-+]?\d{1,60})/(\d{1,60})")
_LONGEST_NUMBER = 400


def plain(text: str) -> str:
    """The text in one spelling of minus signs and spaces, without invisible characters."""
    characters = unicodedata.normalize("NFC", text)
    return "".join(c if c.isascii() else _plain_character(c) for c in characters)


def _plain_character(character: str) -> str:
    if character in "\u2212\u2013\u2010\u2011\ufe63":
        return "-"
    return {"Cf": "", "Zs": " "}.get(unicodedata.category(character), character)


def clean(text: str) -> str:
    """The text without surrounding space, math delimiters, quotes, emphasis and final period."""
    while True:
        before = text
        text = text.strip()
        for opening, closing in map(str.split, _AROUND):
            long_enough = len(text) >= len(opening) + len(closing)
            if long_enough and text.startswith(opening) and text.endswith(closing):
                inner = text[len(opening) : -len(closing)]
                text = text if opening in inner else inner
        if text.count("**") % 2:
            text = text.removeprefix("**").removesuffix("**")
        if text.endswith((".", "。")) and not text.endswith("\\."):
            text = text[:-1]
        if text == before:
            return text


def normal_form(answer: str) -> str:
    """A form in which equal answers of one problem are mostly equal strings.

    For votes, for "has the answer changed", and for comparing without a symbolic engine: spacing,
    sizes of brackets, text commands, degree signs, thousands separators, leading zeros and
    trailing decimal zeros do not count. Mathematics is not done: 1/2 and 0.5 stay apart.
    """
    text = WRITTEN_COMMA.sub(",", plain(clean(plain(answer))))
    text = TEXT_COMMAND.sub(r"\1", text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac"))
    spaced = re.sub(r"(?<!\\)\\[;: ]|\\q?quad(?![a-z])|~", " ", text)
    is_list = re.search(r"\d\s*,\s+\d", spaced) is not None
    text = _DROPPED.sub("", text.replace("\\{", "\0").replace("\\}", "\1"))
    text = _DEGREES.sub("", text)
    while text.startswith("{") and text.endswith("}") and "{" not in text[1:] and len(text) > 2:
        text = text[1:-1]
    text = text.replace("\0", "{").replace("\1", "}").replace("\\%", "%").rstrip(".")
    if _GROUPED.fullmatch(text):
        return text if is_list or _looks_listed(text) else _plain_number(text)
    return _plain_number(text) if is_number(text) else text


def _looks_listed(grouped: str) -> bool:
    """Whether 100,200,300 lists numbers: three or more, each of three digits, rising or falling."""
    parts = grouped.lstrip("+-").partition(".")[0].split(",")
    rising = sorted(set(parts))
    return len(parts) >= 3 and len(parts[0]) == 3 and parts in (rising, rising[::-1])


def _plain_number(text: str) -> str:
    sign = "-" if text.startswith("-") else ""
    whole, _, decimals = text.lstrip("+-").replace(",", "").partition(".")
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    number = f"{whole}.{decimals}" if decimals else whole
    return number if number == "0" else sign + number


def is_number(text: str) -> bool:
    """Whether the whole text is one decimal number, with or without thousands separators."""
    return bool(_WHOLE_DECIMAL.fullmatch(text) or _GROUPED.fullmatch(text))


def is_integer(normal: str) -> bool:
    """Whether a normal form is an integer."""
    return normal.removeprefix("-").isdecimal() and normal.isascii()


def number_value(normal: str) -> Fraction | None:
    """The value of a normal form that is a decimal, scientific or mixed number, or a fraction."""
    text = normal.removesuffix("%")
    if len(text) > _LONGEST_NUMBER:
        return None
    if _WHOLE_DECIMAL.fullmatch(text):
        return Fraction(text.removesuffix("."))
    if found := _SCIENTIFIC.fullmatch(text):
        exponent = int(found[2] or found[3] or found[4])
        return Fraction(found[1].removesuffix(".")) * Fraction(10) ** exponent
    if found := _POWER_OF_TEN.fullmatch(text):
        value = Fraction(10) ** int(found[2] or found[3])
        return -value if found[1] == "-" else value
    if found := _FRACTION.fullmatch(text):
        sign, whole = (-1 if found[1] == "-" else 1), int(found[2] or 0)
        over, under = (int(part) for part in found.groups()[2:] if part is not None)
        return sign * (whole + Fraction(over, under)) if under else None
    if (found := _SLASHED.fullmatch(text)) and int(found[2]):
        return Fraction(int(found[1]), int(found[2]))
    return None


# -- a number in a sentence -----------------------------------------------------------------------

_NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+"
#: a number that stands for itself: no part of a fraction, a power, a command, a time or a word
_LONE_NUMBER = re.compile(
    rf"(?<![\w.,^/\\{{}}*+-])(?<!\d:)(?:{_NUMBER})(?![A-Za-z0-9_^{{}}*+-]|/\s?\d|[.,:]\d|\s?\\[a-z])"
)
_LAST_NUMBER = re.compile(rf"(?<![\w.])(?:{_NUMBER})(?!\w)")
_EMPHASIS = re.compile(r"\*\*([^*\n]{1,200})\*\*|\\(?:textbf|mathbf|boxed)\{([^{}]{1,200})\}")
_ORDINAL = re.compile(r"(?<=\d)(?:\^?\{?\s?\\?(?:text|mathrm)?\{?)(?:st|nd|rd|th)(?![a-z])\}{0,2}")
_CALCULATION = re.compile(r"\d\s?(?:\\(?:times|cdot|div)|[×÷*+/])\s?\d|\\[dt]?frac|\\sqrt")
_SPACED_GROUPS = re.compile(r"(?<=\d)(?:\\,|\u202f|\u2009)(?=\d{3}(?!\d))")


def only_number(text: str) -> str | None:
    """The one number of a short sentence ("x = 42 apples"), after its last "=", or in bold."""
    return _lone_number(text) or bold_number(text)


def bold_number(text: str) -> str | None:
    """The one number in what a sentence emphasizes last."""
    emphasized = [a or b for a, b in _EMPHASIS.findall(text)]
    return _lone_number(emphasized[-1]) if emphasized else None


def _lone_number(text: str) -> str | None:
    last = _readable(text).rpartition("=")[2]
    numbers = _LONE_NUMBER.findall(last)
    return str(numbers[0]) if len(numbers) == 1 and not _CALCULATION.search(last) else None


def last_number(text: str) -> str | None:
    """The last number of the text, with its thousands separators."""
    return next(iter(_LAST_NUMBER.findall(_readable(text))[-1:]), None)


def _readable(text: str) -> str:
    text = plain(WRITTEN_COMMA.sub(",", _SPACED_GROUPS.sub("", text))).replace("\\!", "")
    text = _ORDINAL.sub("", TEXT_COMMAND.sub(r" \1", _DEGREES.sub("", text)))
    return re.sub(r"\\[$,;: ()\[\]]|\\q?quad(?![a-z])|\*\*|[$~]", " ", text)
