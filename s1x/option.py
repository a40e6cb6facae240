"""Options: one frozen dataclass declares a swappable piece of s1x, once.

The class is the schema (Hydra checks keys and types against it), the defaults, the limits (checked
when it is built) and the documentation of an option; `conf/<group>/<name>.yaml` holds only what
differs. An option's module is imported when a configuration names it (`option_class`).

    @option("budget", "budget_forcing")
    @dataclass(frozen=True)
    class BudgetForcing(Option):
        num_waits: int = setting(0, "how many times the end of thinking is suppressed", at_least=0)
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Any, ClassVar, TypeVar

from s1x.classes import load_class, nearest, source_hash
from s1x.errors import SettingError, UserError

T = TypeVar("T", bound="type[Option]")

#: group → option name → class; filled by the decorator as option modules are imported.
REGISTRY: dict[str, dict[str, type[Option]]] = {}

#: the packages of each group's options, a module for each option, of its name; or their one module
PACKAGES = {
    "pool": "s1x.pool",
    "selection": "s1x.selection",
    "selection_step": "s1x.selection",
    "model": "s1x.model",
    "train": "s1x.train",
    "engine": "s1x.engine",
    "workers": "s1x.workers",
    "budget": "s1x.budget s1x.search",
    "benchmark": "s1x.benchmark",
    "grader": "s1x.benchmark",
    "tracker": "s1x.report",
    "scorer": "s1x.scorer",
    "import": "s1x.imports",
    "annotate": "s1x.annotate",
    "serve": "s1x.serve.serve",
    "sampling": "s1x.evaluate.settings",
    "evaluate": "s1x.evaluate.settings",
    "store": "s1x.evaluate.settings",
    "report": "s1x.report.settings",
    "prices": "s1x.report.settings",
    "export": "s1x.export.settings",
    "root": "s1x.config",
}


def setting(
    default: Any = MISSING,
    doc: str = "",
    *,
    factory: Callable[[], Any] | Any = MISSING,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    choices: Sequence[Any] | None = None,
    remedy: str = "",
    affects_result: bool = True,
) -> Any:
    """A dataclass field with its documentation and limits.

    Args:
        default: the default; none given means that the user must set the field ("???" in YAML).
        doc: one line, with the unit.
        factory: instead of a default, for lists and dicts.
        at_least: limit of a number (None values of optional fields pass).
        above: the same, the limit itself left out.
        at_most: limit of a number.
        choices: the values allowed.
        remedy: what the user should do instead, put at the end of the error.
        affects_result: False for what can change no result (hosts, ports, batch sizes of
            inference, how many checkpoints are kept): it stays out of fingerprints.
    """
    if default is MISSING and factory is MISSING:
        default = "???"  # OmegaConf's mark of a value that must be given
    metadata = {
        "doc": doc,
        "at_least": at_least,
        "above": above,
        "at_most": at_most,
        "choices": tuple(choices) if choices is not None else None,
        "remedy": remedy,
        "affects_result": affects_result,
    }
    return dataclasses.field(default=default, default_factory=factory, metadata=metadata)


@dataclass(frozen=True)
class Option:
    """Base of every option: checks the declared limits when an instance is made.

    `renamed` names the settings of earlier versions: {old name: new name}, for the error.

    Raises:
        SettingError: a value outside its limits, naming field, value and remedy.
    """

    renamed: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name), field.metadata)


def result_settings(option: Option) -> dict[str, object]:
    """What of an option can change a result, as plain values for a fingerprint.

    The settings marked `affects_result=False` are left out, in nested options too; the class is
    named, and a class that is not of s1x comes with the hash of its source.
    """
    cls = type(option)
    values: dict[str, object] = {"_target_": f"{cls.__module__}.{cls.__qualname__}"}
    if source := source_hash(cls):
        values["_source_"] = source
    for field in dataclasses.fields(option):
        if field.init and field.metadata.get("affects_result", True):
            values[field.name] = _plain(getattr(option, field.name))
    return values


def _plain(value: object) -> object:
    if isinstance(value, Option):
        return result_settings(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def _check(name: str, value: object, limits: Mapping[str, Any]) -> None:
    choices, remedy = limits.get("choices"), limits.get("remedy", "")
    if value == "???":
        raise SettingError(name, "set", None, remedy or f"give {name}=...")
    if value is None or not limits:
        return
    if choices is not None and value not in choices:
        raise SettingError(name, "one of " + ", ".join(map(str, choices)), value, remedy)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    at_least, above, at_most = (limits.get(k) for k in ("at_least", "above", "at_most"))
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingError(name, "a finite number", value, remedy)
    if at_least is not None and value < at_least:
        raise SettingError(name, f"{at_least} or more", value, remedy)
    if above is not None and value <= above:
        raise SettingError(name, f"more than {above}", value, remedy)
    if at_most is not None and value > at_most:
        raise SettingError(name, f"{at_most} or less", value, remedy)


def option_class(group: str, name: str, key: str) -> type[Option]:
    """The option's class; its module is imported now, if it was not before.

    Args:
        group: "budget", or a group of parts such as "grader".
        name: as registered, or the dotted path of a class of the user's own.
        key: the setting that names it, for the error.

    Raises:
        UserError: no such option, or a class that is none.
    """
    known = REGISTRY.setdefault(group, {})
    if name not in known and "." in name:
        found = load_class(name, key)
        if not issubclass(found, Option):
            raise UserError(f"{key} {name} must be an Option (s1x.option)")
        if missing := sorted(getattr(found, "__abstractmethods__", ())):
            raise UserError(f"{key} {name} lacks {', '.join(missing)}; write it in the class")
        return found
    if name not in known and group in PACKAGES:
        packages = [importlib.import_module(package) for package in PACKAGES[group].split()]
        places = {
            info.name: f"{package.__name__}.{info.name}"
            for package in packages
            for info in pkgutil.iter_modules(vars(package).get("__path__", []))
        }
        # the module of its name; one of another name is found by looking at all of them
        for module in [name, *places] if name in places else places:
            if name in known:
                break
            try:
                importlib.import_module(places[module])
            except ImportError:  # what a module of another name needs may be missing here
                if module == name:
                    raise
    if name not in known:
        must = f"one of {', '.join(sorted(known))}, or the dotted path of a class"
        raise SettingError(key, must, name, nearest(name, known))
    return known[name]


def option(group: str, name: str) -> Callable[[T], T]:
    """Registers an option class under `conf/<group>/<name>.yaml`'s schema."""

    def register(cls: T) -> T:
        options = REGISTRY.setdefault(group, {})
        assert name not in options, f"{group}/{name} declared twice"
        options[name] = cls
        return cls

    return register
