"""What the stages ask of every pool."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Pool(Protocol):
    """A source of questions with solutions, traces and attempts; an `Option` with these methods."""

    def fingerprint(self) -> Mapping[str, Any]:
        """What the content depends on, as plain values."""

    def write(self, folder: Path) -> Mapping[str, Any]:
        """Writes the pool as Parquet into the folder; returns its counts."""
