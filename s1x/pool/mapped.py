"""What pools of other people's data share: a column mapping and how much is put up with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from s1x.option import Option, setting
from s1x.pool import columns as names


@dataclass(frozen=True)
class MappedPool(Option):
    """Base of `jsonl`, `parquet` and `hub`."""

    columns: dict[str, str] = setting(factory=dict, doc="{our name: the data's own name}")
    max_rows: int | None = setting(None, "read only so many rows", at_least=1)
    max_bad_fraction: float = setting(
        0.05, "share of unreadable rows that is put up with", at_least=0, at_most=1
    )
    license: str | None = setting(None, "licence of the data, for the dataset card")

    def __post_init__(self) -> None:
        super().__post_init__()
        names.check_mapping(self.columns)

    def reading(self) -> dict[str, Any]:
        """The settings that change what is read, for fingerprints."""
        return {
            "columns": dict(self.columns),
            "max_rows": self.max_rows,
            "max_bad_fraction": self.max_bad_fraction,
        }
