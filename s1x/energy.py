"""Energy that this machine used while something ran, where it can be measured.

Processors by RAPL (`/sys/class/powercap`, where the system lets us read it), GPUs by NVML's energy
counters. Both count whole packages and cards, whoever used them: on a shared machine it is an upper
bound. Where a counter is missing, its part is missing; where all are, the energy is None.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
#: RAPL's counters run over after minutes at full power, so they are read again and again
EVERY_SECONDS = 30.0
JOULES_PER_KWH = 3.6e6


@dataclass
class Counter:
    """A processor package or a card, counting in parts of a joule; it starts again after `most`.

    `read` gives None or raises OSError or ValueError where it cannot be read this time.
    """

    read: Callable[[], int | None]
    per_joule: float
    most: int = 0
    last: int = 0
    joules: float = 0.0

    def update(self) -> None:
        """Adds what was used since the last reading."""
        with suppress(OSError, ValueError):
            now = self.read()
            if now is not None:
                over = self.most if now < self.last else 0
                self.joules += (now + over - self.last) / self.per_joule
                self.last = now


class Meter:
    """Measures between `with` and its end: `kwh` is None where nothing could be read."""

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._counters = [*packages(powercap), *gpus()]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Meter:
        self._update()
        for counter in self._counters:
            counter.joules = 0.0
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._update()

    @property
    def kwh(self) -> float | None:
        """Kilowatt-hours since the start."""
        joules = [counter.joules for counter in self._counters]
        return sum(joules) / JOULES_PER_KWH if joules else None

    def _watch(self) -> None:
        while self._counters and not self._end.wait(EVERY_SECONDS):
            self._update()

    def _update(self) -> None:
        for counter in self._counters:
            counter.update()


def packages(powercap: Path) -> list[Counter]:
    """The packages whose counters may be read; parts of a package are in it already."""
    found = []
    for folder in sorted(powercap.glob("*-rapl:*")):
        if folder.name.count(":") > 1 or "mmio" in folder.name:
            continue
        with suppress(OSError, ValueError):
            _number(folder / "energy_uj")
            most = _number(folder / "max_energy_range_uj")
            found.append(Counter(partial(_number, folder / "energy_uj"), 1e6, most))
    return found


def _number(file: Path) -> int:
    return int(file.read_text(encoding="utf-8"))


def gpus() -> list[Counter]:
    """The NVIDIA cards given to this process that count their energy (Volta and later)."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return []
    if library.nvmlInit_v2() != 0:
        return []
    count = ctypes.c_uint()
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "").replace(" ", "").split(",")
    numbers = [int(n) for n in given] if all(n.isdigit() for n in given) else range(count.value)
    found = []
    for number in numbers:
        handle = ctypes.c_void_p()
        failed = library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle))
        if not failed and _energy(library, handle) is not None:
            found.append(Counter(partial(_energy, library, handle), 1e3))
    return found


def _energy(library: ctypes.CDLL, handle: ctypes.c_void_p) -> int | None:
    """Millijoules since the driver was loaded."""
    value = ctypes.c_ulonglong()
    failed = library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(value))
    return None if failed else int(value.value)
