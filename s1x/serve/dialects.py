"""Every way in which a client asks for a thinking budget, as one table.

A row says where a value stands in the body, what kind of value it is, and whose dialect it is. All
that are given must agree; the setting they come to is the policy's `max_thinking_tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from s1x.serve.refusal import Json, RefusedError, shown, unknown, wrong

TOKENS, EFFORT, SWITCH, KIND = "tokens", "effort", "switch", "kind"
#: the setting of a policy that the budgets of the dialects become
LIMIT = "max_thinking_tokens"
_KINDS = {"enabled": True, "adaptive": True, "disabled": False}


@dataclass(frozen=True)
class Dialect:
    """One field.

    Attributes:
        field: its path in the body.
        value: TOKENS (-1 where `unlimited`: no limit), EFFORT (a word of `serve.efforts`), SWITCH
            (false: no thinking; true: as the server does it), KIND (the same in words).
        origin: who reads it so.
        unlimited: whether -1 means no limit.
    """

    field: str
    value: str
    origin: str
    unlimited: bool = False


DIALECTS = (
    Dialect("reasoning_effort", EFFORT, "OpenAI, vLLM"),
    Dialect("reasoning.effort", EFFORT, "OpenRouter, OpenAI's responses"),
    Dialect("output_config.effort", EFFORT, "Anthropic"),
    Dialect("chat_template_kwargs.reasoning_effort", EFFORT, "vLLM, SGLang"),
    Dialect("reasoning.max_tokens", TOKENS, "OpenRouter"),
    Dialect("reasoning.enabled", SWITCH, "OpenRouter"),
    Dialect("thinking.budget_tokens", TOKENS, "Anthropic"),
    Dialect("thinking.type", KIND, "Anthropic"),
    Dialect("thinking_token_budget", TOKENS, "vLLM", unlimited=True),
    Dialect("thinking_budget_tokens", TOKENS, "llama.cpp", unlimited=True),
    Dialect("reasoning_budget_tokens", TOKENS, "llama.cpp", unlimited=True),
    Dialect("thinking_budget", TOKENS, "DashScope, mlx-lm"),
    Dialect("enable_thinking", SWITCH, "DashScope"),
    Dialect("chat_template_kwargs.enable_thinking", SWITCH, "vLLM, SGLang"),
    Dialect("chat_template_kwargs.thinking", SWITCH, "vLLM, SGLang"),
    Dialect("chat_template_kwargs.thinking_budget", TOKENS, "vLLM"),
    Dialect("nvext.max_thinking_tokens", TOKENS, "NVIDIA NIM"),
    Dialect("custom_params.thinking_budget", TOKENS, "SGLang"),
    Dialect("extra_body.google.thinking_config.thinking_budget", TOKENS, "Gemini", unlimited=True),
)
#: fields of the body that hold rows of the table; OpenRouter's `reasoning` holds `exclude` too
CONTAINERS = tuple(dict.fromkeys(d.field.partition(".")[0] for d in DIALECTS if "." in d.field))
_BESIDE = {"reasoning.exclude"}


class Budget:
    """What a request asks for, in however many places: they must agree.

    Attributes:
        policy: name of the option, None where the server's own is meant.
        settings: of the policy.
        sources: setting → where it was asked for.
        asked: each of those places → the value that stood there.
        on: the place, with its value, that asks for thinking; None where none does.
    """

    def __init__(self) -> None:
        self.policy: str | None = None
        self.settings: dict[str, object] = {}
        self.sources: dict[str, str] = {}
        self.asked: dict[str, object] = {}
        self.on: str | None = None
        self._policy_source = ""

    def name_policy(self, name: str, source: str) -> None:
        """A policy, by name."""
        if self.policy not in (None, name):
            named = f"{self._policy_source} ({shown(self.policy)}) and {source} ({shown(name)})"
            raise RefusedError(f"{named} name two budget policies; name one", source)
        self.asked[source] = self.policy = name
        self._policy_source = source

    def set(self, name: str, value: object, source: str, said: object = None) -> None:
        """A setting of the policy; `said` is how the request put it."""
        said = value if said is None else said
        if name in self.settings and self.settings[name] != value:
            place = self.sources[name]
            raise RefusedError(
                f"{place} ({shown(self.asked[place])}) and {source} ({shown(said)}) disagree: "
                f"{name} would be {shown(self.settings[name])} and {shown(value)}; give one",
                source,
            )
        if self.on is not None and name == LIMIT and value == 0:
            raise RefusedError(f"{self.on} and {source} ({shown(said)}) disagree", source)
        self.asked[source] = said
        self.settings.setdefault(name, value)
        self.sources.setdefault(name, source)

    def switch(self, on: bool, source: str, said: object) -> None:
        """Thinking is wanted, or is not."""
        if not on:
            self.set(LIMIT, 0, source, said)
            return
        self.asked[source] = said
        self.on = f"{source} ({shown(said)})"
        if self.settings.get(LIMIT) == 0:
            place = self.sources[LIMIT]
            raise RefusedError(
                f"{place} ({shown(self.asked[place])}) and {self.on} disagree", source
            )


def read_dialects(body: Json, efforts: Mapping[str, int | None], budget: Budget) -> None:
    """Adds what the rows of the table say in a body.

    Raises:
        RefusedError: a value that cannot be, two that disagree, or a field beside the known ones.
    """
    known = {d.field for d in DIALECTS} | _BESIDE
    for container in CONTAINERS:
        _refuse_unknown(body.get(container), container, known)
    for dialect in DIALECTS:
        value: object = body
        for key in dialect.field.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            _add(dialect, value, efforts, budget)


def _refuse_unknown(value: object, place: str, known: set[str]) -> None:
    if value is None or place in known:
        return
    fields = sorted({f[len(place) + 1 :] for f in known if f.startswith(place + ".")})
    if not isinstance(value, dict):
        raise wrong(place, f"an object with {', '.join(fields)}", value)
    for key, inner in value.items():
        inside = f"{place}.{key}"
        if not any(field == inside or field.startswith(inside + ".") for field in known):
            raise unknown(inside, inner, fields, f"{place} has")
        _refuse_unknown(inner, inside, known)


def _add(
    dialect: Dialect, value: object, efforts: Mapping[str, int | None], budget: Budget
) -> None:
    field = dialect.field
    if dialect.value == EFFORT:
        if not isinstance(value, str) or value not in efforts:
            raise wrong(field, f"one of {', '.join(efforts)}", value)
        if efforts[value] == 0:
            budget.switch(False, field, value)
        else:
            budget.set(LIMIT, efforts[value], field, value)
    elif dialect.value == SWITCH:
        if not isinstance(value, bool):
            raise wrong(field, "true or false", value)
        budget.switch(value, field, value)
    elif dialect.value == KIND:
        if not isinstance(value, str) or value not in _KINDS:
            raise wrong(field, f"one of {', '.join(_KINDS)}", value)
        budget.switch(_KINDS[value], field, value)
    else:
        lowest = -1 if dialect.unlimited else 0
        if type(value) is not int or value < lowest:
            must = "thinking tokens, 0 or more" + (" (-1: no limit)" if dialect.unlimited else "")
            raise wrong(field, must, value)
        budget.set(LIMIT, None if value == -1 else value, field, value)
