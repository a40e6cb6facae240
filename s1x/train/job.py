"""A training job as a file: what the ranks read, and where they leave results and errors."""

from __future__ import annotations

import csv
import dataclasses
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1x.artifact import read_json, write_json
from s1x.model.model import Model
from s1x.train.settings import Lora, TrainSettings

JOB, RESULT, LOG_CSV, MODEL_FOLDER = "job.json", "result.json", "log.csv", "model"
#: token ids of all samples, for all ranks, while it runs
SAMPLES = "samples.arrow"


@dataclass(frozen=True)
class Job:
    """One training run: recipe, model, rows, seed, and the folder that takes everything."""

    settings: TrainSettings
    model: Model
    chosen: Path
    seed: int
    folder: Path
    ranks_per_node: int

    @property
    def num_ranks(self) -> int:
        """Processes in all."""
        return self.ranks_per_node * self.settings.nodes

    def write(self) -> Path:
        """Writes `job.json` into the folder."""
        values = {
            "settings": _written(self.settings),
            "model": _written(self.model),
            "chosen": str(self.chosen),
            "seed": self.seed,
            "ranks_per_node": self.ranks_per_node,
        }
        path = self.folder / JOB
        write_json(path, values)
        return path

    @classmethod
    def read(cls, path: Path) -> Job:
        """The job of a `job.json`."""
        values = read_json(path)
        settings = _read(values["settings"])
        assert isinstance(settings, TrainSettings)
        return cls(
            settings=settings,
            model=_read(values["model"]),
            chosen=Path(values["chosen"]),
            seed=values["seed"],
            folder=path.parent,
            ranks_per_node=values["ranks_per_node"],
        )


def settings_values(settings: TrainSettings) -> dict[str, Any]:
    """All settings as plain values, for files and cards."""
    return dataclasses.asdict(settings)


def _written(option: Any) -> dict[str, Any]:
    kind = type(option)
    return {"class": f"{kind.__module__}:{kind.__qualname__}", "values": dataclasses.asdict(option)}


def _read(written: dict[str, Any]) -> Any:
    module, _, name = written["class"].partition(":")
    kind = getattr(importlib.import_module(module), name)
    values = dict(written["values"])
    if "lora" in values:
        values["lora"] = Lora(**values["lora"])
    return kind(**values)


def read_log(path: Path) -> list[dict[str, str]]:
    """The whole rows of a log (a last line still being written is left out)."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if row["wall_seconds"]]
