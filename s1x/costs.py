"""What a stage took, as entries of its `costs.json`: the lines of the report's cost ledger."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COSTS = "costs.json"


def entry(
    stage: str,
    item: str,
    wall_seconds: float,
    device: str | None = "cpu",
    num_devices: int | None = 1,
    model_calls: int = 0,
    prompt_tokens: int | None = 0,
    generated_tokens: int | None = 0,
    usd: float | None = None,
) -> dict[str, Any]:
    """One line of the ledger; None is what nobody measured.

    Args:
        device: cpu, cuda, server (whose hardware is not known here) or None.
    """
    gpus = (num_devices or 0) if str(device).startswith("cuda") else 0
    known = device is not None and device != "server"
    return {
        "stage": stage,
        "item": item,
        "model_calls": model_calls,
        "prompt_tokens": prompt_tokens,
        "generated_tokens": generated_tokens,
        "trained_tokens": 0,
        "wall_seconds": wall_seconds,
        "device": device,
        "num_devices": num_devices,
        "gpu_hours": gpus * wall_seconds / 3600 if known else None,
        "energy_kwh": None,
        "usd": usd,
    }


def write(folder: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Writes the folder's `costs.json`."""
    text = json.dumps(list(entries), indent=1, ensure_ascii=False)
    (folder / COSTS).write_text(text, encoding="utf-8")
