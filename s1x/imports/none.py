"""Nothing is imported: reports are over what this run evaluates."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.imports.importer import Import
from s1x.option import option


@option("import", "none")
@dataclass(frozen=True)
class NoImport(Import):
    """Nothing is imported: reports are over what this run evaluates."""
