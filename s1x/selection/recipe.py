"""A recipe: the steps that lead from a pool to the rows to train on, in order.

    size: 1000
    steps:
      - step: missing
      - step: looping
        max_loop_share: 0.3

`step` names an option of the group `selection_step` (a file here, of that name) or the path of a
class; the rest are its options, checked when the configuration is read. Single options are changed
from the command line by step name: `+selection.override.looping.max_loop_share=0.5`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from s1x.compose import made
from s1x.errors import SettingError
from s1x.option import Option, option, option_class, result_settings, setting
from s1x.selection.step import Step


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
    push_to_hub: str | None = setting(
        None, "hub id to upload the chosen rows to; null: not at all", affects_result=False
    )
    private: bool = setting(True, "whether an uploaded data set is private", affects_result=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.built()

    def built(self) -> list[tuple[str, Step]]:
        """The steps as (name, step) pairs.

        Raises:
            SettingError: an unknown step, an unknown option, a wrong value.
        """
        names = [s.get("step") if isinstance(s, Mapping) else None for s in self.steps]
        for name in self.override:
            if name not in names:
                known = ", ".join(map(str, names))
                raise SettingError("override", f"of steps in this recipe ({known})", name)
        return [self._build(f"steps[{n}]", values) for n, values in enumerate(self.steps)]

    def _build(self, where: str, values: object) -> tuple[str, Step]:
        if not isinstance(values, Mapping) or "step" not in values:
            raise SettingError(where, "a mapping with a key step", values, "write {step: name}")
        name = str(values["step"])
        more = self.override.get(name, {})
        if not isinstance(more, Mapping):
            raise SettingError(f"override.{name}", "a mapping of options", more)
        cls = option_class("selection_step", name, f"{where}.step")
        if not issubclass(cls, Step):
            raise SettingError(f"{where}.step", "a step (s1x.selection.step)", name)
        options = {str(k): v for k, v in {**values, **more}.items() if k != "step"}
        return name, made(cls, options, where)

    def fingerprint(self) -> dict[str, object]:
        """What the chosen rows depend on: every option of every step, and the code of own steps."""
        steps = [{"step": name, **result_settings(step)} for name, step in self.built()]
        return {"name": self.name, "size": self.size, "steps": steps}

    def described(self) -> dict[str, object]:
        """The recipe with every option of every step, for the card."""
        steps = [{"step": name, **dataclasses.asdict(step)} for name, step in self.built()]
        return {"name": self.name, "size": self.size, "steps": steps}
