"""Tool calls in the form that most open models write: `<tool_call>{"name": ..., ...}</tool_call>`.

A call is an answer: it ends thinking, and nothing is ever forced into it.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping

from s1x.serve.refusal import Json

BEGIN, END = "<tool_call>", "</tool_call>"
_CALL = re.compile(re.escape(BEGIN) + r"(.*?)(?:" + re.escape(END) + r"|\Z)", re.DOTALL)


def calls_in(text: str) -> tuple[str, list[Json]]:
    """The text before the first call, and the calls; what is no call stays text."""
    calls: list[Json] = []
    for found in _CALL.finditer(text):
        try:
            said = json.loads(found[1])
        except (ValueError, RecursionError):
            return text, []
        if not isinstance(said, dict) or not isinstance(said.get("name"), str):
            return text, []
        arguments = said.get("arguments", said.get("parameters", {}))
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        function = {"name": said["name"], "arguments": arguments}
        calls.append(
            {"id": f"call_{secrets.token_hex(8)}", "type": "function", "function": function}
        )
    return (text.partition(BEGIN)[0].rstrip(), calls) if calls else (text, [])


def readable(call: object) -> object:
    """A call of an earlier turn as templates want it: its arguments as an object, not as text."""
    if not isinstance(call, Mapping) or not isinstance(call.get("function"), Mapping):
        return call
    function = dict(call["function"])
    if isinstance(function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(function["arguments"])
        except (ValueError, RecursionError):
            return call
    return {**call, "function": function}
