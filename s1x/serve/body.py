"""What a request says: the fields of OpenAI's protocol, checked one by one.

A field that is not known is refused, and so is one that asks for what this server does not do. A
null is as good as nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from s1x.serve.dialects import DIALECTS, Budget, read_dialects
from s1x.serve.policies import Policies
from s1x.serve.refusal import Json, RefusedError, shown, unknown, wrong
from s1x.serve.serve import BOTH, MERGED, REASONING_FORMATS, Serve

T = TypeVar("T")
HIDDEN = "hidden"
_CHAT, _TEXT = ("messages", "tools", "tool_choice"), ("prompt",)
_KNOWN = (
    *("model", "stream", "stream_options", "n", "temperature", "top_p", "seed", "stop"),
    *("max_tokens", "max_completion_tokens", "budget"),
    *("reasoning_format", "include_reasoning", "separate_reasoning"),
    *dict.fromkeys(dialect.field.partition(".")[0] for dialect in DIALECTS),
)
#: notes about a request, which change nothing
_LABELS = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key")
#: fields that are served only where they ask for nothing
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "logprobs": (False, 0),
    "top_logprobs": (0,),
    "top_k": (-1, 0),
    "min_p": (0,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "parallel_tool_calls": (True,),
    "skip_special_tokens": (False,),
}


@dataclass(frozen=True)
class Ask:
    """A request, understood.

    Attributes:
        model: as the request names it.
        prompts: conversations or texts (or ids) that are each answered.
        budget: what is asked of the policy.
        stream, include_usage: how the answer comes.
        num_samples: answers to each prompt.
        temperature, top_p: None: the server's own.
        seed: None: a fresh one.
        stop: strings that end an answer.
        max_tokens: of thinking, delimiters and answer together; None: as the policy has it.
        limit_field: the field that said so.
        reasoning_format: one of `REASONING_FORMATS`, or `HIDDEN`.
        tools: the tools that the model may call.
    """

    model: str
    prompts: tuple[object, ...]
    budget: Budget
    stream: bool
    include_usage: bool
    num_samples: int
    temperature: float | None
    top_p: float | None
    seed: int | None
    stop: tuple[str, ...]
    max_tokens: int | None
    limit_field: str
    reasoning_format: str
    tools: tuple[Json, ...] = ()


def parse(raw: bytes) -> Json:
    """The JSON object of a body.

    Raises:
        RefusedError: it is none.
    """
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # half of a surrogate pair is no text
    except UnicodeError:
        raise RefusedError("the body must be JSON in UTF-8") from None
    except RecursionError:
        raise RefusedError("the body is nested too deeply") from None
    except RefusedError:
        raise
    except ValueError as error:
        raise RefusedError(f"the body must be JSON ({str(error)[:100]})") from None
    if not isinstance(value, dict):
        raise RefusedError("the body must be a JSON object")
    return value


def _object(pairs: list[tuple[str, object]]) -> Json:
    found: Json = {}
    for key, value in pairs:
        if key in found:
            raise RefusedError(f"the body says {shown(key)} twice", key[:60])
        found[key] = value
    return found


def _constant(name: str) -> object:
    raise RefusedError(f"{name} is not a number in JSON")


class Reader:
    """Takes typed values out of a body."""

    def __init__(self, body: Json) -> None:
        self.body = body

    def get(self, field: str, kind: type[T], must: str, fits: Callable[[T], bool]) -> T | None:
        """The value of a field; None where it is not given.

        Raises:
            RefusedError: it is not of the kind, or does not fit.
        """
        value = self.body.get(field)
        if value is None:
            return None
        if kind is float and type(value) is int and abs(value) < 1 << 53:
            value = float(value)
        if type(value) is not kind or not fits(value):
            raise wrong(field, must, value)
        return value

    def number(self, field: str, low: float, high: float) -> float | None:
        """A number between two others."""
        must = f"a number from {low:g} to {high:g}"
        return self.get(field, float, must, lambda v: math.isfinite(v) and low <= v <= high)

    def whole(self, field: str, low: int, high: int, must: str) -> int | None:
        """A whole number between two others."""
        return self.get(field, int, must, lambda v: low <= v <= high)

    def flag(self, field: str) -> bool | None:
        """true or false."""
        return self.get(field, bool, "true or false", lambda _: True)


def understand(
    body: Json,
    chat: bool,
    path_policy: str | None,
    policies: Policies,
    model_name: str,
    settings: Serve,
) -> Ask:
    """A request from its body.

    Args:
        body: the JSON object.
        chat: whether it has messages; else it has a prompt.
        path_policy: the policy that the path names.
        policies, model_name, settings: of the server.

    Raises:
        RefusedError: the first field that is wrong.
    """
    _refuse_others(body, chat)
    read = Reader(body)
    budget = Budget()
    if path_policy:
        policies.read(path_policy, "the path", budget)
    model = read.get("model", str, f"a name such as {model_name}", lambda v: len(v) < 1000)
    read_model(model or model_name, model_name, policies, budget)
    if (asked := body.get("budget")) is not None:
        policies.read_object(asked, budget)
    read_dialects(body, policies.efforts, budget)
    limit, limit_field = _limit(read)
    options = read.get("stream_options", dict, "an object with include_usage", _only_usage) or {}
    most = settings.max_samples
    must = f"a whole number from 1 to {most} (serve.max_samples)"
    return Ask(
        model=model or model_name,
        prompts=(_conversation(body),) if chat else _texts(body),
        budget=budget,
        stream=bool(read.flag("stream")),
        include_usage=options.get("include_usage") is True,
        num_samples=read.whole("n", 1, most, must) or 1,
        temperature=read.number("temperature", 0, 100),
        top_p=read.get("top_p", float, "a number above 0, at most 1", lambda v: 0 < v <= 1),
        seed=read.whole("seed", -(1 << 63), (1 << 64) - 1, "a whole number of 64 bits"),
        stop=_stops(body.get("stop")),
        max_tokens=limit,
        limit_field=limit_field,
        reasoning_format=_reasoning_format(read, settings.reasoning_format),
        tools=_tools(body) if chat else (),
    )


def _refuse_others(body: Json, chat: bool) -> None:
    known = {*_KNOWN, *(_CHAT if chat else _TEXT), *_LABELS, *_NEUTRAL}
    for field, value in body.items():
        if field not in known:
            raise unknown(field[:60], value, sorted(known))
        neutral = _NEUTRAL.get(field, (value,))
        if value is not None and value not in neutral:
            raise wrong(field, f"{' or '.join(map(json.dumps, neutral))} here", value)


def read_model(model: str, own: str, policies: Policies, budget: Budget) -> None:
    """Adds what a model's name says after its @.

    Raises:
        RefusedError: it is not the model that is served, or says no policy.
    """
    name, at, policy = model.partition("@") if not own.count("@") else (model, "", "")
    if name != own:
        raise RefusedError(
            f"model {shown(model)} is not served here; there is {own}, and {own}@<policy>",
            "model",
            404,
            "model_not_found",
        )
    if at:
        policies.read(policy, "model", budget)


def _limit(read: Reader) -> tuple[int | None, str]:
    found: int | None = None
    place = ""
    for field in ("max_tokens", "max_completion_tokens"):
        value = read.whole(field, 1, 1 << 53, "a number of tokens, 1 or more")
        if value is not None and found is not None and value != found:
            raise RefusedError(f"{place} ({found}) and {field} ({value}) disagree", field)
        if value is not None:
            found, place = value, field
    return found, place


def _only_usage(options: Json) -> bool:
    others = {key: value for key, value in options.items() if key != "include_usage"}
    is_flag = isinstance(options.get("include_usage"), bool | None)
    return is_flag and others in ({}, {"continuous_usage_stats": False})


def _stops(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > 16:
        raise wrong("stop", "a string, or a list of 16 strings at most", value)
    for stop in stops:
        if not isinstance(stop, str) or not 0 < len(stop) <= 1000:
            raise wrong("stop", "strings of 1 to 1000 characters", stop)
    return tuple(stops)


def _reasoning_format(read: Reader, own: str) -> str:
    formats = {"none": MERGED, "auto": own, "deepseek": "reasoning_content", HIDDEN: HIDDEN}
    formats |= {name: name for name in REASONING_FORMATS}
    must = f"one of {', '.join(formats)}"
    asked = read.get("reasoning_format", str, must, lambda v: v in formats)
    chosen = formats[asked] if asked else own
    if read.flag("separate_reasoning") is False:
        chosen = MERGED
    elif read.flag("separate_reasoning") and chosen == MERGED:
        chosen = BOTH
    reasoning = read.body.get("reasoning")
    exclude = isinstance(reasoning, dict) and Reader(reasoning).flag("exclude")
    return HIDDEN if exclude or read.flag("include_reasoning") is False else chosen


# -- what is asked ---------------------------------------------------------------------------------

_ROLES = ("system", "developer", "user", "assistant", "tool")
_MESSAGE = (
    *("role", "content", "name", "reasoning_content", "reasoning", "tool_calls", "tool_call_id"),
)
#: fields that replies of other servers have too; they are null where a conversation goes on here
_REPLY = ("refusal", "annotations", "audio", "function_call", "reasoning_details")


def _conversation(body: Json) -> list[Json]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise wrong("messages", "a list of messages", messages)
    found = [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]
    if found[-1]["role"] not in ("user", "tool"):
        raise wrong("messages", "ended by a user's message", found[-1]["role"])
    return found


def _message(message: object, place: str) -> Json:
    if not isinstance(message, dict):
        raise wrong(place, "an object with role and content", message)
    for key, value in message.items():
        if key not in _MESSAGE and not (key in _REPLY and not value):
            raise unknown(f"{place}.{key[:60]}", value, sorted(_MESSAGE))
    role = message.get("role")
    if role not in _ROLES:
        raise wrong(f"{place}.role", f"one of {', '.join(_ROLES)}", role)
    calls = message.get("tool_calls")
    content = message.get("content")
    if content is None and role == "assistant":
        content = ""
    found: Json = {"role": role, "content": _content(content, f"{place}.content")}
    thought = message.get("reasoning_content") or message.get("reasoning")
    if thought is not None:
        found["reasoning_content"] = _content(thought, f"{place}.reasoning_content")
    if calls is not None:
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise wrong(f"{place}.tool_calls", "a list of calls", calls)
        found["tool_calls"] = calls
    for key in ("name", "tool_call_id"):
        if (value := message.get(key)) is not None:
            if not isinstance(value, str):
                raise wrong(f"{place}.{key}", "a string", value)
            found[key] = value
    return found


def _content(content: object, place: str) -> str:
    """Text, or parts of it, one line each."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise wrong(place, "a string or a list of parts of text", content)
    texts = []
    for i, part in enumerate(content):
        text = part.get("text") if isinstance(part, dict) else None
        if not isinstance(part, dict) or part.get("type") not in ("text", "input_text"):
            raise wrong(f"{place}[{i}]", 'a part of text {"type": "text", "text": ...}', part)
        if not isinstance(text, str):
            raise wrong(f"{place}[{i}].text", "a string", text)
        texts.append(text)
    return "\n".join(texts)


