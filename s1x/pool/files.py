"""Finding a pool's files and hashing them."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from s1x.artifact import file_hash
from s1x.errors import SettingError

FORMAT = 2
"""Version of what the pool stage writes; part of every pool's fingerprint."""


def find(path: str, endings: Sequence[str]) -> list[Path]:
    """The files that `pool.path` means: one file, a folder's files, or a glob's, sorted by name.

    Raises:
        SettingError: nothing is there, or nothing with these endings.
    """
    place = Path(path).expanduser()
    if place.is_file():
        return [place]
    if place.is_dir():
        files = sorted(
            f for f in place.iterdir() if f.is_file() and f.name.endswith(tuple(endings))
        )
        if not files:
            raise SettingError("pool.path", f"a folder with {' or '.join(endings)} files", path)
        return files
    files = [Path(f) for f in sorted(glob.glob(str(place), recursive=True)) if Path(f).is_file()]
    if not files:
        raise SettingError(
            "pool.path", "a file, a folder or a glob that exists", path, f"looked in {Path.cwd()}"
        )
    return files


def hashes(files: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of each file, by name: the content hash of the pool."""
    return {f"{i}/{f.name}": file_hash(f) for i, f in enumerate(files)}
