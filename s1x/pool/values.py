"""Single values as they come, made into what a pool's column holds, or refused with a reason.

One rule for every kind of pool: null and NaN are no value; what is of another type than the column
makes the row unreadable, whatever kind of file it stood in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from decimal import Decimal

from s1x.jsonl import UnreadableError
from s1x.pool.columns import kind


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
