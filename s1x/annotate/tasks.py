"""What is asked of a model for each column, and how its reply is read.

A reader gives the value or None for a reply that cannot be read; such a reply is asked for again,
and after `annotate.max_replies` the value stays missing. Nothing is guessed.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from s1x.engine.chat import Answer, Message

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
CLASSIFIER_PROMPT = "{question}"


@cache
def domains() -> dict[str, str]:
    """Code → domain: top-level codes of the Mathematics Subject Classification, as s1 sorts by.

    The codes from 70 on and 68, 92 and 94 hold the sciences.
    """
    lines = files(__package__).joinpath("domains.txt").read_text(encoding="utf-8").splitlines()
    return {code: name for code, _, name in (line.partition(" ") for line in lines)}


def judge_messages(question: str, attempt: str, solution: str, prompt: str | None) -> list[Message]:
    """The judge's instruction, then problem, attempt and solution."""
    parts = {"question": question, "attempt": attempt, "solution": solution}
    return [_system(JUDGE_SYSTEM), user(fill(prompt or JUDGE_PROMPT, **parts))]


def classifier_messages(question: str, prompt: str | None) -> list[Message]:
    """The list of codes, then the question."""
    codes = "\n".join(f"{code} {name}" for code, name in domains().items())
    text = fill(prompt or CLASSIFIER_PROMPT, question=question)
    return [_system(fill(CLASSIFIER_SYSTEM, codes=codes)), user(text)]


def read_trace(answer: Answer) -> tuple[str, str] | None:
    """Trace and attempt: the server's own division, else `<think>...</think>` in the text."""
    trace, attempt = answer.reasoning, answer.text
    if trace is None:
        head, mark, attempt = answer.text.partition("</think>")
        trace = head.replace("<think>", "", 1) if mark else ""
    if answer.finish_reason == "length" or not trace.strip() or not attempt.strip():
        return None
    return trace.strip(), attempt.strip()


def read_attempt(answer: Answer) -> str | None:
    """A solver's attempt without its reasoning; a cut one counts as it stands, as in s1."""
    text = answer.text.rpartition("</think>")[2].strip()
    return text or (answer.text.strip() or None)


def read_verdict(answer: Answer) -> bool | None:
    """Yes or No on the last line."""
    last = _last_line(answer).strip(" .*_`\"'").lower()
    return {"yes": True, "no": False}.get(last)


def read_domain(answer: Answer) -> str | None:
    """The domain of the code that the reply ends in."""
    found = re.search(r"(?<!\d)(\d\d)\W*$", _last_line(answer))
    return domains().get(found[1]) if found else None


def fill(template: str, **parts: str) -> str:
    """Puts parts in for `{name}`; other braces (LaTeX, JSON) stay as they are."""
    return re.sub(r"\{(" + "|".join(parts) + r")\}", lambda match: parts[match[1]], template)


def user(text: str) -> Message:
    """The user's message."""
    return {"role": "user", "content": text}


def _system(text: str) -> Message:
    return {"role": "system", "content": text}


def _last_line(answer: Answer) -> str:
    lines = answer.text.strip().splitlines()
    return lines[-1].strip() if lines and answer.finish_reason != "length" else ""
