"""What this machine has, found out without torch."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from s1x.gpus import GIB, GPUS, Gpu
from s1x.hub import answers, hub_answers

#: of NVIDIA's driver, at least: the CUDA 13 that torch, vLLM and their libraries are built for
DRIVER = 580


@dataclass(frozen=True)
class Machine:
    """GPUs, memory, disk, and ways out.

    Attributes:
        gpu_memory_bytes: of each GPU that the driver shows.
        driver: NVIDIA's, "580.95.05", say; empty: not known.
        can_compile: a C compiler and Python's headers are here, which Triton's kernels want.
        memory_bytes: main memory.
        disk_free_bytes: where the outputs go.
        hub_reachable: whether models and data can be fetched; None: nobody asked.
        in_slurm: inside an allocation.
        environment: for API keys.
    """

    gpu_memory_bytes: tuple[float, ...] = ()
    driver: str = ""
    can_compile: bool = True
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
        gpus, driver = _gpus()
        return cls(
            gpu_memory_bytes=gpus,
            driver=driver,
            can_compile=_can_compile(),
            memory_bytes=float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
            disk_free_bytes=float(shutil.disk_usage(place).free),
            hub_reachable=hub_answers(2.0) if ask_hub else None,
            in_slurm="SLURM_JOB_ID" in os.environ,
            environment=dict(os.environ),
        )

    def has_module(self, name: str) -> bool:
        """Whether a Python module is installed."""
        return importlib.util.find_spec(name) is not None

    def reaches(self, url: str) -> bool:
        """Whether something answers at an address, whatever it says (three seconds at most)."""
        return answers(url, 3.0)

    def lacks_gpus(self, wanted: int, what: str, device: Gpu) -> list[str]:
        """A sentence with the remedy where this node has fewer or smaller GPUs than needed."""
        there = len(self.gpu_memory_bytes)
        if there >= wanted:
            old = self._driver_problems()
            smallest = min(self.gpu_memory_bytes, default=device.memory_bytes)
            if smallest >= 0.9 * device.memory_bytes:
                return old
            return [
                *old,
                f"gpu={device.name} has {device.memory_bytes / GIB:.0f} GiB, a GPU of this machine "
                f"{smallest / GIB:.0f}; set gpu=... to what is here (one of {', '.join(GPUS)})",
            ]
        needs = f"{what} needs {wanted} {device.name} GPU{'s' if wanted > 1 else ''}"
        if self.in_slurm:
            return [
                f"{needs} and this node of Slurm's allocation shows {there}; ask for them with "
                f"--gpus-per-node={wanted} (docs/training.md), or use scale=laptop"
            ]
        return [
            f"{needs} and this machine has {there}; run it where they are (docs/training.md), or "
            "use scale=laptop"
        ]

    def _driver_problems(self) -> list[str]:
        major = self.driver.partition(".")[0]
        if not major.isdigit() or int(major) >= DRIVER:
            return []
        return [
            f"NVIDIA's driver here is {self.driver}, and builds for CUDA 13 need {DRIVER} or "
            "newer; update it, or install the package cuda-compat-13-0 and put its folder first in "
            "LD_LIBRARY_PATH (data-centre GPUs)"
        ]


def _can_compile() -> bool:
    compilers = (os.environ.get("CC"), "gcc", "clang")
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return headers.exists() and any(map(shutil.which, filter(None, compilers)))


def _gpus() -> tuple[tuple[float, ...], str]:
    """Memory of each GPU, and the driver's version."""
    if shutil.which("nvidia-smi") is None:
        return (), ""
    query = "--query-gpu=memory.total,driver_version"
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return (), ""
    rows = [[word.strip() for word in line.split(",")] for line in done.stdout.splitlines()]
    known = [row for row in rows if len(row) == 2 and row[0].isdigit()]
    return tuple(float(row[0]) * 2**20 for row in known), known[0][1] if known else ""
