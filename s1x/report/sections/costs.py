"""The cost ledger: what every stage took, and how small a part of it fine-tuning is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from s1x.costs import COSTS, REMOTE
from s1x.report import paper
from s1x.report.charts import Chart, Part, bars
from s1x.report.inputs import Inputs, read_json
from s1x.report.parts import Section, Table

LEAD = (
    "Everything that was computed, reused artifacts with what they cost when they were made. "
    "“50 dollars” for s1 is the fine-tuning alone; collecting, filtering, annotating and "
    "evaluating belong to the result as well. Traces that were found in the store count where they "
    "were written. A dash is a value that was not measured, not a zero."
)
#: unit → its words
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
ALWAYS = ("wall_seconds", "gpu_hours", "usd")
TOKENS = ("prompt_tokens", "generated_tokens", "trained_tokens")
PROCESSED = "processed_tokens"
DIGITS = {"seconds": 1, "GPU-hours": 2, "kWh": 3, "US dollars": 2}
SFT_STAGE = "train"
HUES = ("purple", "green", "ochre", "cyan", "pink", "olive", "slate")
Entry = dict[str, Any]


def build(inputs: Inputs) -> Section | None:
    """The ledger by stage and item, totals, and the share of SFT."""
    entries = ledger(inputs)
    if not entries:
        return None
    units = [u for u in WORDS if u in ALWAYS or total(entries, u) is not None]
    tables = (_by_stage(entries, units), _by_item(entries, units))
    words = _words(inputs, entries)
    items: tuple[Chart | Table | str, ...] = (_chart(entries), *words, *tables)
    return Section("costs", "What it cost", LEAD, items, "Costs")


def ledger(inputs: Inputs) -> list[Entry]:
    """All entries of the folders' costs.json, money added at the stated prices where it is null."""
    prices = inputs.context.get("prices") or {}
    found = [read_json(folder, COSTS) or [] for folder in inputs.cost_folders]
    lists = [entries if isinstance(entries, list) else [entries] for entries in found]
    return [_priced(dict(entry), prices) for entries in lists for entry in entries]


def _priced(entry: Entry, prices: Mapping[str, Any]) -> Entry:
    """The entry with money and the sum of its tokens, where they can be told."""
    tokens = [entry[kind] for kind in TOKENS if entry.get(kind) is not None]
    entry[PROCESSED] = sum(tokens) if tokens else None
    hours, per_hour = entry.get("gpu_hours"), prices.get("usd_per_gpu_hour")
    if entry.get("usd") is not None:
        return entry
    if hours and per_hour is not None:
        return {**entry, "usd": hours * per_hour}
    if entry.get("device") in REMOTE:  # a server's tokens, at its price
        kinds = ("prompt", "generated")
        counts = [entry.get(f"{kind}_tokens") for kind in kinds]
        rates = [prices.get(f"usd_per_million_{kind}_tokens") for kind in kinds]
        if None not in (*counts, *rates):
            sums = (float(c) * float(r) / 1e6 for c, r in zip(counts, rates, strict=True))  # type: ignore[arg-type]
            return {**entry, "usd": sum(sums)}
    return entry


def total(entries: Iterable[Mapping[str, Any]], unit: str) -> float | None:
    """Sum of the known values; None where none is known."""
    known = [entry[unit] for entry in entries if entry.get(unit) is not None]
    return sum(known) if known else None


def sft_share_percent(entries: list[Entry]) -> dict[str, float | None]:
    """Share of the training stage in the whole, by unit; None where it is not known."""
    shares: dict[str, float | None] = {}
    sft = by_stage(entries).get(SFT_STAGE, [])
    for unit in (*WORDS, PROCESSED):
        whole = total(entries, unit)
        shares[unit] = 100.0 * (total(sft, unit) or 0.0) / whole if whole and sft else None
    return shares


def by_stage(entries: list[Entry]) -> dict[str, list[Entry]]:
    """Stage → its entries, in order of appearance."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(str(entry.get("stage")), []).append(entry)
    return found


def _by_stage(entries: list[Entry], units: list[str]) -> Table:
    shares = sft_share_percent(entries)
    rows = [
        {"stage": _named(stage), **{WORDS[u]: total(mine, u) for u in units}}
        for stage, mine in by_stage(entries).items()
    ]
    rows.append({"stage": "whole", **{WORDS[u]: total(entries, u) for u in units}})
    share = {WORDS[u]: None if (s := shares[u]) is None else round(s, 1) for u in units}
    rows.append({"stage": "share of SFT, %", **share})
    strong = frozenset({len(rows) - 1, len(rows) - 2})
    return Table("costs_by_stage", "By stage", rows, DIGITS, strong, folded=False)


def _by_item(entries: list[Entry], units: list[str]) -> Table:
    rows = [
        {
            "stage": str(entry.get("stage")),
            "item": str(entry.get("item") or ""),
            **{WORDS[unit]: entry.get(unit) for unit in units},
            "device": entry.get("device") or "",
            "devices": entry.get("num_devices"),
        }
        for entry in entries
    ]
    return Table("costs", "Every item", rows, DIGITS)


def _named(stage: str) -> str:
    return "train (SFT)" if stage == SFT_STAGE else stage


def _chart(entries: list[Entry]) -> Chart:
    units = [u for u in ("wall_seconds", PROCESSED, "gpu_hours", "usd") if total(entries, u)]
    parts = []
    for index, (stage, mine) in enumerate(by_stage(entries).items()):
        shares = ((total(mine, u) or 0.0) / (total(entries, u) or 1.0) for u in units)
        hue = "orange" if stage == SFT_STAGE else HUES[index % len(HUES)]
        parts.append(Part(_named(stage), hue, tuple(100.0 * share for share in shares)))
    names = {**WORDS, PROCESSED: "tokens read, written, trained"}
    bars_ = [names[unit] for unit in units]
    title = "Share of each stage"
    return bars("costs", title, "% of the whole", bars_, parts, stacked=True, x_max=100.0)


def _words(inputs: Inputs, entries: list[Entry]) -> list[str]:
    shares = sft_share_percent(entries)
    names = {"wall_seconds": "time", "gpu_hours": "GPU-hours", PROCESSED: "tokens", "usd": "money"}
    known = [f"{s:.1f}% of the {n}" for u, n in names.items() if (s := shares[u]) is not None]
    said = ["Fine-tuning is " + ", ".join(known) + "."] if known else []
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
