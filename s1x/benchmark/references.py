"""What a reference answer means, as data sets write it."""

from __future__ import annotations

import json
import re
from functools import lru_cache

from s1x.benchmark.extraction import last_boxed

#: GSM8K: the whole solution, and the answer after its last line's mark
_GSM8K = re.compile(r"####[ \t]*([^\n]+?)\s*\Z")
_ONE_IN_A_LIST = re.compile(r"""\[\s*(?:"([^"]*)"|'([^']*)'|([^\[\]",']+))\s*\]""")


@lru_cache(maxsize=4096)
def reference_text(answer: str) -> str:
    """The answer in a reference: in its box, after "#### ", or the one member of a list.

    `["2"]` is 2 (OlympiadBench), `["2", "3"]` is "2, 3"; `[1, 2]` stays, it may be an interval.
    """
    text = answer.strip().replace("\\\\boxed", "\\boxed")
    if found := _GSM8K.search(text):
        return found[1]
    _, boxed = last_boxed(text)
    if boxed is not None:
        return boxed.strip()
    if found := _ONE_IN_A_LIST.fullmatch(text):
        return next(part for part in found.groups() if part is not None).strip()
    if text.startswith('["') and text.endswith('"]'):
        try:
            return ", ".join(map(str, json.loads(text)))
        except (ValueError, RecursionError):
            return text
    return text
