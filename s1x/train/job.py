"""A training job as a folder: what the ranks read, the log they write, their checkpoints.

`checkpoints/step-00000100` is written beside its place (`.partial`) and renamed, with the sizes and
hashes of its files in `whole.json`. What is found damaged is put aside, never deleted.
"""

from __future__ import annotations

import csv
import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1x.artifact import file_hash, read_json, write_json
from s1x.classes import load_class
from s1x.errors import UserError
from s1x.model.model import Model
from s1x.train.settings import Lora, TrainSettings

JOB, RESULT, LOG_CSV, MODEL_FOLDER = "job.json", "result.json", "log.csv", "model"
#: token ids of all samples, for all ranks, while it runs
SAMPLES = "samples.arrow"
CHECKPOINTS = "checkpoints"
#: a file that asks the ranks to write a checkpoint after this step and end; and one that says that
#: everything is being ended
STOP, ENDING = "stop", "ending"
#: what Lightning writes, a file or a folder, inside a step's folder
STATE = "state"
MARKS = "whole.json"
#: larger files are known by their size alone: hashing a sharded checkpoint would take minutes
HASHED_BYTES = 1 << 30
#: the record of a training, as `train.json` holds it
Record = dict[str, Any]


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
        kind = load_class(values.pop("class"), "train")
        recipe = values["settings"]
        values["settings"] = kind(**recipe | {"lora": Lora(**recipe["lora"])})
        values["model"] = Model(**values["model"])
        return cls(**values | {"chosen": Path(values["chosen"]), "folder": path.parent})

    def ask_to_stop(self) -> None:
        """Has the ranks end after their present step, with a checkpoint."""
        (self.folder / STOP).touch()

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint of a step stands."""
        return self.folder / CHECKPOINTS / f"step-{step:08d}"

    def steps_saved(self) -> list[int]:
        """Steps that have a checkpoint, the last one last."""
        names = (place.name for place in (self.folder / CHECKPOINTS).glob("step-*[0-9]"))
        return sorted(int(name.removeprefix("step-")) for name in names)

    def seal(self, place: Path) -> None:
        """Writes down what a checkpoint consists of."""
        write_json(place / MARKS, {"num_ranks": self.num_ranks, "files": _marks(place)})

    def put_damaged_aside(self) -> list[str]:
        """Renames checkpoints that are not what was written; returns their names."""
        damaged = [place for place in map(self.checkpoint, self.steps_saved()) if _damaged(place)]
        for place in damaged:
            beside = place.with_name(place.name + ".damaged")
            shutil.rmtree(beside, ignore_errors=True)
            place.rename(beside)
        return [place.name for place in damaged]

    def check_ranks(self, step: int) -> None:
        """Sharded checkpoints fit as many ranks as wrote them.

        Raises:
            UserError: this run has another number.
        """
        place = self.checkpoint(step)
        written_by = read_json(place / MARKS)["num_ranks"]
        if written_by != self.num_ranks:
            raise UserError(
                f"{place} was written by {written_by} ranks and this run has {self.num_ranks}; go "
                f"on with {written_by} (train.num_nodes x train.devices_per_node), or remove "
                f"{place.parent} to train from the start"
            )


def _marks(place: Path) -> dict[str, list[object]]:
    files = (p for p in sorted(place.rglob("*")) if p.is_file() and p.name != MARKS)
    sizes = {path: path.stat().st_size for path in files}
    return {
        str(path.relative_to(place)): [size, file_hash(path) if size <= HASHED_BYTES else None]
        for path, size in sizes.items()
    }


def _damaged(place: Path) -> bool:
    try:
        return bool(read_json(place / MARKS)["files"] != _marks(place))
    except (UserError, KeyError, OSError):
        return True


def read_log(path: Path) -> list[dict[str, str]]:
    """The whole rows of a log (a last line still being written is left out)."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["wall_seconds"]]
