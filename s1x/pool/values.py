"""Single values as they come, made into what a pool's column holds, or refused with a reason."""

from __future__ import annotations

from typing import Any

from s1x.pool.columns import kind


class UnreadableError(ValueError):
    """Why a row cannot be read, in words that make sense as a reason in the funnel."""


def convert(name: str, value: Any) -> str | int | bool | None:
    """A value for our column `name`.

    Raises:
        UnreadableError: the row lacks a question, or the value is of another type.
    """
    if name == "question":
        if value is None:
            raise UnreadableError("no question")
        text = _text(name, value)
        if not text or not text.strip():
            raise UnreadableError("empty question")
        return text
    if value is None:
        return None
    if kind(name) == "count":
        return _count(name, value)
    if kind(name) == "verdict":
        return _verdict(name, value)
    return _text(name, value)


def _text(name: str, value: Any) -> str:
    """Text; numbers are written out; lists of texts (traces in parts) are joined by newlines."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = "\n".join(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if name in ("question", "reasoning_trace", "attempt"):
            raise UnreadableError(f"{name} is a number, not text")
        value = str(value)
    if not isinstance(value, str):
        raise UnreadableError(f"{name} is {_type_name(value)}, not text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise UnreadableError(f"{name} is not valid UTF-8") from None
    return value


def _count(name: str, value: Any) -> int:
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise UnreadableError(f"{name} is not a count")
    return value


_VERDICTS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _verdict(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in _VERDICTS:
        return _VERDICTS[value.strip().lower()]
    raise UnreadableError(f"{name} is not true or false")


def _type_name(value: Any) -> str:
    kinds = {bool: "true or false", dict: "an object", list: "a list of other things"}
    return kinds.get(type(value), type(value).__name__)
