"""Energy that this machine used while something ran, where it can be measured.

Processors by RAPL (`/sys/class/powercap`, where the system lets us read it), GPUs by NVML's energy
counters. Both count whole packages and cards, whoever used them: on a shared machine it is an upper
bound. Where a counter is missing, its part is missing; where all are, the energy is None.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

POWERCAP = Path("/sys/class/powercap")
#: RAPL's counters run over after minutes at full power, so they are read again and again
EVERY_SECONDS = 30.0
JOULES_PER_KWH = 3.6e6


class Meter:
    """Measures between `with` and its end: `kwh` is None where nothing could be read."""

    def __init__(self, powercap: Path = POWERCAP) -> None:
        self._counters: list[Package | Gpu] = [*packages(powercap), *gpus()]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Meter:
        for counter in self._counters:
            counter.update()
            counter.joules = 0.0
        if self._counters:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        if self._counters:
            self._thread.join()
            self._update()

    @property
    def kwh(self) -> float | None:
        """Kilowatt-hours since the start."""
        if not self._counters:
            return None
        return sum(counter.joules for counter in self._counters) / JOULES_PER_KWH

    def _watch(self) -> None:
        while not self._end.wait(EVERY_SECONDS):
            self._update()

    def _update(self) -> None:
        for counter in self._counters:
            with suppress(OSError, ValueError):
                counter.update()


@dataclass
class Package:
    """A processor package: microjoules that start again at 0 after `most`."""

    file: Path
    most: int
    last: int = 0
    joules: float = 0.0

    def update(self) -> None:
        """Adds what was used since the last reading."""
        now = int(self.file.read_text(encoding="utf-8"))
        self.joules += (
            (now - self.last) if now >= self.last else now + self.most - self.last
        ) / 1e6
        self.last = now


def packages(powercap: Path) -> list[Package]:
    """The packages whose counters may be read; parts of a package are in it already."""
    found = []
    for folder in sorted(powercap.glob("*-rapl:*")):
        if folder.name.count(":") > 1 or "mmio" in folder.name:
            continue
        with suppress(OSError, ValueError):
            int((folder / "energy_uj").read_text(encoding="utf-8"))
            most = int((folder / "max_energy_range_uj").read_text(encoding="utf-8"))
            found.append(Package(folder / "energy_uj", most))
    return found


@dataclass
class Gpu:
    """A card: millijoules since the driver was loaded."""

    library: ctypes.CDLL = field(repr=False)
    handle: ctypes.c_void_p
    last: int = 0
    joules: float = 0.0

    def update(self) -> None:
        """Adds what was used since the last reading."""
        now = _energy(self.library, self.handle)
        if now is not None:
            self.joules += (now - self.last) / 1e3
            self.last = now


def gpus() -> list[Gpu]:
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
            found.append(Gpu(library, handle))
    return found


def _energy(library: ctypes.CDLL, handle: ctypes.c_void_p) -> int | None:
    value = ctypes.c_ulonglong()
    failed = library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(value))
    return None if failed else int(value.value)
