"""What `stages=[export]` writes."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.errors import SettingError
from s1x.option import Option, option, setting

EVERY_EVAL_EVER, INSPECT, LM_EVAL, EVAL_RESULTS = FORMATS = (
    *("every_eval_ever", "inspect", "lm_eval", "eval_results"),
)
RELATIONSHIPS = ("first_party", "third_party", "collaborative", "other")


@option("export", "export")
@dataclass(frozen=True)
class ExportSettings(Option):
    """The formats, and what their records say of who ran the evaluation."""

    formats: list[str] = setting(factory=lambda: list(FORMATS), doc="of " + ", ".join(FORMATS))
    organization: str | None = setting(
        None,
        "who ran the evaluation; every_eval_ever needs it, and files models without owner there",
    )
    relationship: str = setting(
        "third_party", "of who ran it to who made the model", choices=RELATIONSHIPS
    )
    model_ids: dict[str, str] = setting(
        factory=dict,
        doc="{model's name: its id on the hub, owner/name}; none: where its weights come from",
    )
    hub_tasks: dict[str, str] = setting(
        factory=dict,
        doc="{benchmark: the hub's data set and task, owner/name/task}, for eval_results; none: "
        "the benchmark's own data set and configuration",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.formats:
            if name not in FORMATS:
                raise SettingError("formats", f"of {', '.join(FORMATS)}", name)
        if not self.formats:
            raise SettingError("formats", f"one of {', '.join(FORMATS)} at least", [])
        for name, task in self.hub_tasks.items():
            if task.count("/") != 2 or not all(task.split("/")):
                raise SettingError(f"hub_tasks.{name}", "owner/name/task", task)
        for name, model in self.model_ids.items():
            if model.count("/") != 1 or not all(model.split("/")):
                raise SettingError(f"model_ids.{name}", "owner/name", model)
