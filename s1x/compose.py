"""Between Hydra and the options: their classes as schemas, and composed nodes as checked objects.

`/schema/<group>/<name>` is made from the option's class when asked for. A configuration names its
schemas in its defaults (`- /schema/budget@_here_: budget_forcing`), so only the modules of the
options in use are ever imported. An extension names its own class by its dotted path:
`- /schema/budget@_here_: mine.policy.ThinkTwice`. Hydra and OmegaConf then check keys and types
while composing; `build` makes the object, which checks its limits.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from s1x.classes import load_named, nearest
from s1x.errors import SettingError, UnknownSettingError, UserError
from s1x.option import Option, option_class

T = TypeVar("T")
AnOption = TypeVar("AnOption", bound=Option)
ROOT = Path(__file__).resolve().parent.parent
#: in a clone beside the package, in a wheel inside it
CONF = ROOT / "conf" if (ROOT / "conf" / "config.yaml").is_file() else ROOT / "s1x" / "conf"
#: the group whose node stands beside the other groups, not below a key of its own
ROOT_GROUP = "root"


def register() -> None:
    """Makes the schemas known to Hydra. Safe to call twice."""
    for plugin in (Schemas, SchemaPath):
        Plugins.instance().register(plugin)


@cache
def extension_folders() -> tuple[Path, ...]:
    """The `conf/` of each installed package that names itself in the entry points `s1x.extensions`.

    Its options then stand beside s1x's own. The laptop world is such a package; another one says
    in its pyproject.toml

        [project.entry-points."s1x.extensions"]
        my_options = "my_package"
    """
    packages = sorted({entry.value for entry in entry_points(group="s1x.extensions")})
    found = [spec for package in packages if (spec := find_spec(package)) is not None]
    places = [Path(place) for spec in found for place in spec.submodule_search_locations or ()]
    return tuple(place / "conf" for place in places if (place / "conf").is_dir())


def conf_folders() -> tuple[Path, ...]:
    """Where options stand as YAML: s1x's own `conf/` and those of installed extensions."""
    return (CONF, *extension_folders())


class SchemaPath(SearchPathPlugin):
    """Puts the schemas on Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Appends them, then the extensions' folders: a user's own may not be shadowed."""
        if not any(element.path == "s1x://" for element in search_path.get_path()):
            search_path.append("s1x", "s1x://")
            for folder in extension_folders():
                search_path.append("s1x extension", f"file://{folder}")


class Schemas(ConfigSource):
    """The source of `schema/<group>/<name>`; the option's class decides that it is there."""

    @staticmethod
    def scheme() -> str:
        """`s1x://`"""
        return "s1x"

    def available(self) -> bool:
        """Always."""
        return True

    def load_config(self, config_path: str) -> ConfigResult:
        """The schema of the class."""
        _, group, name = config_path.removesuffix(".yaml").split("/")
        node = copy.deepcopy(schema(group, name))
        return ConfigResult("s1x", "s1x://", node, header={"package": None}, is_schema_source=True)

    def is_group(self, config_path: str) -> bool:
        """`schema` and what stands one below it."""
        parts = config_path.strip("/").split("/")
        return parts[0] in ("", "schema") and len(parts) <= 2

    def is_config(self, config_path: str) -> bool:
        """Whether the option's class can be found."""
        parts = config_path.strip("/").removesuffix(".yaml").split("/")
        if len(parts) != 3 or parts[0] != "schema":
            return False
        try:
            option_class(parts[1], parts[2], "schema")
        except UserError:
            return False
        return True

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Nothing: options are listed by their YAML files."""
        return []


@cache
def schema(group: str, name: str) -> DictConfig:
    """The node of an option: its fields, types and defaults, and the class in `_target_`."""
    node = _writable(_schema(option_class(group, name, f"schema of {group}")))
    return _open(node) if group == ROOT_GROUP else node


def _schema(cls: type[Option]) -> type:
    target = dataclasses.field(default=f"{cls.__module__}.{cls.__qualname__}")
    fields = [("_target_", str, target)]
    return dataclasses.make_dataclass(cls.__name__, fields, bases=(cls,), frozen=True)


def _writable(schema: type[Option]) -> DictConfig:
    """The schema as a node that YAML may change (OmegaConf makes frozen classes read-only).

    Mappings such as `columns` take new keys from the command line too.
    """
    node: DictConfig = OmegaConf.structured(schema)
    pending: list[object] = [node]
    while pending:
        found = pending.pop()
        if isinstance(found, DictConfig) and not found._is_none() and not found._is_missing():
            OmegaConf.set_readonly(found, None)
            if not dataclasses.is_dataclass(found._metadata.object_type):
                OmegaConf.set_struct(found, False)  # a mapping whose keys are the user's
            pending += [found._get_node(key) for key in found]
    return node


def _open(node: DictConfig) -> DictConfig:
    """The root's typed settings as a plain node, beside which the groups can stand."""
    typed = {key: node._get_node(key) for key in node if key != "_target_"}
    return DictConfig(typed)


