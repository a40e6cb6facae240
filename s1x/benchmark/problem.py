"""One problem of a benchmark: what is asked and what is right."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Problem:
    """A question with its reference answer.

    Attributes:
        problem_id: unique in its benchmark; rows, traces and paired statistics are keyed by it.
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
