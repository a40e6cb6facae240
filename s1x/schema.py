"""Hydra's view of the options: `/schema/<group>/<name>` is made from the class when asked for.

A configuration names its schemas in its defaults (`- /schema/budget@_here_: budget_forcing`), so
only the modules of the options in use are ever imported. An extension names its own class by its
dotted path: `- /schema/budget@_here_: mine.policy.ThinkTwice`.
"""

from __future__ import annotations

import copy
import dataclasses
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from s1x.errors import UserError
from s1x.option import Option, option_class

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
    pending: list[Any] = [node]
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
