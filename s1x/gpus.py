"""GPUs as their makers describe them."""

from __future__ import annotations

from dataclasses import dataclass

from s1x.errors import SettingError

GIB = float(1 << 30)


@dataclass(frozen=True)
class Gpu:
    """One device: memory that a program can have, dense bfloat16 arithmetic, memory bandwidth."""

    name: str
    memory_bytes: float
    peak_tflops: float
    bandwidth_bytes_per_second: float


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("H100", 79.1 * GIB, 989.0, 3.35e12),
        Gpu("H200", 139.8 * GIB, 989.0, 4.8e12),
        Gpu("A100-80GB", 79.1 * GIB, 312.0, 2.0e12),
        Gpu("A100-40GB", 39.4 * GIB, 312.0, 1.55e12),
        Gpu("L40S", 44.4 * GIB, 362.0, 0.86e12),
        Gpu("RTX4090", 23.6 * GIB, 165.0, 1.0e12),
    )
}
#: two cores of a laptop, float32: measured on the embedded model (docs/performance.md)
CPU = Gpu("cpu", 8.0 * GIB, 0.08, 2.0e10)


def gpu(name: str) -> Gpu:
    """The device of this name.

    Raises:
        SettingError: it is not known.
    """
    if name == "cpu":
        return CPU
    if name not in GPUS:
        raise SettingError("gpu", "one of " + ", ".join(GPUS), name)
    return GPUS[name]
