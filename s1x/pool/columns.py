"""The columns of a pool: our names, where they come from, and what may stand in them.

Every pool becomes Parquet with these names. `question` must be there; what else a recipe needs is
the recipe's business (it names the column that is missing). Verdicts of solver models are columns
`is_correct_<solver>`, their answers `answer_<solver>`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from s1x.errors import SettingError

if TYPE_CHECKING:
    import pyarrow as pa

TEXT = (
    "question",
    "solution",
    "reasoning_trace",
    "attempt",
    "source",
    "domain",
    "level",
    "model",
    "finish_reason",
    "license",
)
VERDICT_PREFIX, ANSWER_PREFIX = "is_correct_", "answer_"
NAMES = (*TEXT, "trace_tokens", "attempt_is_correct")

#: names that well-known data sets use; looked for when our own name is neither mapped nor there
ALIASES: dict[str, tuple[str, ...]] = {
    "question": ("problem",),
    "solution": ("answer",),
    "reasoning_trace": ("thinking_trajectories", "thinking", "deepseek_thinking_trajectory"),
    "attempt": ("deepseek_attempt",),
    "source": ("source_type",),
    "trace_tokens": ("gemini_length",),
    "attempt_is_correct": ("isgeminicorrect",),
    "finish_reason": ("finish",),
    "is_correct_qwen2_5_7b": ("isqwen7bcorrect",),
    "is_correct_qwen2_5_32b": ("isqwen32bcorrect",),
}


def kind(name: str) -> str:
    """`text`, `count` or `verdict`: what a column of this name holds."""
    if name == "trace_tokens":
        return "count"
    if name == "attempt_is_correct" or name.startswith(VERDICT_PREFIX):
        return "verdict"
    return "text"


def check_mapping(columns: Mapping[str, str]) -> None:
    """Refuses a mapping whose left side is not one of our names.

    Raises:
        SettingError: naming the wrong key and the names there are.
    """
    for name in columns:
        if name in NAMES or name.startswith((VERDICT_PREFIX, ANSWER_PREFIX)):
            continue
        known = ", ".join(NAMES)
        raise SettingError(
            "columns",
            f"a mapping from our names ({known}, is_correct_<solver>, answer_<solver>) to yours",
            name,
            "write +pool.columns.<our name>=<your name>",
        )


def resolve(columns: Mapping[str, str], found: Sequence[str], where: str) -> dict[str, str]:
    """Which of the file's columns stands for each of ours: {ours: theirs}.

    Args:
        columns: the user's mapping; wins over everything. `a.b` reaches into a nested object.
        found: the names in the file.
        where: the file, for errors.

    Raises:
        SettingError: a mapped column that the file lacks, or no question.
    """
    chosen: dict[str, str] = {}
    for ours, theirs in columns.items():
        if theirs not in found and theirs.split(".")[0] not in found:
            have = ", ".join(found)
            raise SettingError(
                f"pool.columns.{ours}", f"a column of {where} (it has {have})", theirs
            )
        chosen[ours] = theirs
    taken = set(chosen.values())
    for name in found:
        if name not in chosen and _is_ours(name):
            chosen[name] = name
    taken.update(chosen.values())
    for ours, aliases in ALIASES.items():
        alias = next((a for a in aliases if a in found and a not in taken), None)
        if ours not in chosen and alias is not None:
            chosen[ours] = alias
    if "question" not in chosen:
        have = ", ".join(found)
        raise SettingError(
            "pool.columns.question", f"the column of {where} that holds it", None, f"it has {have}"
        )
    return chosen


def _is_ours(name: str) -> bool:
    return name in NAMES or name.startswith((VERDICT_PREFIX, ANSWER_PREFIX))


def schema(ours: Sequence[str], others: Sequence[str] = ()) -> pa.Schema:
    """The Arrow schema of a pool with these columns; other columns pass through as text."""
    import pyarrow as pa

    types: dict[str, Any] = {"text": pa.string(), "count": pa.int64(), "verdict": pa.bool_()}
    order = sorted(ours, key=lambda name: (NAMES.index(name) if name in NAMES else 99, name))
    fields = [(name, types[kind(name)]) for name in order]
    return pa.schema(fields + [(name, pa.string()) for name in others])
