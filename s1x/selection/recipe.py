"""A recipe: the steps that lead from a pool to the rows to train on, in order.

    size: 1000
    steps:
      - step: missing
      - step: looping
        max_loop_share: 0.3

`step` names a class registered in the group `selection_step`; the rest are its options, checked
when the configuration is read. Single options are changed from the command line by step name:
`+selection.override.looping.max_loop_share=0.5`.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from s1x.errors import SettingError
from s1x.option import REGISTRY, Option, option, result_settings, setting
from s1x.selection.step import Step

STEP_MODULES = ("quality", "loops", "language", "difficulty", "duplicates", "decontaminate", "draw")


@option("selection", "recipe")
@dataclass(frozen=True)
class Recipe(Option):
    """Which rows are chosen, as a list of steps (paper, section 2.2)."""

    name: str = setting("recipe", "of the recipe, on the dataset card")
    size: int | None = setting(1000, "rows to choose; null: all that the steps leave", at_least=1)
    steps: list[Any] = setting(factory=list, doc="[{step: name, option: value, ...}, ...]")
    override: dict[str, Any] = setting(
        factory=dict, doc="{step name: {option: value}}, laid over `steps`"
    )
    push_to_hub: str | None = setting(None, "hub id to upload the chosen rows to; null: not at all")
    private: bool = setting(True, "whether an uploaded data set is private")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.built()

    def built(self) -> list[tuple[str, Step]]:
        """The steps as (name, step) pairs.

        Raises:
            SettingError: an unknown step, an unknown option, a wrong value.
        """
        _import_steps()
        names = [s.get("step") if isinstance(s, Mapping) else None for s in self.steps]
        for name in self.override:
            if name not in names:
                known = ", ".join(map(str, names))
                raise SettingError("override", f"of steps in this recipe ({known})", name)
        return [self._build(place, values) for place, values in enumerate(self.steps)]

    def _build(self, place: int, values: Any) -> tuple[str, Step]:
        where = f"steps[{place}]"
        if not isinstance(values, Mapping) or "step" not in values:
            raise SettingError(where, "a mapping with a key step", values, "write {step: name}")
        options = {str(k): v for k, v in values.items()}
        name = str(options.pop("step"))
        more = self.override.get(name, {})
        if not isinstance(more, Mapping):
            raise SettingError(f"override.{name}", "a mapping of options", more)
        options.update(more)
        cls = _step_class(name, where)
        return name, _make(cls, name, options, where)

    def fingerprint(self) -> dict[str, Any]:
        """What the chosen rows depend on: every option of every step, and the code of own steps."""
        steps = [{"step": name, **result_settings(step)} for name, step in self.built()]
        return {"name": self.name, "size": self.size, "steps": steps}

    def described(self) -> dict[str, Any]:
        """The recipe with every option of every step, for the card."""
        steps = [{"step": name, **dataclasses.asdict(step)} for name, step in self.built()]
        return {"name": self.name, "size": self.size, "steps": steps}


def _import_steps() -> None:
    for module in STEP_MODULES:
        importlib.import_module(f"s1x.selection.{module}")


def _step_class(name: str, where: str) -> type[Step]:
    known = REGISTRY.get("selection_step", {})
    cls: Any = known.get(name)  # of this group, so a Step
    if cls is None and "." in name:
        module, _, attribute = name.rpartition(".")
        try:
            cls = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise SettingError(
                f"{where}.step", "a class that can be imported", name, str(error)
            ) from None
    if cls is None:
        near = difflib.get_close_matches(name, list(known), 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else "or the path of your own class"
        raise SettingError(f"{where}.step", "one of " + ", ".join(sorted(known)), name, hint)
    assert isinstance(cls, type)
    return cls


def _make(cls: type[Step], name: str, options: dict[str, Any], where: str) -> Step:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in options:
        if key not in fields:
            near = difflib.get_close_matches(key, list(fields), 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else ""
            must = f"an option of the step {name} ({', '.join(fields) or 'it has none'})"
            raise SettingError(f"{where}.{key}", must, options[key], hint)
    try:
        return cls(**_typed(cls, name, options, where))
    except SettingError as error:
        raise error.under(where) from None


def _typed(cls: type[Step], name: str, options: dict[str, Any], where: str) -> dict[str, Any]:
    """The options with the types that the class declares, as Hydra checks them for other groups."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    typed = {}
    for key, value in options.items():
        try:
            node = OmegaConf.merge(OmegaConf.structured(cls), {key: value})
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            raise SettingError(key, f"of its type in the step {name}", value, reason) from None
        plain = OmegaConf.to_container(node)
        assert isinstance(plain, dict)
        typed[key] = plain[key]
    return typed
