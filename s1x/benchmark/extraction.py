"""Finding the answer in what a model wrote, by rules that have names.

Rules, tried in the order they are given; the name of the one that matched goes into the row:

* `boxed`: what is in the last closed `\\boxed{...}`; boxes joined by a comma, "and" or "or" in one
  sentence count together. Where a "Final Answer:" comes after the box, that is the answer.
* `Final Answer:`, `Answer:` or any other text that ends in a colon: what follows its last
  occurrence, or a heading of these words. s1 takes all that follows; the answer is its first
  sentence or line (a formula is never cut) unless that is prose and more text follows: then it is
  looked for further on, from the end.
* `answer_is`: what follows the last "the answer is".
* `whole_text`: a text of one short line is itself the answer.
* `last_number`: the last number of the text. A choice, never a default: it also finds an answer
  where the model gave none.

Everything here reads hostile text in linear time and evaluates nothing.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from s1x.benchmark.forms import clean, last_number
from s1x.benchmark.latex import words

BOXED, ANSWER_IS, WHOLE_TEXT, LAST_NUMBER = "boxed", "answer_is", "whole_text", "last_number"
#: a longer line is prose
LONGEST_WHOLE_TEXT = 40
#: a solution's answer is looked for in its last N characters
LONGEST_SEARCHED = 4000
#: N words are a sentence, after which a solution may go on
WORDS_OF_PROSE = 3
FINAL, ANSWER = "Final Answer:", "Answer:"
#: those that are no marker texts
RULES = (BOXED, ANSWER_IS, WHOLE_TEXT, LAST_NUMBER)
DEFAULT_RULES = (BOXED, FINAL, ANSWER, ANSWER_IS)
#: how other languages write a marker
_ALSO = {FINAL: ("最终答案", "最后答案"), ANSWER: ("答案",)}

_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s{0,4}\{|\\boxed [^\s{}$\\]+|\\.|[{}]", re.DOTALL)
#: between two boxes that are one answer: it ends in a comma, "and" or "or" (and "y =")
_JOINT = re.compile(
    r" ?|(?:[^.\n]|\.(?!\s)|\n(?!\s*\n)){0,40}?(?:[,;]|\b(?:and|or)\b)"
    r"(?:[\s$\[\](){}]|\\[()\[\],;: ]|\\q?quad|\\text|[A-Za-z]_?\{?\w{0,4}\}?\s*=){0,40}"
)
#: what opens and closes formulas, and where a sentence or line ends
_TOKEN = re.compile(
    r"\\begin(?=\{)|\\end(?=\{)|\\[\[\]()$\\]|\$\$|\$(?!(?=\d)[^\n$]*(?:\n|$))|\n|"
    r"(?<=\S)\.(?=\s+[A-Z*\\$])|。"
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:Mr|Mrs|Ms|Dr|St|Sts|Prof|Sr|Jr|Mt|Ft|vs|etc|approx|e\.g|i\.e|[A-Z])$"
)
_WORD = re.compile(
    r"(?<![\\A-Za-z])(?!(?:and|or|text|mathrm)\b)[A-Za-z]{2,}|(?<![A-Za-z])[aI](?![A-Za-z])"
)
_FORMULA = re.compile(r"\$[^$]*\$|\\\(.*?\\\)|\\\[.*?\\\]", re.DOTALL)
_STATED = re.compile(
    r"\b(?:answers?|solution|result)(?:\s[\w']{1,20}){0,6}?\s(?:is|are|was)\b[:\s]{0,3}"
    r"(?:equal to\s)?|"
    r"答案[是为][:：]?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Extraction:
    """The answer's text, the name of the rule that found it, and all that followed a marker.

    `is_searched`: the text is the end of a solution in which an engine is to find the answer.
    """

    text: str
    rule: str
    rest: str = ""
    is_searched: bool = False


def extract(text: str, rules: Sequence[str] = DEFAULT_RULES) -> Extraction | None:
    """The answer by the first rule that finds one, cleaned of delimiters; None without any."""
    return next(candidates(text, rules), None)


def candidates(text: str, rules: Sequence[str]) -> Iterator[Extraction]:
    """What each rule finds, in order: where the first gives nothing, the next may."""
    box_end, boxed = last_boxed(text) if BOXED in rules else (0, None)
    if boxed is not None and FINAL in rules:  # a "Final Answer:" after the last box comes first
        after = text[box_end:]
        if _after(after, last_match(_marker_pattern(FINAL), after))[0]:
            rules = [FINAL, *(rule for rule in rules if rule != FINAL)]
    for rule in rules:
        found, rest = None, ""
        if rule == BOXED:
            found = boxed
        elif rule == WHOLE_TEXT:
            line = text.strip()
            found = line if len(line) <= LONGEST_WHOLE_TEXT and "\n" not in line else None
        elif rule == LAST_NUMBER:
            found = last_number(text)
        elif rule == ANSWER_IS or rule.endswith(":"):
            pattern = _STATED if rule == ANSWER_IS else _marker_pattern(rule)
            found, rest = _after(text, last_match(pattern, text))
        if found is not None and (found := clean(found)):
            yield Extraction(found, rule, rest)


def written(answer: str, rules: Sequence[str]) -> str | None:
    """A text in which a rule finds the answer; None where no rule of these can be served so."""
    marker = next((rule for rule in rules if rule.endswith(":")), None)
    if marker:
        return f"{marker} {answer}"
    if BOXED in rules:
        return f"\\boxed{{{answer}}}"
    return f"The answer is {answer}" if ANSWER_IS in rules else None


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The last match of a pattern, in one pass."""
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


