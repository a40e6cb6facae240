"""What a stage took, as entries of its `costs.json`: the lines of the report's cost ledger."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COSTS = "costs.json"
REMOTE = (None, "server")
"""Devices of others: their number, hours and energy are not known here."""


def entry(
    stage: str,
    item: str,
    wall_seconds: float,
    device: str | None = "cpu",
    num_devices: int | None = 1,
    model_calls: int | None = 0,
    prompt_tokens: int | None = 0,
    generated_tokens: int | None = 0,
    trained_tokens: int = 0,
    usd: float | None = None,
) -> dict[str, Any]:
    """One line of the ledger; None is what nobody measured.

    Args:
        device: cpu, cuda, server (whose hardware is not known here) or None.
    """
    remote = device in REMOTE
    gpus = (num_devices or 0) if str(device).startswith("cuda") else 0
    return {
        "stage": stage,
        "item": item,
        "model_calls": model_calls,
        "prompt_tokens": prompt_tokens,
        "generated_tokens": generated_tokens,
        "trained_tokens": trained_tokens,
        "wall_seconds": wall_seconds,
        "device": device,
        "num_devices": None if remote else num_devices,
        "gpu_hours": None if remote else gpus * wall_seconds / 3600,
        "energy_kwh": None,
        "usd": usd,
    }


def write(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Writes the folder's `costs.json`."""
    text = json.dumps(list(entries), indent=1, ensure_ascii=False)
    (folder / COSTS).write_text(text, encoding="utf-8")


def note_energy(folder: Path, kwh: float | None) -> None:
    """Puts a stage's energy into the first entry of its `costs.json` that was computed here."""
    file = folder / COSTS
    if kwh is None or not file.is_file():
        return
    entries = json.loads(file.read_text(encoding="utf-8"))
    for found in entries:
        if found.get("device") not in REMOTE:  # a server's energy is not ours to see
            found["energy_kwh"] = kwh
            break
    write(folder, entries)