def build(node: object, key: str, base: type[T]) -> T:
    """The object that a configuration node describes.

    Args:
        node: a node with `_target_` and the fields of that class.
        key: where the node stands ("budget"), put before the field in errors.
        base: what the object must be, whoever wrote its class.

    Raises:
        UserError: a class that cannot be imported, a field it does not have, or a wrong value.
    """
    values = plain(node, key)
    target = values.pop("_target_", None)
    if not target:
        raise UserError(f"{key} must name its class in _target_; see conf/{key.split('.')[0]}/")
    cls: Any = load_named(target, f"{key}._target_")
    if dataclasses.is_dataclass(cls):
        hints = typing.get_type_hints(cls)
        _refuse_unknown(cls, values, key)
        for name, value in values.items():
            if dataclasses.is_dataclass(hints[name]) and isinstance(value, dict):
                values[name] = _made(hints[name], value, f"{key}.{name}")
    made = _made(cls, values, key)
    if not isinstance(made, base):
        raise UserError(
            f"{key}._target_ must name a {base.__name__} ({base.__module__}), "
            f"got {type(made).__name__}"
        )
    return made


def made(
    cls: type[AnOption], values: Mapping[str, object], key: str, check_types: bool = True
) -> AnOption:
    """An option of a class from values that Hydra has not checked.

    Raises:
        UserError: a setting that it does not have, or a value that cannot be, naming `key`.
    """
    _refuse_unknown(cls, values, key)
    if check_types:
        values = {name: typed(cls, name, value, f"{key}.{name}") for name, value in values.items()}
    option = _made(cls, values, key)
    assert isinstance(option, cls)
    return option


def _refuse_unknown(cls: Any, values: Mapping[str, object], key: str) -> None:
    names = [field.name for field in dataclasses.fields(cls)]
    renamed = cls.renamed if issubclass(cls, Option) else {}
    for name in values:
        if name in renamed:
            raise UserError(f"{key}.{name} is now called {renamed[name]}")
        if name not in names:
            hint = nearest(name, names, f"it has {', '.join(names) or 'none'}")
            raise UnknownSettingError(f"{key}.{name}", cls.__name__, values[name], hint)


def _made(cls: Callable[..., object], values: Mapping[str, object], key: str) -> object:
    try:
        return cls(**values)
    except SettingError as error:
        raise error.under(key) from None
    except TypeError as error:
        raise UserError(f"{key}: {error}") from None


def plain(node: object, key: str) -> dict[str, Any]:
    """The values of a node, interpolations resolved.

    Raises:
        UserError: it is no group of settings, or refers to what is not there.
    """
    if not isinstance(node, DictConfig):
        raise UserError(f"{key} must be a group of settings, got {node!r}; set {key}.<setting>=...")
    try:
        values = OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{key}: {str(error).splitlines()[0]}") from None
    assert isinstance(values, dict)
    return {str(k): v for k, v in values.items()}


def typed(cls: type[Option], name: str, value: object, key: str) -> object:
    """A value given in Python as the setting's type has it; nothing in it is interpolated.

    Raises:
        SettingError: it is of another type, naming `key`.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(cls), {name: value})
        return OmegaConf.to_container(merged, resolve=False)[name]  # type: ignore[index,call-overload,no-any-return]
    except OmegaConfBaseException as error:
        raise SettingError(key, "of its type", value, str(error).splitlines()[0]) from None


def option_named(
    group: str, name: str, key: str, base: type[T], settings: Mapping[str, object] | None = None
) -> T:
    """The option of a group with this name, whatever the run uses, with some settings changed.

    Args:
        group, name: `conf/<group>/<name>.yaml`.
        key: where the name stands, for the error.
        base: what the option is.
        settings: those that differ.

    Raises:
        UserError: a name that conf/<group> does not have, a setting that the option does not have.
    """
    with contextlib.ExitStack() as stack:
        if not GlobalHydra.instance().is_initialized():  # not below `python run.py`
            register()
            stack.enter_context(initialize_config_dir(str(CONF), version_base="1.3"))
        _check_option(group, name, key)
        cfg = compose("config", overrides=[f"{group}={name}"])
        try:
            OmegaConf.update(cfg, group, dict(settings or {}), merge=True)
        except OmegaConfBaseException as error:
            raise UserError(f"{key}, {name}: {str(error).splitlines()[0]}") from None
        return build(cfg[group], group, base)


def options_named(group: str, names: Sequence[str], key: str, base: type[T]) -> dict[str, T]:
    """The options of a group that can hold several, by name, as `option_named` has one.

    Raises:
        UserError: a name that conf/<group> does not have; only while a job runs.
    """
    for name in names:
        _check_option(group, name, key)
    if not names:
        return {}
    node = compose("config", overrides=[f"{group}=[{','.join(names)}]"])[group]
    return {name: build(node[name], f"{group}.{name}", base) for name in map(str, node)}


def option_names(group: str) -> list[str]:
    """The options of a group, the user's own (--config-dir) included; only while a job runs."""
    return list(GlobalHydra.instance().config_loader().get_group_options(group))


def _check_option(group: str, name: str, key: str) -> None:
    known = option_names(group)
    if name not in known:
        raise UserError(
            f"{key} names {name}, which is no option of {group}; "
            + (nearest(name, known) or f"there are {', '.join(known)}")
        )
