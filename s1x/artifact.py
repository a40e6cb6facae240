"""Artifacts: folders named by a fingerprint of everything that made them.

A stage's result lives in `<output>/<stage>/<fingerprint>`. The fingerprint is the hash of the
settings that can change the result and of what the stage reads, so equal work is done once, by
whichever run comes first. A folder is built beside its place (`<fingerprint>.partial`) and renamed
at the end; the partial folder outlives a kill, so that a stage can go on from what it finds there.
Two processes that want the same artifact wait for one of them.

`artifact.json` holds size and SHA-256 of every file, and a folder is checked before it is used:
what was cut, changed or removed since is named and made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from s1x.errors import UserError

META = "artifact.json"
#: larger files are hashed again only where size or times say that they may have changed
ALWAYS_HASHED_BYTES = 64 << 20
#: what a build that failed leaves for the next one to go on from, or for people to read
KEPT = ("checkpoints", "logs")


def fingerprint(inputs: Mapping[str, object]) -> str:
    """Twelve hex digits of the SHA-256 of the inputs as canonical JSON.

    Raises:
        TypeError: an input that JSON cannot hold (our bug: name what matters in plain values).
    """
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_json(path: Path, value: object) -> None:
    """Writes JSON in UTF-8, whole or not at all (a lone surrogate becomes its JSON escape)."""
    beside = path.with_name(path.name + ".new")
    text = json.dumps(value, indent=1, ensure_ascii=False)
    beside.write_text(text, encoding="utf-8", errors="backslashreplace")
    beside.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """An object that `write_json` wrote.

    Raises:
        UserError: no such file, or something else in it.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a JSON object, got a {type(value).__name__}")
    return value


def faults(folder: Path) -> list[str]:
    """What is wrong with a finished folder, file by file; nothing if it is as it was written."""
    try:
        meta = read_json(folder / META)
        files = {name: (int(f["bytes"]), str(f["sha256"])) for name, f in meta["files"].items()}
        if fingerprint(meta["inputs"]) != folder.name:
            return [f"{META} was changed"]
    except (UserError, KeyError, TypeError, ValueError, AttributeError):
        return [f"{META} is missing or cannot be read"]
    seen = _Seen(folder)
    found = [_fault(folder, name, *expected, seen) for name, expected in sorted(files.items())]
    seen.save()
    return [fault for fault in found if fault]


def _fault(folder: Path, name: str, size: int, digest: str, seen: _Seen) -> str:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        return f"{name} is outside the folder"
    if not path.is_file():
        return f"{name} is missing"
    if path.stat().st_size != size:
        return f"{name} has {path.stat().st_size:,} bytes instead of {size:,}"
    try:
        return "" if seen.digest(path) == digest else f"{name} is not what was written"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"


class _Seen:
    """Hashes of large files by their size and times, so that they are read once, not every run."""

    def __init__(self, folder: Path) -> None:
        self.path = folder.with_name(folder.name + ".hashes")
        self.old: dict[str, object] = {}
        self.new: dict[str, str] = {}
        with suppress(UserError):
            self.old = read_json(self.path)

    def digest(self, path: Path) -> str:
        stat = path.stat()
        if stat.st_size <= ALWAYS_HASHED_BYTES:
            return file_hash(path)
        mark = f"{path.name} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
        self.new[mark] = str(self.old.get(mark) or file_hash(path))
        return self.new[mark]

    def save(self) -> None:
        if self.new != self.old and self.new:
            with suppress(OSError):  # another's folder: it is hashed again next time
                write_json(self.path, self.new)


def _listed(folder: Path) -> dict[str, dict[str, object]]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != META)
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": file_hash(path),
        }
        for path in files
        if path.relative_to(folder).parts[0] not in KEPT
    }


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
        """What was written when the folder was built: inputs, seconds, files."""
        return read_json(self.folder / META)


class Artifacts:
    """All artifacts below one output folder."""

    def __init__(
        self, root: Path, force: Collection[str] = (), say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.root, self.force, self.say = root, set(force), say
        self._done: set[Path] = set()

    def folder(self, stage: str, inputs: Mapping[str, object]) -> Path:
        """Where the artifact stands, built or not."""
        return self.root / stage / fingerprint(inputs)

    def existing(self, stage: str, inputs: Mapping[str, object]) -> Artifact | None:
        """What the same inputs have made before, if it is there.

        Raises:
            UserError: it is there and damaged.
        """
        place = self.folder(stage, inputs)
        if not place.exists():
            return None
        if place not in self._done and (found := faults(place)):
            raise UserError(
                f"{place} is damaged ({'; '.join(found)}); with "
                f"{'select' if stage == 'pool' else stage} among the stages it is made again"
            )
        self._done.add(place)
        return Artifact(stage, place.name, place, True, 0.0)

    def get(
        self,
        stage: str,
        inputs: Mapping[str, object],
        build: Callable[[Path], object],
        label: str = "",
    ) -> Artifact:
        """The artifact made by `build(folder)` from `inputs`, built only where it is not yet.

        Args:
            stage: the folder below the root, and the name that `force` knows it by.
            inputs: everything that the result depends on, as JSON-able values.
            build: fills the folder it is given; it finds there what a killed run left.
            label: words for the one line on the console.

        Raises:
            UserError: from `build`; what it had written is removed, but checkpoints and logs.
        """
        place = self.folder(stage, inputs)
        name = label or stage
        place.parent.mkdir(parents=True, exist_ok=True)
        with self._locked(place, name):
            if self._whole(place, stage, name):
                self.say(f"{name}: reused {place}")
                self._done.add(place)
                return Artifact(stage, place.name, place, True, 0.0)
            start = time.perf_counter()
            self._build(place, inputs, build, start)
            self._done.add(place)
            return Artifact(stage, place.name, place, False, time.perf_counter() - start)

    def rewrite(self, artifact: Artifact, name: str, value: object) -> None:
        """Replaces one JSON file of a finished artifact."""
        with self._locked(artifact.folder, artifact.stage):
            write_json(artifact.folder / name, value)
            path = artifact.folder / name
            meta = artifact.meta()
            meta["files"][name] = {"bytes": path.stat().st_size, "sha256": file_hash(path)}
            write_json(artifact.folder / META, meta)

    @contextmanager
    def _locked(self, place: Path, name: str) -> Iterator[None]:
        lock = FileLock(str(place) + ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self.say(f"{name}: waiting for another run that makes {place}")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _whole(self, place: Path, stage: str, name: str) -> bool:
        if not place.exists() or (stage in self.force and place not in self._done):
            return False
        found = [] if place in self._done else faults(place)
        if found:
            self.say(f"{name}: {place} is damaged ({'; '.join(found)}); it is made again")
        return not found

    def _build(
        self,
        place: Path,
        inputs: Mapping[str, object],
        build: Callable[[Path], object],
        start: float,
    ) -> None:
        partial = place.with_name(place.name + ".partial")
        partial.mkdir(parents=True, exist_ok=True)
        try:
            build(partial)
        except UserError:
            if not any((partial / kept).is_dir() for kept in KEPT):
                shutil.rmtree(partial, ignore_errors=True)
            raise
        meta = {
            "inputs": dict(inputs),
            "wall_seconds": time.perf_counter() - start,
            "files": _listed(partial),
        }
        write_json(partial / META, meta)
        if place.exists():
            shutil.rmtree(place)
        partial.rename(place)
