"""Peak memory of a rank: of its GPU, else of its process, without files mapped into memory.

The kernel's own high-water mark counts the pages of mapped safetensors files, which it can drop at
any time, and so hides what sharded loading saves. A thread looks at anonymous memory instead.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import torch

SAMPLE_SECONDS = 0.02
_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class _Watch:
    """Samples this process's anonymous memory from its start to its end."""

    def __init__(self) -> None:
        self.peak = 0
        threading.Thread(target=self._run, daemon=True).start()

    def look(self) -> int:
        """The peak so far, in bytes."""
        _, resident, shared, *_ = map(int, _STATM.read_text(encoding="utf-8").split())
        self.peak = max(self.peak, (resident - shared) * _PAGE)
        return self.peak

    def _run(self) -> None:
        while True:
            self.look()
            time.sleep(SAMPLE_SECONDS)


_watch: _Watch | None = None


def watch_memory() -> None:
    """Starts watching; a rank calls it first."""
    global _watch
    if _watch is None and _STATM.exists():
        _watch = _Watch()


def peak_memory_bytes() -> int:
    """Most memory that this rank has used so far."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return int(torch.cuda.max_memory_allocated())
    if _watch is not None:
        return _watch.look()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
