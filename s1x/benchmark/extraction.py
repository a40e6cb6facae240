"""Finding the answer in what a model wrote, by rules that have names.

Rules, tried in the order they are given; the name of the one that matched goes into the row:

* `boxed`: what is in the last closed `\\boxed{...}`; boxes joined by a comma, "and" or "or" in one
  sentence count together. Where a "Final Answer:" comes after the box, that is the answer.
* `Final Answer:`, `Answer:` or any other text that ends in a colon: what follows its last
  occurrence, to the end of the sentence or line, or of the display formula that starts there.
* `whole_text`: a text of one short line is itself the answer.
* `last_number`: the last number of the text. A choice, never a default: it also finds an answer
  where the model gave none.

Everything here reads hostile text in linear time and evaluates nothing.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

BOXED, WHOLE_TEXT, LAST_NUMBER = "boxed", "whole_text", "last_number"
#: a longer line is prose
LONGEST_WHOLE_TEXT = 40
FINAL = "Final Answer:"
DEFAULT_RULES = (BOXED, FINAL, "Answer:")

_NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+"
_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s{0,4}\{|\\boxed [^\s{}$\\]+|\\.|[{}]", re.DOTALL)
#: between two boxes that are one answer: it ends in a comma, "and" or "or" (and "y =")
_JOINT = re.compile(
    r"(?:[^.\n]|\.(?!\s)|\n(?!\s*\n)){0,40}?(?:[,;]|\b(?:and|or)\b)"
    r"(?:[\s$\[\](){}]|\\[()\[\],;: ]|\\q?quad|\\text|[A-Za-z]_?\{?\w{0,4}\}?\s*=){0,40}"
)
_SENTENCE_END = re.compile(r"(?<=\S)\.\s(?=[A-Z])")
_LAST_NUMBER = re.compile(rf"(?<![\w.])(?:{_NUMBER})(?!\w)")
#: a number that stands for itself: no part of a fraction, a power, a command or a longer word
_LONE_NUMBER = re.compile(rf"(?<![\w.,^/\\{{}}*+-])(?:{_NUMBER})(?![\w^/{{}}*+-]|[.,]\d)")
_WHOLE_NUMBER = re.compile(rf"(?:{_NUMBER})\.?")
_DELIMITERS = (
    *(("\\[", "\\]"), ("\\(", "\\)"), ("$$", "$$"), ("$", "$"), ("**", "**"), ("`", "`")),
    *(('"', '"'), ("“", "”"), ("'", "'")),
)


@dataclass(frozen=True)
class Extraction:
    """The answer's text and the name of the rule that found it."""

    text: str
    rule: str


