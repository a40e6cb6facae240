"""One problem of a benchmark: what is asked and what is right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace


@dataclass(frozen=True)
class Problem:
    """A question with its reference answer.

    Attributes:
        problem_id: unique in its benchmark; rows and traces are keyed by it.
        question: what the user turn says (choices written out, instructions of the format last).
        answer: the reference answer as text (an integer, a LaTeX expression, a letter).
        domain: the field it is from ("congruence", "Geometry"), for accuracy by domain.
        level: difficulty as the source gives it, or None.
        choices: the choices in the order shown, for multiple choice; else None.
        metadata: what else the source said (JSON-able), e.g. the seed of the shuffled choices.
    """

    problem_id: str
    question: str
    answer: str
    domain: str
    level: str | None = None
    choices: tuple[str, ...] | None = None
    metadata: dict[str, object] = field(default_factory=dict)

    def content_hash(self) -> str:
        """What makes it the same problem anywhere: question, reference answer and choices."""
        return _hash([self.question, self.answer, self.choices])


def content_hash(problems: Iterable[Problem]) -> str:
    """All of the problems that a result can show, in their order: ids, domains and levels too.

    Where they were read (`metadata`) does not count: a file may be moved.
    """
    return _hash([asdict(replace(problem, metadata={})) for problem in problems])


def _hash(content: object) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
