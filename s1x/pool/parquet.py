"""`pool=parquet`: your questions and traces in Parquet files.

    python run.py +experiment=s1k pool=parquet pool.path=my_pool/ +pool.columns.attempt=response

Files are streamed: memory does not grow with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1x.option import option, setting
from s1x.pool import columns as names
from s1x.pool.arrow import open_parquet, read_parquet, write_batches
from s1x.pool.files import FORMAT, find, hashes
from s1x.pool.mapped import MappedPool


@option("pool", "parquet")
@dataclass(frozen=True)
class Parquet(MappedPool):
    """A pool in Parquet files of one schema; `columns` maps our names to the files'."""

    path: str = setting(doc="a file, a folder or a glob", remedy="set pool.path=<file.parquet>")

    def fingerprint(self) -> dict[str, Any]:
        """Content hash of the files and the settings that change what is read."""
        return {
            "pool": "parquet",
            "format": FORMAT,
            "files": hashes(find(self.path, (".parquet",))),
            **self.reading(),
        }

    def write(self, folder: Path) -> dict[str, Any]:
        """Writes the pool in our columns; returns its counts.

        Raises:
            UserError: nothing to read, a missing column, too many bad rows.
        """
        files = find(self.path, (".parquet",))
        found = list(open_parquet(files[0]).schema_arrow.names)
        for path in files[1:]:
            missing = set(found) - set(open_parquet(path).schema_arrow.names)
            if missing:
                from s1x.errors import UserError

                raise UserError(f"{path} lacks the column {min(missing)} that {files[0].name} has")
        mapping = names.resolve(self.columns, found, self.path)
        others = [n for n in found if n not in mapping.values() and n not in mapping]
        about = {"name": self.path, "kind": "parquet", "columns": mapping, "license": self.license}
        batches = read_parquet(files, self.max_rows)
        return write_batches(batches, mapping, others, folder, self.max_bad_fraction, about)
