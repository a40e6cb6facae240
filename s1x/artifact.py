"""Artifacts: folders named by a fingerprint of everything that made them.

A stage's result lives in `<output>/<stage>/<fingerprint>`. The fingerprint is the hash of the
settings that matter to the stage and of what it reads, so equal work is done once, by whichever
run comes first. A folder is built beside its place (`<fingerprint>.partial`) and renamed at the
end: a folder that exists is whole. The partial folder outlives a kill, so that a stage can go on
from what it finds there. Two processes that want the same artifact wait for one of them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1x.errors import UserError

META = "artifact.json"


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """Twelve hex digits of the SHA-256 of the inputs as canonical JSON.

    Raises:
        TypeError: an input that JSON cannot hold (our bug: name what matters in plain values).
    """
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Artifact:
    """A finished folder: what made it, and what this run had to do for it."""

    stage: str
    fingerprint: str
    folder: Path
    reused: bool
    wall_seconds: float
    """Seconds this run spent on it; a reused artifact's own cost stands in its `artifact.json`."""

    def meta(self) -> dict[str, Any]:
        """What was written when the folder was built: inputs and seconds."""
        value = json.loads((self.folder / META).read_text())
        assert isinstance(value, dict)
        return value


class Artifacts:
    """All artifacts below one output folder."""

    def __init__(
        self, root: Path, force: Collection[str] = (), say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.root, self.force, self.say = root, set(force), say
        self._done: set[Path] = set()

    def folder(self, stage: str, inputs: Mapping[str, Any]) -> Path:
        """Where the artifact stands, built or not."""
        return self.root / stage / fingerprint(inputs)

    def get(
        self, stage: str, inputs: Mapping[str, Any], build: Callable[[Path], Any], label: str = ""
    ) -> Artifact:
        """The artifact made by `build(folder)` from `inputs`, built only where it is not yet.

        Args:
            stage: the folder below the root, and the name that `force` knows it by.
            inputs: everything that the result depends on, as JSON-able values.
            build: fills the folder it is given; it finds there what a killed run left.
            label: words for the one line on the console.

        Raises:
            UserError: from `build`; what it had written is removed.
        """
        from filelock import FileLock

        place = self.folder(stage, inputs)
        name = label or stage
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(place) + ".lock"):
            forced = stage in self.force and place not in self._done
            if place.exists() and not forced:
                self.say(f"{name}: reused {place}")
                self._done.add(place)
                return Artifact(stage, place.name, place, True, 0.0)
            start = time.perf_counter()
            self._build(place, inputs, build, start)
            self._done.add(place)
            return Artifact(stage, place.name, place, False, time.perf_counter() - start)

    def _build(
        self,
        place: Path,
        inputs: Mapping[str, Any],
        build: Callable[[Path], Any],
        start: float,
    ) -> None:
        partial = place.with_name(place.name + ".partial")
        partial.mkdir(parents=True, exist_ok=True)
        try:
            build(partial)
        except UserError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        meta = {"inputs": dict(inputs), "wall_seconds": time.perf_counter() - start}
        (partial / META).write_text(json.dumps(meta, indent=1, ensure_ascii=False))
        if place.exists():
            shutil.rmtree(place)
        partial.rename(place)
