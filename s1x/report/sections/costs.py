"""The cost ledger: what every stage took, and how small a part of it fine-tuning is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from s1x.costs import COSTS, REMOTE
from s1x.errors import UserError
from s1x.report import paper
from s1x.report.charts import Bars, Part
from s1x.report.inputs import Inputs
from s1x.report.parts import Section
from s1x.report.tables import Table

LEAD = (
    "Everything that was computed, reused artifacts with what they cost when they were made. "
    "“50 dollars” for s1 is the fine-tuning alone; collecting, filtering, annotating and "
    "evaluating belong to the result as well. Traces that were found in the store count where they "
    "were written. A dash is a value that was not measured, not a zero."
)
UNITS = (
    *("model_calls", "prompt_tokens", "generated_tokens", "trained_tokens"),
    *("wall_seconds", "gpu_hours", "energy_kwh", "usd"),
)
WORDS = {
    "model_calls": "model calls",
    "prompt_tokens": "prompt tokens",
    "generated_tokens": "generated tokens",
    "trained_tokens": "trained tokens",
    "wall_seconds": "seconds",
    "gpu_hours": "GPU-hours",
    "energy_kwh": "kWh",
    "usd": "US dollars",
}
DIGITS = {"seconds": 1, "GPU-hours": 2, "kWh": 3, "US dollars": 2}
SFT_STAGE = "train"


def build(inputs: Inputs) -> Section | None:
    """The ledger by stage and item, totals, and the share of SFT."""
    entries = ledger(inputs)
    if not entries:
        return None
    tables = (_by_stage(entries), _by_item(entries))
    return Section(
        "costs", "What it cost", LEAD, (_chart(entries), *_words(inputs, entries), *tables), "Costs"
    )


def ledger(inputs: Inputs) -> list[dict[str, Any]]:
    """All entries of the folders' costs.json, money added at the stated prices where it is null."""
    prices = inputs.context.get("prices") or {}
    return [_priced(entry, prices) for folder in inputs.cost_folders for entry in _read(folder)]


def _read(folder: Path) -> list[dict[str, Any]]:
    file = folder / COSTS
    if not file.is_file():
        return []
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}); redo its stage with force=[...]") from None
    entries = found if isinstance(found, list) else [found]
    return [dict(entry) for entry in entries]


def _priced(entry: dict[str, Any], prices: Mapping[str, Any]) -> dict[str, Any]:
    if entry.get("usd") is not None:
        return entry
    per_hour = prices.get("usd_per_gpu_hour")
    if entry.get("gpu_hours") and per_hour is not None:
        return {**entry, "usd": entry["gpu_hours"] * per_hour}
    if entry.get("device") in REMOTE:  # a server's tokens, at its price
        parts = [
            (entry.get(f"{kind}_tokens"), prices.get(f"usd_per_million_{kind}_tokens"))
            for kind in ("prompt", "generated")
        ]
        known = [
            count * price / 1e6 for count, price in parts if not (count is None or price is None)
        ]
        if len(known) == len(parts):
            return {**entry, "usd": sum(known)}
    return entry


def total(entries: Iterable[Mapping[str, Any]], unit: str) -> float | None:
    """Sum of the known values; None where none is known."""
    known = [entry[unit] for entry in entries if entry.get(unit) is not None]
    return sum(known) if known else None


def sft_share_percent(entries: list[dict[str, Any]]) -> dict[str, float | None]:
    """Share of the training stage in the whole, by unit; None where it is not known."""
    shares: dict[str, float | None] = {}
    for unit in (*UNITS, "processed_tokens"):
        whole = total(map(_with_processed, entries), unit)
        sft = [e for e in entries if e.get("stage") == SFT_STAGE]
        part = total(map(_with_processed, sft), unit)
        shares[unit] = 100.0 * (part or 0.0) / whole if whole and sft else None
    return shares


