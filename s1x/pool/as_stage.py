"""The pool of a run: made whenever a stage reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s1x.artifact import Artifact
from s1x.classes import source_hash
from s1x.pool.stage import run as run_pool
from s1x.pool.stage import tell_bad_rows
from s1x.stages import Stage


class PoolStage(Stage):
    """The pool as Parquet files."""

    name = "pool"

    @property
    def label(self) -> str:
        """The option's name."""
        return self.run.choice("pool")

    def inputs(self) -> dict[str, Any]:
        """What the pool says of its content, and its code where that is the user's own."""
        pool = self.run.config.pool
        source = source_hash(type(pool))
        return {"pool": dict(pool.fingerprint()), **({"source": source} if source else {})}

    def build(self, folder: Path) -> None:
        """Writes the parts."""
        run_pool(self.run.config.pool, folder)

    def finish(self, artifact: Artifact) -> None:
        """Says which rows could not be read."""
        tell_bad_rows(artifact.folder)