def _texts(body: Json) -> tuple[object, ...]:
    """Prompts of the completions endpoint: a text or ids, or a list of them."""
    prompt = body.get("prompt")
    one = isinstance(prompt, str) or (isinstance(prompt, list) and _are_ids(prompt))
    prompts = [prompt] if one else prompt
    if not isinstance(prompts, list) or not 0 < len(prompts) <= 128:
        raise wrong("prompt", "a text, a list of token ids, or up to 128 of them", prompt)
    for text in prompts:
        if not (isinstance(text, str) and text) and not (isinstance(text, list) and _are_ids(text)):
            raise wrong("prompt", "a text that is not empty, or a list of token ids", text)
    return tuple(prompts)


def _are_ids(value: list[object]) -> bool:
    return bool(value) and all(type(token) is int for token in value)


def _tools(body: Json) -> tuple[Json, ...]:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if tools is None or tools == []:
        if choice not in (None, "none", "auto"):
            raise wrong("tool_choice", "none or auto without tools", choice)
        return ()
    if not isinstance(tools, list) or not all(map(_is_tool, tools)):
        must = 'a list of {"type": "function", "function": {"name": ..., ...}}'
        raise wrong("tools", must, tools)
    if choice not in (None, "auto", "none"):
        raise wrong("tool_choice", "auto or none", choice, "a call cannot be forced here")
    return () if choice == "none" else tuple(tools)


def _is_tool(tool: object) -> bool:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    return (
        isinstance(function, dict)
        and isinstance(tool, Mapping)
        and tool.get("type") == "function"
        and isinstance(function.get("name"), str)
    )
