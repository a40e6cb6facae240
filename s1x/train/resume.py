"""Checkpoints as folders: whole ones, damaged ones, and the last that a run can go on from.

`checkpoints/step-00000100` is written beside its place (`.partial`) and renamed, with the sizes and
hashes of its files in `whole.json`. What is found damaged is put aside, never deleted.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from s1x.artifact import file_hash, read_json, write_json
from s1x.errors import UserError

FOLDER = "checkpoints"
#: what Lightning writes, a file or a folder, inside a step's folder
STATE = "state"
MARKS = "whole.json"
#: larger files are known by their size alone: hashing a sharded checkpoint would take minutes
HASHED_BYTES = 1 << 30


def place_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step stands."""
    return folder / FOLDER / f"step-{step:08d}"


def steps_saved(folder: Path) -> list[int]:
    """Steps that have a checkpoint, the last one last."""
    names = (place.name for place in (folder / FOLDER).glob("step-*[0-9]"))
    return sorted(int(name.removeprefix("step-")) for name in names)


def newest(folder: Path) -> tuple[int, Path] | None:
    """The last checkpoint of a training folder: its step, and the path that Lightning takes."""
    steps = steps_saved(folder)
    return (steps[-1], place_of(folder, steps[-1]) / STATE) if steps else None


def remove_partial(folder: Path) -> None:
    """Removes what a killed run left half-written."""
    for place in (folder / FOLDER).glob("*.partial"):
        shutil.rmtree(place, ignore_errors=True)


def seal(place: Path, num_ranks: int) -> None:
    """Writes down what a checkpoint consists of."""
    write_json(place / MARKS, {"num_ranks": num_ranks, "files": _marks(place)})


def put_damaged_aside(folder: Path) -> list[str]:
    """Renames checkpoints that are not what was written; returns their names."""
    damaged = []
    for step in steps_saved(folder):
        place = place_of(folder, step)
        if not _is_whole(place):
            beside = place.with_name(place.name + ".damaged")
            shutil.rmtree(beside, ignore_errors=True)
            place.rename(beside)
            damaged.append(place.name)
    return damaged


def check_ranks(folder: Path, num_ranks: int) -> None:
    """Sharded checkpoints fit as many ranks as wrote them.

    Raises:
        UserError: this run has another number.
    """
    if not (steps := steps_saved(folder)):
        return
    place = place_of(folder, steps[-1])
    written_by = read_json(place / MARKS)["num_ranks"]
    if written_by != num_ranks:
        raise UserError(
            f"{place} was written by {written_by} ranks and this run has {num_ranks}; go on with "
            f"{written_by} (train.num_nodes x train.devices_per_node), or remove {place.parent} to "
            "train from the start"
        )


def _marks(place: Path) -> dict[str, list[Any]]:
    files = (p for p in sorted(place.rglob("*")) if p.is_file() and p.name != MARKS)
    return {str(path.relative_to(place)): _mark(path) for path in files}


def _mark(path: Path) -> list[Any]:
    size = path.stat().st_size
    return [size, file_hash(path) if size <= HASHED_BYTES else None]


def _is_whole(place: Path) -> bool:
    try:
        return bool(read_json(place / MARKS)["files"] == _marks(place))
    except (UserError, KeyError, OSError):
        return False
