"""Peak memory of a rank: of its GPU, else of its process, without files mapped into memory.

The kernel's own high-water mark counts the pages of mapped safetensors files, which it can drop at
any time, and so hides what sharded loading saves. A thread looks at anonymous memory instead.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from pathlib import Path

import torch

SAMPLE_SECONDS = 0.02
_STATM = Path("/proc/self/statm")
_peak_pages = 0


def watch_memory() -> None:
    """Starts watching this process; a rank calls it first."""

    def watch() -> None:
        while True:
            _look()
            time.sleep(SAMPLE_SECONDS)

    if _STATM.exists():
        threading.Thread(target=watch, daemon=True).start()


def _look() -> int:
    global _peak_pages
    _, resident, shared, *_ = map(int, _STATM.read_text(encoding="utf-8").split())
    _peak_pages = max(_peak_pages, resident - shared)
    return _peak_pages


def peak_memory_bytes() -> int:
    """Most memory that this rank has used so far."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return int(torch.cuda.max_memory_allocated())
    if _STATM.exists():
        return _look() * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
