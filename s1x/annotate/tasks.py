"""What is asked of a model for each column, and how its reply is read.

A reader gives the value or None for a reply that cannot be read; such a reply is asked for again,
and after `annotate.max_replies` the value stays missing. Nothing is guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from s1x.annotate.domains import DOMAINS
from s1x.annotate.store import Answer, Message

TEACHER_PROMPT = "{question}"
SOLVER_PROMPT = "{question}\n\nPut your final answer in \\boxed{}."
JUDGE_SYSTEM = (
    "You compare a student's attempt at a problem with the reference solution. If the solution "
    "ends in a number, an expression or a choice, the attempt is correct when its final answer is "
    "the same one; otherwise judge whether its reasoning holds and reaches the same conclusion. "
    "Explain briefly, and end with a last line that says only Yes (correct) or No (not correct)."
)
JUDGE_PROMPT = (
    "## Problem\n{question}\n\n## Attempt\n{attempt}\n\n## Reference solution\n{solution}"
)
CLASSIFIER_SYSTEM = (
    "You sort questions into subjects. Choose the one subject that the question is most about "
    "from this list of two-digit codes:\n{codes}\nExplain briefly, and end with a last line that "
    "is only the code."
)


@dataclass(frozen=True)
class Reply:
    """A teacher's reply, taken apart."""

    reasoning_trace: str
    attempt: str


def teacher_messages(question: str, prompt: str | None) -> list[Message]:
    """The question, as it is."""
    return [_user(fill(prompt or TEACHER_PROMPT, question=question))]


def solver_messages(question: str, prompt: str | None) -> list[Message]:
    """The question, with the form of the answer."""
    return [_user(fill(prompt or SOLVER_PROMPT, question=question))]


def judge_messages(question: str, attempt: str, solution: str, prompt: str | None) -> list[Message]:
    """Problem, attempt and solution."""
    parts = {"question": question, "attempt": attempt, "solution": solution}
    text = fill(prompt or JUDGE_PROMPT, **parts)
    return [{"role": "system", "content": JUDGE_SYSTEM}, _user(text)]


def classifier_messages(question: str, prompt: str | None) -> list[Message]:
    """The question and the list of codes."""
    codes = "\n".join(f"{code} {title}" for code, title in DOMAINS.items())
    system = fill(CLASSIFIER_SYSTEM, codes=codes)
    text = fill(prompt or "{question}", question=question)
    return [{"role": "system", "content": system}, _user(text)]


def read_trace(answer: Answer) -> Reply | None:
    """Trace and attempt: the server's own division, else `<think>...</think>` in the text."""
    trace, attempt = answer.reasoning, answer.text
    if trace is None:
        head, mark, attempt = answer.text.partition("</think>")
        trace = head.replace("<think>", "", 1) if mark else ""
    if answer.finish_reason == "length" or not trace.strip() or not attempt.strip():
        return None
    return Reply(trace.strip(), attempt.strip())


def read_attempt(answer: Answer) -> str | None:
    """A solver's attempt without its reasoning; a cut one counts as it stands, as in s1."""
    text = answer.text.rpartition("</think>")[2].strip()
    return text or (answer.text.strip() or None)


def read_verdict(answer: Answer) -> bool | None:
    """Yes or No on the last line."""
    last = _last_line(answer).strip(" .*_`\"'").lower()
    return {"yes": True, "no": False}.get(last)


def read_domain(answer: Answer) -> str | None:
    """The title of the code that the reply ends in."""
    found = re.search(r"(?<!\d)(\d\d)\W*$", _last_line(answer))
    return DOMAINS.get(found[1]) if found else None


def fill(template: str, **parts: str) -> str:
    """Puts parts in for `{name}`; other braces (LaTeX, JSON) stay as they are."""
    return re.sub(r"\{(" + "|".join(parts) + r")\}", lambda match: parts[match[1]], template)


def _last_line(answer: Answer) -> str:
    lines = answer.text.strip().splitlines()
    return lines[-1].strip() if lines and answer.finish_reason != "length" else ""


def _user(text: str) -> Message:
    return {"role": "user", "content": text}