@lru_cache(maxsize=64)
def _marker_pattern(marker: str) -> re.Pattern[str]:
    english = r"\s{1,4}".join(re.escape(word) for word in marker[:-1].split())
    words = "|".join((english, *_ALSO.get(marker, ())))
    return re.compile(
        rf"(?<![A-Za-z0-9_])(?:{words})[*_\s]{{0,4}}[:：][*_]{{0,3}}|"
        rf"^[ \t#*_>]{{0,8}}(?:{words})[*_ \t]{{0,4}}$",
        re.IGNORECASE | re.MULTILINE,
    )


def _after(text: str, marker: re.Match[str] | None) -> tuple[str | None, str]:
    """The first sentence or line after a marker, and all that follows it."""
    if marker is None:
        return None, ""
    rest = text[marker.end() :].strip()
    sentence = first_sentence(rest)
    stated = _STATED.search(sentence)  # "Final Answer: The final answer is 3. I hope it is."
    return (sentence[stated.end() :] if stated else sentence), rest


def first_sentence(text: str) -> str:
    """The text to the end of its first sentence or line; formulas are whole."""
    depth, dollar = 0, ""
    first_cut: int | None = None
    for token in _TOKEN.finditer(text):
        mark, start = token.group(), token.start()
        depth += (mark in ("\\begin", "\\[", "\\(")) - (mark in ("\\end", "\\]", "\\)"))
        if mark in ("$", "$$"):
            dollar = "" if dollar else mark
        elif mark in ("\n", "。") or (
            mark == "." and not _ABBREVIATION.search(text, max(0, start - 12), start)
        ):
            first_cut = start if first_cut is None else first_cut
            if depth <= 0 and not dollar:
                return text[:start]
    return text if depth <= 0 and not dollar else text[:first_cut]


def is_prose(text: str) -> bool:
    """Whether it is words with, at most, formulas between them, or announces what follows."""
    found = _WORD.findall(_FORMULA.sub(" ", text[:1000]))
    return len(found) >= WORDS_OF_PROSE or text.endswith(":")


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
    """Start, end and content of the innermost closed boxes that hold something, in order."""
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
            content = text[inside : token.start()]
            if is_box and content.strip() and (not found or found[-1][0] < start):
                found.append((start, token.end(), content))
    return found


def closing_sentences(text: str) -> Iterator[str]:
    """The sentences and lines of a solution from its end, formulas whole."""
    sentences: list[str] = []
    rest = text.strip()[-LONGEST_SEARCHED:]
    while rest and len(sentences) < 400:
        sentences.append(first_sentence(rest))
        rest = rest[len(sentences[-1]) :].lstrip(" \t\n.。")
    return reversed(sentences)


def closing_words(text: str, reference: str) -> str | None:
    """The reference's words where a text ends in them, or in "... is <reference>"."""
    last = clean(next(closing_sentences(text), ""))
    stated = re.split(r"\b(?:is|are|was|were)\s", last)[-1]
    expected = words(reference)
    return next((said for said in (last, stated) if expected and words(said) == expected), None)


# -- references -----------------------------------------------------------------------------------

#: GSM8K: the whole solution, and the answer after its last line's mark
_GSM8K = re.compile(r"####[ \t]*([^\n]+?)\s*\Z")
_ONE_IN_A_LIST = re.compile(r"""\[\s*(?:"([^"]*)"|'([^']*)'|([^\[\]",']+))\s*\]""")


@lru_cache(maxsize=4096)
def reference_text(answer: str) -> str:
    """The answer in a reference: in its box, after "#### ", or the one member of a list.

    `["2"]` is 2 (OlympiadBench), `["2", "3"]` is "2, 3"; `[1, 2]` stays, it may be an interval.
    """
    text = answer.strip().replace("\\\\boxed", "\\boxed")
    if found := _GSM8K.search(text):
        return found[1]
    if (boxed := last_boxed(text)[1]) is not None:
        return boxed.strip()
    if found := _ONE_IN_A_LIST.fullmatch(text):
        return next(part for part in found.groups() if part is not None).strip()
    if text.startswith('["') and text.endswith('"]'):
        with suppress(ValueError, RecursionError):
            return ", ".join(map(str, json.loads(text)))
    return text
