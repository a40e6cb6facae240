"""What this machine has, found out without torch and within a second or two."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from s1x.hub import hub_answers


@dataclass(frozen=True)
class Machine:
    """GPUs, memory, disk, and ways out.

    Attributes:
        gpu_memory_bytes: of each GPU that the driver shows.
        memory_bytes: main memory.
        disk_free_bytes: where the outputs go.
        hub_reachable: whether models and data can be fetched; None: nobody asked.
        in_slurm: inside an allocation, whose nodes may be others than this one.
        environment: for API keys.
    """

    gpu_memory_bytes: tuple[float, ...] = ()
    memory_bytes: float = 0.0
    disk_free_bytes: float = float("inf")
    hub_reachable: bool | None = None
    in_slurm: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def here(cls, output: Path = Path("."), ask_hub: bool = False) -> Machine:
        """This machine; with `ask_hub` the hub is asked too (two seconds at most)."""
        place = output.resolve()
        while not place.exists():
            place = place.parent
        return cls(
            gpu_memory_bytes=_gpus(),
            memory_bytes=float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
            disk_free_bytes=float(shutil.disk_usage(place).free),
            hub_reachable=hub_answers(2.0) if ask_hub else None,
            in_slurm="SLURM_JOB_ID" in os.environ,
            environment=dict(os.environ),
        )

    def has_module(self, name: str) -> bool:
        """Whether a Python module is installed."""
        return importlib.util.find_spec(name) is not None


def _gpus() -> tuple[float, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    lines = [line.strip() for line in done.stdout.splitlines()]
    return tuple(float(line) * 2**20 for line in lines if line.isdigit())
