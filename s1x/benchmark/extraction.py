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

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from s1x.benchmark.forms import bold_number, clean, last_number, only_number
from s1x.benchmark.latex import words

BOXED, ANSWER_IS, WHOLE_TEXT, LAST_NUMBER = "boxed", "answer_is", "whole_text", "last_number"
#: a longer line is prose
LONGEST_WHOLE_TEXT = 40
#: a solution's answer is looked for in its last so many characters
LONGEST_SEARCHED = 4000
#: so many words are a sentence, after which a solution may go on
WORDS_OF_PROSE = 3
FINAL, ANSWER = "Final Answer:", "Answer:"
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
    """The answer's text, the name of the rule that found it, and all that followed a marker."""

    text: str
    rule: str
    rest: str = ""

    @property
    def reads_on(self) -> bool:
        """Whether the text is prose and the answer is looked for in all that follows."""
        return len(self.rest) > len(self.text) + 8 and is_prose(self.text)


def extract(text: str, rules: Sequence[str] = DEFAULT_RULES) -> Extraction | None:
    """The answer by the first rule that finds one, cleaned of delimiters; None without any."""
    return next(candidates(text, rules), None)


def candidates(text: str, rules: Sequence[str]) -> Iterator[Extraction]:
    """What each rule finds, in order: where the first gives nothing, the next may."""
    for rule in _in_order(text, rules):
        if rule == BOXED:
            found, rest = last_boxed(text)[1], ""
        elif rule == WHOLE_TEXT:
            line = text.strip()
            short = len(line) <= LONGEST_WHOLE_TEXT and "\n" not in line
            found, rest = (line if short else None), ""
        elif rule == LAST_NUMBER:
            found, rest = last_number(text), ""
        elif rule == ANSWER_IS or rule.endswith(":"):
            pattern = _STATED if rule == ANSWER_IS else _marker_pattern(rule)
            found, rest = _after(text, last_match(pattern, text))
        else:
            continue  # a rule of the grader's own
        if found is not None and (found := clean(found)):
            yield Extraction(found, rule, rest)


def _in_order(text: str, rules: Sequence[str]) -> list[str]:
    """The rules, "Final Answer:" first where it comes after the last box."""
    if BOXED in rules and FINAL in rules:
        box_end, found = last_boxed(text)
        if found is not None and _after(text[box_end:], last_marker(text[box_end:], FINAL))[0]:
            return [FINAL, *(rule for rule in rules if rule != FINAL)]
    return list(rules)


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The last match of a pattern, in one pass."""
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def last_marker(text: str, marker: str) -> re.Match[str] | None:
    """The last occurrence of a marker such as "Answer:", any case, bold, or as a heading."""
    return last_match(_marker_pattern(marker), text)


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
    stated = _STATED.search(
        sentence
    )  # "Final Answer: The final answer is 3. I hope it is correct."
    return (sentence[stated.end() :] if stated else sentence), rest


def first_sentence(text: str) -> str:
    """The text to the end of its first sentence or line; formulas are whole."""
    depth, dollar = 0, ""
    first_cut = None
    for token in _TOKEN.finditer(text):
        mark = token.group()
        if mark in ("\\begin", "\\[", "\\("):
            depth += 1
        elif mark in ("\\end", "\\]", "\\)"):
            depth -= 1
        elif mark in ("$", "$$"):
            dollar = "" if dollar else mark
        elif mark in ("\n", ".", "。"):
            if mark == "." and _ABBREVIATION.search(
                text, max(0, token.start() - 12), token.start()
            ):
                continue
            first_cut = token.start() if first_cut is None else first_cut
            if depth <= 0 and not dollar:
                return text[: token.start()]
    closed = depth <= 0 and not dollar
    return text if closed or first_cut is None else text[:first_cut]


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
        sentence = first_sentence(rest)
        sentences.append(sentence)
        rest = rest[len(sentence) :].lstrip(" \t\n.。")
    return reversed(sentences)


def closing_number(text: str, only_bold: bool = False) -> str | None:
    """The one number, or the one in bold, of the last sentence of a solution that has any."""
    for sentence in closing_sentences(text):
        if any(character.isdigit() for character in sentence):
            return bold_number(sentence) if only_bold else only_number(sentence)
    return None


def closing_words(text: str, reference: str) -> str | None:
    """The reference's words where a text ends in them, or in "... is <reference>"."""
    last = clean(next(closing_sentences(text), ""))
    stated = re.split(r"\b(?:is|are|was|were)\s", last)[-1]
    expected = words(reference)
    return next((said for said in (last, stated) if expected and words(said) == expected), None)
