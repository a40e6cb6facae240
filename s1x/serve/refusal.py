"""What a request can be refused for, in a sentence for whoever sent it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from s1x.classes import nearest
from s1x.errors import UserError

Json: TypeAlias = "dict[str, object]"


class RefusedError(UserError):
    """A request that is not served.

    Attributes:
        status: of HTTP.
        field: of the body where the fault is.
        code: as OpenAI's clients know it.
        headers: of the reply.
    """

    def __init__(
        self,
        message: str,
        field: str | None = None,
        status: int = 400,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.field, self.code = status, field, code
        self.headers = headers or {}


def wrong(field: str, must: str, value: object, remedy: str = "") -> RefusedError:
    """A value that cannot be."""
    end = f"; {remedy}" if remedy else ""
    return RefusedError(f"{field} must be {must}, got {shown(value)}{end}", field)


def unknown(field: str, value: object, known: Iterable[str], of: str = "") -> RefusedError:
    """A field that is not known: nothing is ignored in silence."""
    names = list(known)
    hint = nearest(field.rpartition(".")[2], names)
    there_are = f"{of or 'the known ones are'} {', '.join(names)}"
    text = f"{field} ({shown(value)}) is not known here; {hint + ' ' if hint else ''}{there_are}"
    return RefusedError(text, field, code="unknown_parameter")


def shown(value: object) -> str:
    """A value as a message shows it: printable, and short."""
    text = ascii(value) if not isinstance(value, str) else repr(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 60 else f"{text[:57]}..."


def error_body(error: UserError) -> Json:
    """The error object of OpenAI's protocol."""
    field = error.field if isinstance(error, RefusedError) else None
    status = error.status if isinstance(error, RefusedError) else 500
    code = error.code if isinstance(error, RefusedError) else None
    kind = "invalid_request_error" if status < 500 else "server_error"
    if status == 429:
        kind = "rate_limit_error"
    return {"error": {"message": str(error), "type": kind, "param": field, "code": code}}
