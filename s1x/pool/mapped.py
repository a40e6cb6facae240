"""What pools of other people's data share: settings, the column mapping, and how rows are read."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from s1x.option import Option, setting
from s1x.pool import columns as names
from s1x.pool.rows import Row, write_rows


class Source(Protocol):
    """Where rows come from: files or a data set, opened."""

    def names(self, rows: Iterator[Row], nested: Collection[str]) -> names.Found:
        """The columns: those of `rows` or of a schema, and what the objects `nested` hold.

        Raises:
            UserError: there are no rows, or their columns differ where they may not.
        """

    def rows(self) -> Iterator[Row]:
        """All rows, in order, anew at each call.

        Raises:
            UserError: a damaged file.
        """


@dataclass(frozen=True)
class MappedPool(Option):
    """Base of `jsonl`, `parquet` and `hub`."""

    columns: dict[str, str] = setting(factory=dict, doc="{our name: the data's own name}")
    max_rows: int | None = setting(None, "read only the first N rows", at_least=1)
    max_bad_fraction: float = setting(
        0.05, "share of unreadable rows that is put up with", at_least=0, at_most=1
    )
    license: str | None = setting(None, "licence of the data, for the dataset card")

    def __post_init__(self) -> None:
        super().__post_init__()
        names.check_mapping(self.columns)

    def reading(self) -> dict[str, Any]:
        """The settings that change what is written, for fingerprints."""
        return {
            "columns": dict(self.columns),
            "max_rows": self.max_rows,
            "max_bad_fraction": self.max_bad_fraction,
            "license": self.license,
        }

    def write_from(
        self, source: Source, folder: Path, kind: str, name: str, license: str | None
    ) -> dict[str, Any]:
        """Writes the pool in our columns; returns its counts.

        Raises:
            UserError: nothing to read, a missing column, too many bad rows.
        """
        nested = {theirs.split(".")[0] for theirs in self.columns.values() if "." in theirs}
        found = source.names(itertools.islice(source.rows(), self.max_rows), nested)
        mapping = names.resolve(self.columns, found, name)
        others = names.passed_through(found, mapping)
        about = {"name": name, "kind": kind, "columns": mapping, "license": license}
        rows = itertools.islice(source.rows(), self.max_rows)
        return write_rows(rows, mapping, others, folder, self.max_bad_fraction, about)
