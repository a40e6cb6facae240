"""The columns of a pool: our names, where they come from, and what may stand in them.

Every pool becomes Parquet with these names. `question` must be there; what else a recipe needs is
the recipe's business (it names the column that is missing). Verdicts of solver models are columns
`is_correct_<solver>`, their answers `answer_<solver>`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import pyarrow as pa

from s1x.classes import nearest
from s1x.errors import SettingError, UserError
from s1x.jsonl import UnreadableError

VERDICT_PREFIX, ANSWER_PREFIX = "is_correct_", "answer_"
NAMES = (
    *("question", "solution", "reasoning_trace", "attempt", "source", "domain", "level", "model"),
    *("finish_reason", "license", "trace_tokens", "attempt_is_correct"),
)

#: names that well-known data sets use; looked for when our own name is neither mapped nor there
ALIASES = {
    "question": ("problem",),
    "solution": ("answer",),
    "reasoning_trace": ("thinking_trajectories", "thinking", "deepseek_thinking_trajectory"),
    "attempt": ("deepseek_attempt",),
    "source": ("source_type",),
    # s1's data were published with the spelling "genmini", which its code has mended since
    "trace_tokens": ("gemini_length", "genmini_length"),
    "attempt_is_correct": ("isgeminicorrect", "isgenminicorrect"),
    "finish_reason": ("finish",),
    "is_correct_qwen2_5_7b": ("isqwen7bcorrect",),
    "is_correct_qwen2_5_32b": ("isqwen32bcorrect",),
}
NUM_NAMED = 40
"""Column names that an error lists."""
MAX_COLUMNS = 1000


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
        if not _is_ours(name):
            known = f"{', '.join(NAMES)}, is_correct_<solver>, answer_<solver>"
            hint = nearest(name, NAMES, "write +pool.columns.<our name>=<your name>")
            raise SettingError(
                "columns", f"a mapping from our names ({known}) to yours", name, hint
            )


class Found(NamedTuple):
    """The columns that data have, and what their objects hold, as `a.b`."""

    columns: list[str]
    nested: list[str]


def check_columns(names: Sequence[str], where: str) -> None:
    """Refuses column names that cannot be a pool's.

    Raises:
        UserError: two of one name, or more than can be columns (ids as keys of the rows).
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"pool: {where} has two columns {twice[0]}; rename one")
    if len(names) > MAX_COLUMNS:
        raise UserError(
            f"pool: {where} has more than {MAX_COLUMNS:,} columns, such as {names[-1]}; "
            "put what is data into a value, not into a key"
        )


def resolve(columns: Mapping[str, str], found: Found, where: str) -> dict[str, str]:
    """Which of the data's columns stands for each of ours: {ours: theirs}.

    Args:
        columns: the user's mapping; wins over everything. `a.b` reaches into a nested object.
        found: the names in the data.
        where: the file or data set, for errors.

    Raises:
        SettingError: a mapped column that the data lack, or no question.
    """
    names, every = found.columns, [*found.columns, *found.nested]
    have = f"it has {', '.join(names[:NUM_NAMED])}" + (", ..." if len(names) > NUM_NAMED else "")
    for ours, theirs in columns.items():
        if theirs not in every:
            must = f"a column of {where} ({have})"
            raise SettingError(f"pool.columns.{ours}", must, theirs, nearest(theirs, every))
    chosen = recognized(names, columns)
    if "question" not in chosen:
        must = f"the column of {where} that holds it"
        raise SettingError("pool.columns.question", must, None, have)
    return chosen


def recognized(names: Sequence[str], columns: Mapping[str, str] | None = None) -> dict[str, str]:
    """{ours: theirs}: as `columns` maps them, else of our own name, else of a known other one."""
    chosen = dict(columns or {})
    chosen |= {name: name for name in names if name not in chosen and _is_ours(name)}
    taken = set(chosen.values())
    for ours, aliases in ALIASES.items():
        alias = next((a for a in aliases if a in names and a not in taken), None)
        if ours not in chosen and alias is not None:
            chosen[ours] = alias
    return chosen


def passed_through(found: Found, mapping: Mapping[str, str]) -> dict[str, str]:
    """The other columns, kept as text: {name in the pool: theirs}. `row` is the selection's own."""
    taken = {*mapping, *mapping.values()}
    return {"row_of_source" if n == "row" else n: n for n in found.columns if n not in taken}


def _is_ours(name: str) -> bool:
    return name in NAMES or name.startswith((VERDICT_PREFIX, ANSWER_PREFIX))


def schema(ours: Iterable[str], others: Iterable[str] = ()) -> pa.Schema:
    """The Arrow schema of a pool with these columns; other columns pass through as text."""
    types = {"text": pa.string(), "count": pa.int64(), "verdict": pa.bool_()}
    order = sorted(ours, key=lambda name: (NAMES.index(name) if name in NAMES else 99, name))
    fields = [(name, types[kind(name)]) for name in order]
    return pa.schema(fields + [(name, pa.string()) for name in others])


# -- single values ---------------------------------------------------------------------------------
#
# One rule for every kind of pool: null and NaN are no value; what is of another type than the
# column makes the row unreadable, whatever kind of file it stood in.


def convert(name: str, value: object) -> str | int | bool | None:
    """A value for our column `name`.

    Raises:
        UnreadableError: the row lacks a question, or the value is of another type.
    """
    if not _is_missing(value):
        return _READERS[kind(name)](name, value)
    if name == "question":
        raise UnreadableError("no question")
    return None


def _is_missing(value: object) -> bool:
    """Null, or the NaN that tables write in its place."""
    return value is None or (isinstance(value, (float, Decimal)) and value != value)


def reach(row: Mapping[str, object], path: str) -> object:
    """The value at a name, or at `a.b` within an object; None where there is none."""
    if path in row:
        return row[path]
    value: object = row
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def as_text(value: object) -> str | None:
    """The value of a column that is not ours: text as it is, all else as JSON."""
    if _is_missing(value):
        return None
    if not isinstance(value, str):
        value = json.dumps(_without_nan(value), ensure_ascii=False, default=str)
    return value.encode("utf-8", "replace").decode()


def _without_nan(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(name: str, value: object) -> str:
    """Text; numbers are written out; lists of texts (traces in parts) are joined by newlines."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = "\n".join(value)
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        if name in ("question", "reasoning_trace", "attempt"):
            raise UnreadableError(f"{name} is a number, not text")
        if not math.isfinite(value):
            raise UnreadableError(f"{name} is infinite")
        value = str(value)
    if not isinstance(value, str):
        what = {bool: "true or false", dict: "an object", list: "a list of other things"}
        kind_of_value = what.get(type(value), type(value).__name__)
        raise UnreadableError(f"{name} is {kind_of_value}, not text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise UnreadableError(f"{name} is not valid UTF-8") from None
    if name == "question" and not value.strip():
        raise UnreadableError("empty question")
    return value


def _count(name: str, value: object) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, (float, Decimal)) and math.isfinite(value) and value == int(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise UnreadableError(f"{name} is not a count")
    return value


_VERDICTS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _verdict(name: str, value: object) -> bool:
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in _VERDICTS:
        return _VERDICTS[value.strip().lower()]
    raise UnreadableError(f"{name} is not true or false")


_READERS: dict[str, Callable[[str, object], str | int | bool]] = {
    "text": _text,
    "count": _count,
    "verdict": _verdict,
}
