"""`pool=openr1_math`: OpenR1-Math-220k, questions with two to four traces of R1 each.

Of each question the first generation is read that is complete and that math-verify, or else the
Llama judge, calls right; where none is, the first one, as wrong. It is parted at `</think>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from s1x.option import option, setting
from s1x.pool.columns import Found
from s1x.pool.hub import Hub
from s1x.pool.writer import Row

#: lists that have an entry per generation
PER_GENERATION = ("correctness_math_verify", "correctness_llama", "is_reasoning_complete")
OWN = ("reasoning_trace", "attempt", "attempt_is_correct")


@option("pool", "openr1_math")
@dataclass(frozen=True)
class OpenR1Math(Hub):
    """The pool of the Open R1 project (configuration `default`: 94 thousand questions)."""

    kind: ClassVar[str] = "openr1_math"

    dataset: str = setting("open-r1/OpenR1-Math-220k", "hub id or local folder")

    def source(self, nested: set[str]) -> tuple[str, Found, Iterator[Row]]:
        """The columns of the data set, and of each row one generation."""
        name, found, rows = super().source(nested)
        left = ("generations", "messages", "finish_reasons", *PER_GENERATION)
        names = [column for column in found.columns if column not in left]
        return name, Found([*names, *OWN], []), map(_with_one_generation, rows)


def _with_one_generation(row: Row) -> Row:
    if not isinstance(row.values, Mapping):
        return row
    values = row.values
    written = _listed(values.get("generations"))
    right, judged, complete = (_listed(values.get(name)) for name in PER_GENERATION)
    verdicts = [
        bool(_at(right, i) or _at(judged, i)) and _at(complete, i) is not False
        for i in range(len(written))
    ]
    chosen = verdicts.index(True) if True in verdicts else 0
    text = str(written[chosen]) if written else ""
    trace, end, attempt = text.partition("</think>")
    own = {
        "reasoning_trace": trace.removeprefix("<think>").strip() if end else None,
        "attempt": attempt.strip() if end else None,
        "attempt_is_correct": verdicts[chosen] if written else None,
    }
    return row._replace(values={**values, **own})


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _at(values: list[object], index: int) -> object:
    return values[index] if index < len(values) else None