def extract(text: str, rules: Sequence[str] = DEFAULT_RULES) -> Extraction | None:
    """The answer by the first rule that finds one, cleaned of delimiters; None without any."""
    for rule in rules:
        if rule == BOXED:
            box_end, found = last_boxed(text)
            if found is not None and FINAL in rules and after_marker(text[box_end:], FINAL):
                continue
        elif rule == WHOLE_TEXT:
            line = text.strip()
            found = line if len(line) <= LONGEST_WHOLE_TEXT and "\n" not in line else None
        elif rule == LAST_NUMBER:
            found = last_number(text)
        elif rule.endswith(":"):
            found = after_marker(text, rule)
        else:
            continue  # a rule of the grader's own
        if found is not None and (found := clean(found)):
            return Extraction(found, rule)
    return None


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The last match of a pattern, in one pass."""
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def last_boxed(text: str) -> tuple[int, str | None]:
    """Where the last closed box ends, and its content with that of the boxes joined to it."""
    boxes = _boxes(text)
    if not boxes:
        return 0, None
    start, end, content = boxes.pop()
    contents = [content]
    while boxes and _JOINT.fullmatch(text[boxes[-1][1] : start]):
        start, _, content = boxes.pop()
        if content not in contents:
            contents.insert(0, content)
    return end, ", ".join(contents)


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """Start, end and content of the innermost closed boxes, in order."""
    found: list[tuple[int, int, str]] = []
    open_at: list[tuple[int, int, bool]] = []
    for token in _BOX_TOKEN.finditer(text):
        mark = token.group()
        if mark.startswith("\\boxed ") and not mark.endswith("{"):
            found.append((token.start(), token.end(), mark[7:]))
        elif mark.endswith("{") and mark != "\\{":
            open_at.append((token.start(), token.end(), len(mark) > 1))
        elif mark == "}" and open_at:
            start, inside, is_box = open_at.pop()
            if is_box and (not found or found[-1][0] < start):
                found.append((start, token.end(), text[inside : token.start()]))
    return found


def after_marker(text: str, marker: str) -> str | None:
    """What follows the last occurrence of a marker such as "Answer:", any case, bold or not."""
    found = last_match(_marker_pattern(marker), text)
    if found is None:
        return None
    rest = text[found.end() :].lstrip()
    for opening, closing in (("\\[", "\\]"), ("$$", "$$")):
        if rest.startswith(opening) and (end := rest.find(closing, 2)) > 0:
            return rest[: end + 2]
    return _SENTENCE_END.split(rest.partition("\n")[0], maxsplit=1)[0]


@lru_cache(maxsize=64)
def _marker_pattern(marker: str) -> re.Pattern[str]:
    words = r"\s{1,4}".join(re.escape(word) for word in marker[:-1].split())
    return re.compile(rf"(?<!\w){words}[*_\s]{{0,4}}[:：][*_]{{0,3}}", re.IGNORECASE)


def last_number(text: str) -> str | None:
    """The last number of the text, with its thousands separators."""
    found = last_match(_LAST_NUMBER, plain_minus(text))
    return found.group() if found else None


def only_number(text: str) -> str | None:
    """The one number of a short sentence ("x = 42 apples"), after its last "="; None if not one."""
    numbers = _LONE_NUMBER.findall(plain_minus(text).rpartition("=")[2])
    return numbers[0] if len(numbers) == 1 else None


def is_number(text: str) -> bool:
    """Whether the whole text is one decimal number."""
    return _WHOLE_NUMBER.fullmatch(plain_minus(text)) is not None


def is_integer(normal: str) -> bool:
    """Whether a normal form is an integer."""
    return normal.removeprefix("-").isdecimal() and normal.isascii()


def plain_minus(text: str) -> str:
    """The text with every kind of minus sign as "-"."""
    return text.replace("\u2212", "-").replace("\u2013", "-")


def clean(text: str) -> str:
    """The text without surrounding space, math delimiters, quotes, emphasis and final period."""
    while True:
        before = text
        text = text.strip()
        for opening, closing in _DELIMITERS:
            long_enough = len(text) >= len(opening) + len(closing)
            if long_enough and text.startswith(opening) and text.endswith(closing):
                inner = text[len(opening) : -len(closing)]
                text = text if opening in inner else inner
        text = text.removeprefix("**").removesuffix("**")
        if text.endswith(".") and not text.endswith("\\."):
            text = text[:-1]
        if text == before:
            return text


_DROPPED = re.compile(r"\\left(?![a-z])|\\right(?![a-z])|\\[,!;: ]|\\displaystyle(?![a-z])|[\s$~]")
_WORDS = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|textnormal)\s{0,4}\{([^{}]*)\}")


def normal_form(answer: str) -> str:
    """A form in which equal answers of one problem are mostly equal strings.

    For votes, for "has the answer changed", and for comparing without a symbolic engine: spacing,
    sizes of brackets, text commands, degree signs, thousands separators, leading zeros and
    trailing decimal zeros do not count. Mathematics is not done: 1/2 and 0.5 stay apart.
    """
    text = plain_minus(clean(answer))
    text = _WORDS.sub(r"\1", text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac"))
    text = _DROPPED.sub("", text.replace("\\{", "{").replace("\\}", "}"))
    text = text.replace("^\\circ", "").replace("^{\\circ}", "").replace("°", "")
    text = text.replace("\\%", "%").rstrip(".")
    return _plain_number(text) if is_number(text) else text


def _plain_number(text: str) -> str:
    sign = "-" if text.startswith("-") else ""
    whole, _, decimals = text.lstrip("+-").replace(",", "").partition(".")
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    number = f"{whole}.{decimals}" if decimals else whole
    return number if number == "0" else sign + number
