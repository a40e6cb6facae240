"""Budget policies by name: in a model's name, in a path, or as the object `budget`.

puzzle-base@budget_forcing(num_waits=2)      puzzle-base@waits=2      puzzle-base@high
/v1/budget_forcing/chat/completions          /v1/waits=2/chat/completions
{"budget": {"policy": "budget_forcing", "num_waits": 2}}
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from s1x.budget.direct_answer import DirectAnswer
from s1x.budget.policy import Policy
from s1x.classes import nearest
from s1x.errors import SettingError, UserError
from s1x.serve.dialects import DIALECTS, LIMIT, Budget
from s1x.serve.refusal import RefusedError, shown, unknown, wrong

#: short names of settings
SHORT = {
    "waits": "num_waits",
    "wait": "wait_string",
    "max": "max_thinking_tokens",
    "min": "min_thinking_tokens",
    "target": "target_thinking_tokens",
    "steps": "max_steps",
    "tries": "max_tries",
    "traces": "num_traces",
    "checks": "num_unchanged_checks",
    "answer": "max_answer_tokens",
}
_FIELDS = {dialect.field for dialect in DIALECTS}
_NAMED = re.compile(r"([A-Za-z_][\w.]*)(?:\((.*)\))?", re.DOTALL)
_SETTING = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(\"(?:[^\"\\]|\\.)*\"|[^,]*?)\s*(?:,|$)")


@dataclass(frozen=True)
class Policies:
    """The policies that a server has.

    Attributes:
        own_name, own: the server's own, as its settings have it.
        presets: every option of `conf/budget`, as this scale sets it.
        efforts: effort word → thinking tokens.
    """

    own_name: str
    own: Policy
    presets: Mapping[str, Policy]
    efforts: Mapping[str, int | None]

    def read(self, text: str, source: str, budget: Budget) -> None:
        """Adds what `policy`, `policy(setting=value, ...)`, `setting=value, ...` or an effort says.

        Raises:
            RefusedError: it says none of these.
        """
        if "=" in text.partition("(")[0]:
            self._settings(text, source, budget)
            return
        named = _NAMED.fullmatch(text)
        if named is None:
            raise wrong(source, "a policy, or settings such as waits=2", text)
        name, settings = named.groups()
        if name in self.efforts and settings is None:
            budget.set(LIMIT, self.efforts[name], source, name)
            return
        self._check(name, source)
        budget.name_policy(name, source)
        if settings:
            self._settings(settings, source, budget)

    def _settings(self, text: str, source: str, budget: Budget) -> None:
        at = 0
        while at < len(text):
            found = _SETTING.match(text, at)
            if found is None:
                raise wrong(source, "settings such as waits=2,max=512", text)
            key, value = found.groups()
            budget.set(SHORT.get(key, key), _read(value), f"{source}, {key}")
            at = found.end()

    def read_object(self, value: object, budget: Budget) -> None:
        """Adds what the body's `budget` says."""
        if not isinstance(value, dict):
            raise wrong("budget", "an object of a policy's settings", value)
        for key, inner in value.items():
            if key == "policy":
                if not isinstance(inner, str):
                    raise wrong("budget.policy", f"one of {', '.join(self.presets)}", inner)
                self._check(inner, "budget.policy")
                budget.name_policy(inner, "budget.policy")
            else:
                budget.set(key, inner, f"budget.{key}")

    def _check(self, name: str, source: str) -> None:
        if name not in self.presets and name != self.own_name:
            raise unknown(source, name, self.presets, "the policies are")

    def make(self, budget: Budget) -> tuple[str, Policy]:
        """The policy that a request asks for, and its name.

        Raises:
            RefusedError: a setting that the policy has not, or a value that cannot be.
        """
        name = budget.policy or self.own_name
        base = self.own if name == self.own_name else self.presets[name]
        fields = {field.name for field in dataclasses.fields(base)}
        at_once = isinstance(base, DirectAnswer)
        values: dict[str, object] = {}
        for key, value in budget.settings.items():
            source = budget.sources[key]
            if key not in fields and key == LIMIT and value == (0 if at_once else None):
                continue  # no thinking or no limit, from a policy that knows no other
            if key not in fields:
                said = shown(budget.asked[source])
                text = f"{source} ({said}): budget policy {name} has no {key}; "
                hint = nearest(key, fields) if source.startswith(("budget", "model")) else ""
                has = f"it has {', '.join(sorted(fields))}"
                raise RefusedError(text + (hint or has), source, code="unknown_parameter")
            values[key] = _typed(base, key, value, source)
        if "force" in fields and budget.sources.get(LIMIT) in _FIELDS:
            values.setdefault("force", True)  # a limit of the protocol is one that is kept
        try:
            policy = dataclasses.replace(base, **values)  # type: ignore[arg-type]
        except SettingError as error:
            source = budget.sources.get(error.field, f"budget.{error.field}")
            must = SettingError(source, error.must, error.value, error.remedy)
            raise RefusedError(str(must), source) from None
        except UserError as error:
            raise RefusedError(f"budget: {error}", "budget") from None
        if budget.on and (at_once or policy.limits()[1] == 0):
            raise RefusedError(
                f"{budget.on} and budget policy {name} ({policy.label()}) disagree: it does not "
                "think; choose another policy or limit",
                "budget",
            )
        return name, policy


def _read(text: str) -> object:
    """A value as JSON has it, or the word itself."""
    try:
        value: object = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, (dict, list)) else value


def _typed(policy: Policy, name: str, value: object, source: str) -> object:
    """The value as the field's type has it; nothing in it is read as configuration."""
    if not _is_plain(value):
        raise wrong(source, "a plain value", value)
    try:
        return _converted(type(policy), name, json.dumps(value))  # type: ignore[arg-type]
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise RefusedError(f"{source} ({shown(value)}): {reason}", source) from None


@lru_cache(maxsize=4096)
def _converted(cls: type[Policy], name: str, value: str) -> object:
    node = OmegaConf.structured(cls)
    merged = OmegaConf.merge(node, {name: json.loads(value)})
    return OmegaConf.to_container(merged)[name]  # type: ignore


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(inner) for inner in value.values())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return not isinstance(value, str) or ("${" not in value and value != "???")
