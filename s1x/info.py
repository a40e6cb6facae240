"""What an option is and which settings it has, read from its declaration.

`s1x --info budget.early_exit` prints it, and the documentation's reference is made of it.
"""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path

import yaml
from omegaconf import OmegaConf

from s1x.classes import nearest
from s1x.compose import conf_folders
from s1x.config import PARTS
from s1x.errors import UserError
from s1x.messages import groups, options_of
from s1x.option import PACKAGES, REGISTRY, Option, option_class

#: what a setting without a default shows
REQUIRED = "required"
LIMITS = {"at_least": "at least", "above": "more than", "at_most": "at most"}


@dataclass(frozen=True)
class SettingInfo:
    """One setting, as text for people."""

    name: str
    type: str
    default: str
    limits: str
    doc: str
    affects_result: bool


@dataclass(frozen=True)
class OptionInfo:
    """One option.

    Attributes:
        name: as `--info` takes it, "budget.early_exit".
        doc: what the class says of itself.
        notes: what the YAML file says at its top.
        cls: the class of the option.
        values: the settings for which the YAML file has a value of its own, not resolved.
    """

    name: str
    doc: str
    notes: str
    cls: type[Option]
    values: dict[str, object] = field(default_factory=dict)

    def settings(self) -> Iterator[SettingInfo]:
        """Its settings in the order of their declaration."""
        for declared in dataclasses.fields(self.cls):
            if not declared.init or declared.name.startswith("_"):
                continue
            value: object = declared.default
            if declared.default_factory is not MISSING:
                value = declared.default_factory()
            about = declared.metadata
            yield SettingInfo(
                declared.name,
                str(declared.type),
                _yaml(self.values.get(declared.name, value)),
                _limits(about),
                str(about.get("doc", "")),
                bool(about.get("affects_result", True)),
            )

    def text(self) -> str:
        """The page that `--info` prints."""
        lines = [f"{self.name}: {self.doc}", ""]
        if self.notes:
            lines += [textwrap.fill(self.notes, 96), ""]
        for known in self.settings():
            limits = f" ({known.limits})" if known.limits else ""
            lines.append(f"  {known.name}: {known.type} = {known.default}")
            lines += textwrap.wrap(
                known.doc + limits, 90, initial_indent=" " * 6, subsequent_indent=" " * 6
            )
        if self.cls is Option:
            lines += ["  " + line for line in OmegaConf.to_yaml(self.values).splitlines()]
        return "\n".join(lines).rstrip()


def info(name: str) -> OptionInfo:
    """The option of that name.

    Args:
        name: "budget.early_exit", a part such as "grader.math" or "selection_step.looping", or the
            name of settings that stand alone, such as "sampling".

    Raises:
        UserError: there is none, with the names there are.
    """
    group, _, option = name.replace("/", ".").partition(".")
    if group in PARTS and not option:
        return _declared(name, option_class(group, group, "--info"))
    known = options_of(group) if group in groups() else parts_of(group)
    if option not in known:
        names = known or sorted({*groups(), *PACKAGES, *PARTS})
        hint = nearest(option if known else group, names, "there are " + ", ".join(names))
        raise UserError(f"--info {name}: no such option; {hint}")
    file = next((p for c in conf_folders() if (p := c / group / f"{option}.yaml").is_file()), None)
    if file is None:
        return _declared(name, option_class(group, option, "--info"))
    return _from_yaml(name, group, file)


def parts_of(group: str) -> list[str]:
    """The options of a group that has no YAML files (graders, selection steps)."""
    if group not in PACKAGES:
        return []
    try:
        option_class(group, "?", group)
    except UserError:  # now every module of the group has been imported
        return sorted(REGISTRY[group])
    return []


def _declared(name: str, cls: type[Option]) -> OptionInfo:
    return OptionInfo(name, _doc(cls), "", cls)


def _from_yaml(name: str, group: str, file: Path) -> OptionInfo:
    loaded = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    assert isinstance(loaded, dict)
    defaults = [d for d in loaded.pop("defaults", []) if isinstance(d, dict)]
    schemas = [str(schema) for entry in defaults for schema in entry.values()]
    values: dict[str, object] = {str(key): value for key, value in loaded.items()}
    comments = [line for line in file.read_text(encoding="utf-8").splitlines() if line[:1] == "#"]
    notes = " ".join(c.lstrip("# ") for c in comments if not c.startswith("# @package"))
    if not schemas or group in ("experiment", "scale", "sweep"):
        return OptionInfo(name, notes, "", Option, values)
    cls = option_class(group, schemas[0], "--info")
    return OptionInfo(name, _doc(cls), notes, cls, values)


def _doc(cls: type[Option]) -> str:
    return inspect.cleandoc(cls.__doc__ or "")


def _yaml(value: object) -> str:
    """A value as YAML writes it in one line."""
    if value is MISSING or value == "???":
        return REQUIRED
    if dataclasses.is_dataclass(value):
        return "{...}"
    text = str(yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1 << 20))
    return text.removesuffix("...\n").strip()


def _limits(about: Mapping[str, object]) -> str:
    choices = about.get("choices")
    if isinstance(choices, tuple):
        return "one of " + ", ".join(map(str, choices))
    limits = {words: about.get(key) for key, words in LIMITS.items()}
    return ", ".join(f"{words} {limit}" for words, limit in limits.items() if limit is not None)