def _with_processed(entry: Mapping[str, Any]) -> dict[str, Any]:
    kinds = ("prompt_tokens", "generated_tokens", "trained_tokens")
    known = [entry[k] for k in kinds if entry.get(k) is not None]
    return {**entry, "processed_tokens": sum(known) if known else None}


def _by_stage(entries: list[dict[str, Any]]) -> Table:
    stages = list(dict.fromkeys(str(e.get("stage")) for e in entries))
    units = _used(entries)
    rows = []
    for stage in stages:
        mine = [e for e in entries if str(e.get("stage")) == stage]
        rows.append((_stage_words(stage), *(total(mine, unit) for unit in units)))
    rows.append(("whole", *(total(entries, unit) for unit in units)))
    shares = sft_share_percent(entries)
    rows.append(("share of SFT, %", *(_rounded(shares[unit]) for unit in units)))
    columns = ("stage", *(WORDS[unit] for unit in units))
    strong = frozenset({len(rows) - 1, len(rows) - 2})
    return Table("costs_by_stage", "By stage", columns, tuple(rows), DIGITS, strong)


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 1)


def _by_item(entries: list[dict[str, Any]]) -> Table:
    units = _used(entries)
    columns = ("stage", "item", *(WORDS[unit] for unit in units), "device", "devices")
    rows = tuple(
        (
            *(str(e.get("stage")), str(e.get("item") or "")),
            *(e.get(unit) for unit in units),
            *(e.get("device") or "", e.get("num_devices")),
        )
        for e in entries
    )
    return Table("costs", "Every item", columns, rows, DIGITS)


def _used(entries: list[dict[str, Any]]) -> list[str]:
    """Units that someone measured; seconds, GPU-hours and money always."""
    always = ("wall_seconds", "gpu_hours", "usd")
    return [u for u in UNITS if u in always or total(entries, u) is not None]


def _stage_words(stage: str) -> str:
    return "train (SFT)" if stage == SFT_STAGE else stage


def _chart(entries: list[dict[str, Any]]) -> Bars:
    stages = list(dict.fromkeys(str(e.get("stage")) for e in entries))
    units = ["wall_seconds", "processed_tokens", "gpu_hours", "usd"]
    wide = [_with_processed(e) for e in entries]
    units = [unit for unit in units if total(wide, unit)]
    parts = []
    for index, stage in enumerate(stages):
        mine = [e for e in wide if str(e.get("stage")) == stage]
        values = tuple(100.0 * (total(mine, u) or 0.0) / (total(wide, u) or 1.0) for u in units)
        tone = "fine_tuned" if stage == SFT_STAGE else f"c{(index + 1) % 8}"
        parts.append(Part(_stage_words(stage), tone, values))
    names = {**WORDS, "processed_tokens": "tokens read, written, trained"}
    bars = tuple(names[unit] for unit in units)
    return Bars(
        *("costs", "Share of each stage", "% of the whole", bars, tuple(parts)),
        stacked=True,
        x_max=100.0,
    )


def _words(inputs: Inputs, entries: list[dict[str, Any]]) -> list[str]:
    shares = sft_share_percent(entries)
    names = {"wall_seconds": "time", "gpu_hours": "GPU-hours", "processed_tokens": "tokens"}
    names["usd"] = "money"
    known = [
        f"{shares[u]:.1f}% of the {name}" for u, name in names.items() if shares.get(u) is not None
    ]
    said = []
    if known:
        said.append("Fine-tuning is " + ", ".join(known) + ".")
    stated = {k: v for k, v in (inputs.context.get("prices") or {}).items() if v is not None}
    if stated:
        words = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in stated.items())
        said.append(f"Prices as stated in the settings: {words}.")
    hours = paper.SFT_GPU_HOURS
    said.append(
        f"The paper's SFT: about {hours['s1k']} H100-hours on 1,000 rows, {hours['full']} on the "
        "whole pool."
    )
    return said
