"""JSON lines as people keep them: UTF-8 with or without a byte order mark, plain or gzip."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from s1x.errors import UserError


class UnreadableError(ValueError):
    """Why a row cannot be read, in words that make sense as a reason."""


Values = Mapping[str, object] | UnreadableError


def read(path: Path) -> Iterator[tuple[int, Values]]:
    """Line number (from 1) and object of each line that is not blank, or why it has none.

    Bytes that are no UTF-8 become lone surrogates.

    Raises:
        UserError: a damaged gzip file, UTF-16, or a name that does not say whether it is gzip.
    """
    with path.open("rb") as file:
        start = file.read(2)
    if start in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{path} is UTF-16; save it as UTF-8")
    zipped = start == b"\x1f\x8b"
    if zipped != (path.suffix == ".gz") and start:
        what = "gzip; end its name in .gz" if zipped else "no gzip file; take .gz off its name"
        raise UserError(f"{path} is {what}")
    opened = gzip.open if zipped else open
    try:
        with opened(path, "rt", encoding="utf-8", errors="surrogateescape") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _parsed(line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is a damaged gzip file ({error}); download it again") from None


def _parsed(line: str) -> Values:
    try:
        values = json.loads(line.lstrip("\ufeff"))
    except RecursionError:
        return UnreadableError("nested too deeply")
    except ValueError:
        return UnreadableError("not JSON")
    if not isinstance(values, dict):
        return UnreadableError("not a JSON object")
    try:
        "".join(values).encode("utf-8")
    except UnicodeEncodeError:
        return UnreadableError("a column's name is not valid UTF-8")
    return values
