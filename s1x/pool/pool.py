"""What the stages ask of every pool, and what pools of other people's data share."""

from __future__ import annotations

import glob
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from s1x.artifact import file_hash
from s1x.errors import SettingError
from s1x.option import Option, setting
from s1x.pool.columns import Found, check_mapping, passed_through, resolve, schema
from s1x.pool.writer import PoolWriter, Row

FORMAT = 2
"""Version of what the pool stage writes; part of every pool's fingerprint."""


@runtime_checkable
class Pool(Protocol):
    """A source of questions with solutions, traces and attempts; an `Option` with these methods."""

    def fingerprint(self) -> Mapping[str, object]:
        """What the content depends on, as plain values."""

    def write(self, folder: Path) -> Mapping[str, object]:
        """Writes the pool as Parquet into the folder; returns its counts.

        Raises:
            UserError: nothing to read, damaged data, a missing column, too many bad rows.
        """


@dataclass(frozen=True)
class MappedPool(Option, ABC):
    """Base of `jsonl`, `parquet` and `hub`: a pool in our columns, whatever theirs are called.

    A name that is not mapped is looked for under our own name, then under those of well-known data
    sets (`s1x.pool.columns.ALIASES`). `a.b` reaches into a nested object. Columns that are not ours
    pass through as text.
    """

    kind: ClassVar[str]

    columns: dict[str, str] = setting(factory=dict, doc="{our name: the data's own name}")
    max_rows: int | None = setting(None, "read only the first N rows", at_least=1)
    max_bad_fraction: float = setting(
        0.05, "share of unreadable rows that is put up with", at_least=0, at_most=1
    )
    license: str | None = setting(None, "licence of the data, for the dataset card")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mapping(self.columns)

    @abstractmethod
    def version(self) -> dict[str, object]:
        """What tells one state of the data from another."""

    @abstractmethod
    def source(self, nested: set[str]) -> tuple[str, Found, Iterator[Row]]:
        """The data's name, their columns (and what the objects `nested` hold), and all rows."""

    def licence(self) -> str | None:
        """The licence to write down."""
        return self.license

    def fingerprint(self) -> dict[str, object]:
        """The content's version and the settings that change what is written."""
        return {
            "pool": self.kind,
            "format": FORMAT,
            **self.version(),
            "columns": dict(self.columns),
            "max_rows": self.max_rows,
            "max_bad_fraction": self.max_bad_fraction,
            "license": self.license,
        }

    def write(self, folder: Path) -> dict[str, object]:
        """See `Pool.write`."""
        nested = {theirs.split(".")[0] for theirs in self.columns.values() if "." in theirs}
        name, found, rows = self.source(nested)
        mapping = resolve(self.columns, found, name)
        others = passed_through(found, mapping)
        about = {"name": name, "kind": self.kind, "columns": mapping, "license": self.licence()}
        rows = itertools.islice(rows, self.max_rows)
        with PoolWriter(folder, schema(mapping, others)) as writer:
            writer.add_rows(rows, mapping, others)
            return writer.finish(self.max_bad_fraction, about)


@dataclass(frozen=True)
class FilePool(MappedPool):
    """A pool in files."""

    endings: ClassVar[tuple[str, ...]]

    path: str = setting(doc="a file, a folder or a glob", remedy="set pool.path=<file>")

    def version(self) -> dict[str, object]:
        """Content hash of each file."""
        return {"files": hashes(self.files())}

    def files(self) -> list[Path]:
        """The files that `path` means: one, a folder's with our endings, or a glob's; by name.

        Raises:
            SettingError: nothing is there, or nothing with these endings.
        """
        place = Path(self.path).expanduser()
        if place.is_dir():
            inside = sorted(f for f in place.iterdir() if f.name.endswith(self.endings))
            if files := [file for file in inside if file.is_file()]:
                return files
            must = f"a folder with {' or '.join(self.endings)} files"
            raise SettingError("pool.path", must, self.path)
        found = [place] if place.is_file() else map(Path, glob.glob(str(place), recursive=True))
        if files := sorted((file for file in found if file.is_file()), key=str):
            return files
        must, remedy = "a file, a folder or a glob that exists", f"looked in {Path.cwd()}"
        raise SettingError("pool.path", must, self.path, remedy)


def hashes(files: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of each file, by place and name."""
    return {f"{i}/{f.name}": file_hash(f) for i, f in enumerate(files)}
