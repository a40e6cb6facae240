"""The pool of a run, in Parquet with our column names: made whenever a stage reads it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from s1x import costs
from s1x.artifact import Artifact
from s1x.classes import source_hash
from s1x.console import say
from s1x.pool.pool import Pool
from s1x.pool.writer import BAD_ROWS, COUNTS
from s1x.stages import ArtifactStage


class PoolStage(ArtifactStage):
    """The pool as Parquet files."""

    name = "pool"

    @property
    def label(self) -> str:
        """The option's name."""
        return self.run.choice("pool")

    def inputs(self) -> dict[str, object]:
        """What the pool says of its content, and its code where that is the user's own."""
        pool = self.run.config.pool
        source = source_hash(type(pool))
        return {"pool": dict(pool.fingerprint()), **({"source": source} if source else {})}

    def build(self, folder: Path) -> None:
        """Writes the parts."""
        run(self.run.config.pool, folder)

    def finish(self, artifact: Artifact) -> None:
        """Says which rows could not be read."""
        tell_bad_rows(artifact.folder)


def run(pool: Pool, folder: Path) -> Mapping[str, object]:
    """Writes a pool's Parquet parts, `pool.json`, whose content it returns, and `costs.json`."""
    start = time.perf_counter()
    counts = pool.write(folder)
    seconds = time.perf_counter() - start
    costs.write(folder, [costs.entry("pool", str(counts["name"]), seconds)])
    return counts


def tell_bad_rows(folder: Path) -> None:
    """Says how many rows of a pool could not be read and why, new or reused; nothing if none."""
    counts = json.loads((folder / COUNTS).read_text(encoding="utf-8"))
    if counts.get("bad_rows"):
        reasons = ", ".join(f"{count:,} {why}" for why, count in counts["bad_reasons"].items())
        say(
            f"pool: {counts['bad_rows']:,} of {counts['rows_read']:,} rows could not be read "
            f"({reasons}); {folder / BAD_ROWS} has their lines"
        )
