"""The pool stage: any pool made into Parquet with our column names, once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from s1x import costs


def run(pool: Any, folder: Path) -> dict[str, Any]:
    """Writes a pool's Parquet parts, `pool.json` and `costs.json`.

    Args:
        pool: an option of the group pool.
        folder: gets the files.

    Returns:
        What pool.json holds: rows, rows that could not be read and why, licence.

    Raises:
        UserError: a pool that cannot be read, or of which too much cannot.
    """
    start = time.perf_counter()
    counts: dict[str, Any] = pool.write(folder)
    seconds = time.perf_counter() - start
    costs.write(folder, [costs.entry("pool", str(counts["name"]), seconds)])
    return counts
