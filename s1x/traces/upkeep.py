"""Looking at a trace store and making it smaller (`stages=[store]`)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from s1x.errors import UserError
from s1x.sqlite import BESIDE
from s1x.traces.store import MODEL_FILE, SUFFIX, TraceStore


@dataclass(frozen=True)
class ModelTraces:
    """What the store holds of one model.

    Attributes:
        model: name of its folder (a fingerprint).
        description: what was written about it: name, path, engine.
        num_files, num_streams, num_tokens, num_bytes: sizes; what is in two files counts twice.
        num_disagreeing: streams of which files hold different versions.
        damaged: file names → what is wrong with them.
        last_used: seconds since the epoch of the last change.
    """

    model: str
    description: dict[str, object]
    num_files: int
    num_streams: int
    num_tokens: int
    num_bytes: int
    num_disagreeing: int
    damaged: dict[str, str]
    last_used: float

    def lines(self) -> list[str]:
        """What is told of it: its size, and what is wrong with it."""
        name = self.description.get("name") or "(no name)"
        told = [
            f"{self.model}  {name}  {self.num_streams:,} streams, "
            f"{self.num_tokens:,} tokens, {self.num_bytes / 2**20:.1f} MiB"
        ]
        if self.num_disagreeing:
            told.append(
                f"  files disagree about {self.num_disagreeing:,} streams; each is taken whole "
                "from one of them"
            )
        return told + [f"  {name} has {reason}" for name, reason in self.damaged.items()]


def describe(folder: Path) -> list[ModelTraces]:
    """What a store holds, the largest model first; every piece is checked.

    Raises:
        UserError: there is no store.
    """
    if not folder.is_dir():
        raise UserError(f"there is no trace store at {folder}; evaluations write one")
    found = [_describe_model(model) for model in sorted(folder.iterdir()) if model.is_dir()]
    return sorted(found, key=lambda traces: -traces.num_bytes)


def _describe_model(folder: Path) -> ModelTraces:
    description, damaged = _about(folder)
    with opened(folder, description) as store:
        for stream in store.streams():
            store.versions(stream)
        num_streams, num_tokens = store.sizes()
        damaged |= {path.name: reason for path, reason in store.damaged.items()}
        num_disagreeing = len(store.disagreeing)
    return ModelTraces(
        model=folder.name,
        description=description,
        num_files=len(list(folder.glob("*" + SUFFIX))),
        num_streams=num_streams,
        num_tokens=num_tokens,
        num_bytes=_num_bytes(folder),
        num_disagreeing=num_disagreeing,
        damaged=damaged,
        last_used=max((path.stat().st_mtime for path in folder.iterdir()), default=0.0),
    )


def _about(folder: Path) -> tuple[dict[str, object], dict[str, str]]:
    """What was written about a model, and what is wrong with that."""
    try:
        content = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))
        return dict(content), {}
    except FileNotFoundError:
        return {}, {}
    except (OSError, ValueError, TypeError) as error:
        return {}, {MODEL_FILE: f"content that cannot be read ({error})"}


def opened(folder: Path, description: dict[str, object]) -> TraceStore:
    """The store of one model's folder."""
    num_ids = description.get("num_ids")
    known = num_ids if isinstance(num_ids, int) else None
    return TraceStore(folder.parent, folder.name, num_ids=known, end_ids=end_ids(description))


def end_ids(description: Mapping[str, object]) -> tuple[int, ...] | None:
    """The ids whose rank a store keeps; None where it keeps no confidence."""
    ids = description.get("end_ids")
    return tuple(map(int, ids)) if isinstance(ids, list) else None


def _num_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def prune(
    folder: Path, models: Iterable[str] = (), unused_days: float | None = None, merge: bool = True
) -> int:
    """Makes a store smaller: removes models, and merges the files of those that stay.

    Not to be used while an evaluation writes into it.

    Args:
        folder: of the store.
        models: names of models (or beginnings of them) to remove.
        unused_days: also removes models that have not changed for this many days.
        merge: puts all files of a model into one, each stream once. Streams about which files
            disagree keep all their versions; pieces that are damaged are left behind.

    Returns:
        Bytes freed.

    Raises:
        UserError: there is no store, or no model of that name.
    """
    before = describe(folder)
    names = tuple(models)
    for name in names:
        if not any(traces.model.startswith(name) for traces in before):
            raise UserError(f"the trace store {folder} has no model {name}")
    size, now = _num_bytes(folder), time.time()
    for traces in before:
        old = unused_days is not None and now - traces.last_used > unused_days * 86_400
        if old or traces.model.startswith(names or ("\0",)):
            _remove(folder / traces.model)
        elif merge and traces.num_files > 1:
            _merge(folder / traces.model, traces.description)
    return size - _num_bytes(folder)


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _merge(folder: Path, description: dict[str, object]) -> None:
    with opened(folder, description) as store:
        for stream in list(store.streams()):
            for stored in store.versions(stream):
                rows = stored.confidences
                store.append(stream, 0, stored.tokens, None if rows is None else bytes(rows))
        for stream, origin in list(store.origins()):
            store.note_origin(stream, origin)
        store.commit()
        merged = [path for path in store.paths() if path != store.path]
    for path in merged:
        for part in (path, *(path.with_name(path.name + end) for end in BESIDE)):
            part.unlink(missing_ok=True)
