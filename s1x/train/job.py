"""A training job as a file: what the ranks read, and where they leave results."""

from __future__ import annotations

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1x.artifact import read_json, write_json
from s1x.classes import load_class
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
        kind = type(self.settings)
        values = dataclasses.asdict(self)
        values |= {"chosen": str(self.chosen), "folder": None}
        values["class"] = f"{kind.__module__}.{kind.__qualname__}"
        write_json(self.folder / JOB, values)
        return self.folder / JOB

    @classmethod
    def read(cls, path: Path) -> Job:
        """The job of a `job.json`."""
        values = read_json(path)
        settings: Any = load_class(values.pop("class"), "train")
        recipe = values["settings"]
        values["settings"] = settings(**recipe | {"lora": Lora(**recipe["lora"])})
        values["model"] = Model(**values["model"])
        return cls(**values | {"chosen": Path(values["chosen"]), "folder": path.parent})


def read_log(path: Path) -> list[dict[str, str]]:
    """The whole rows of a log (a last line still being written is left out)."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["wall_seconds"]]
