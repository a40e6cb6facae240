"""What is asked of a model for each column, and how its reply is read.

A reader gives the value or None for a reply that cannot be read; such a reply is asked for again,
and after `annotate.max_replies` the value stays missing. Nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from s1x.engine.chat import Answer, Message

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


@cache
def domains() -> dict[str, str]:
    """Code → domain: top-level codes of the Mathematics Subject Classification, as s1 sorts by.

    The codes from 70 on and 68, 92 and 94 hold the sciences.
    """
    lines = files(__package__).joinpath("domains.txt").read_text(encoding="utf-8").splitlines()
    return {code: name for code, _, name in (line.partition(" ") for line in lines)}


@dataclass(frozen=True)
class Question:
    """What one role is asked of each row.

    Attributes:
        role: "teacher", "solvers.small".
        columns: what the reply fills, all at once.
        system: the system turn; empty: none.
        prompt: the user turn, unless the endpoint has its own.
        parts: name in the prompt → column; a row that lacks one is not asked about.
        read: the value of a reply (as many as columns), None where it cannot be read.
    """

    role: str
    columns: tuple[str, ...]
    system: str
    prompt: str
    parts: Mapping[str, str]
    read: Callable[[Answer], object | None]

    def messages(self, parts: Mapping[str, str], prompt: str | None) -> list[Message]:
        """The turns, with the row's texts put in."""
        user = {"role": "user", "content": fill(prompt or self.prompt, parts)}
        return [{"role": "system", "content": self.system}, user] if self.system else [user]


def questions(tasks: Collection[str], solvers: Collection[str]) -> list[Question]:
    """What these tasks ask of each row, in their order."""
    plain, boxed = "{question}", "{question}\n\nPut your final answer in \\boxed{}."
    text, filled = {"question": "question"}, ("reasoning_trace", "attempt")
    found = []
    if "trace" in tasks:
        found.append(Question("teacher", filled, "", plain, text, read_trace))
    if "solve" in tasks:
        for name in solvers:
            columns = (f"answer_{name}",)
            found.append(Question(f"solvers.{name}", columns, "", boxed, text, read_attempt))
    if "judge" in tasks:
        verdicts = {"attempt_is_correct": "attempt"}
        verdicts |= {f"is_correct_{name}": f"answer_{name}" for name in solvers}
        for column, attempt in verdicts.items():
            parts = text | {"attempt": attempt, "solution": "solution"}
            asked = Question("judge", (column,), JUDGE_SYSTEM, JUDGE_PROMPT, parts, read_verdict)
            found.append(asked)
    if "domain" in tasks:
        codes = "\n".join(f"{code} {name}" for code, name in domains().items())
        system = fill(CLASSIFIER_SYSTEM, {"codes": codes})
        found.append(Question("classifier", ("domain",), system, plain, text, read_domain))
    return found


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


def fill(template: str, parts: Mapping[str, str]) -> str:
    """Puts parts in for `{name}`; other braces (LaTeX, JSON) stay as they are."""
    return re.sub(r"\{(" + "|".join(parts) + r")\}", lambda match: parts[match[1]], template)


def _last_line(answer: Answer) -> str:
    lines = answer.text.strip().splitlines()
    return lines[-1].strip() if lines and answer.finish_reason != "length" else ""
