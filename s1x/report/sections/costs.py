"""The cost ledger: what every stage took, and how small a part of it fine-tuning is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from s1x.costs import COSTS, REMOTE
from s1x.report import paper
from s1x.report.charts import Part, bars
from s1x.report.inputs import Inputs, Json, read_json
from s1x.report.parts import Item, Row, Table

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
#: units of the chart, and of the sentence
SHARES = {"wall_seconds": "time", "gpu_hours": "GPU-hours", PROCESSED: "tokens", "usd": "money"}
SFT_STAGE = "train"
HUES = ("purple", "green", "ochre", "cyan", "pink", "olive", "slate")


def costs(inputs: Inputs) -> Iterator[Item]:
    """The ledger by stage and item, totals, and the share of SFT."""
    entries = ledger(inputs)
    if not entries:
        return
    stages = _by_stage(entries)
    drawn = [u for u in ("wall_seconds", PROCESSED, "gpu_hours", "usd") if total(entries, u)]
    parts = []
    for index, (stage, mine) in enumerate(stages.items()):
        hue = "orange" if stage == SFT_STAGE else HUES[index % len(HUES)]
        shares = [100 * (total(mine, u) or 0.0) / (total(entries, u) or 1.0) for u in drawn]
        parts.append(Part.of(_named(stage), hue, shares))
    names = [{**WORDS, PROCESSED: "tokens read, written, trained"}[unit] for unit in drawn]
    title = "Share of each stage"
    yield bars("costs", title, "% of the whole", names, parts, stacked=True, x_max=100.0)
    yield from _words(inputs, sft_share_percent(entries))
    units = {u: word for u, word in WORDS.items() if u in ALWAYS or total(entries, u) is not None}
    sums = {_named(stage): mine for stage, mine in stages.items()} | {"whole": entries}
    rows: list[Row] = [
        {"stage": stage, **{word: total(mine, u) for u, word in units.items()}}
        for stage, mine in sums.items()
    ]
    shown = {u: None if s is None else round(s, 1) for u, s in sft_share_percent(entries).items()}
    rows.append({"stage": "share of SFT, %", **{word: shown[u] for u, word in units.items()}})
    strong = {len(rows) - 1, len(rows) - 2}
    yield Table("costs_by_stage", "By stage", rows, strong, folded=False)
    every: list[Row] = [
        {
            **{"stage": str(entry.get("stage")), "item": str(entry.get("item") or "")},
            **{word: entry.get(unit) for unit, word in units.items()},
            **{"device": entry.get("device") or "", "devices": entry.get("num_devices")},
        }
        for entry in entries
    ]
    yield Table("costs", "Every item", every)


def ledger(inputs: Inputs) -> list[Json]:
    """All entries of the folders' costs.json, money added at the stated prices where it is null."""
    prices = inputs.context.get("prices") or {}
    found = [read_json(folder, COSTS) or [] for folder in inputs.cost_folders]
    lists = [entries if isinstance(entries, list) else [entries] for entries in found]
    return [
        {**entry, PROCESSED: _sum(entry.get(kind) for kind in TOKENS), "usd": _usd(entry, prices)}
        for entries in lists
        for entry in entries
    ]


def _usd(entry: Json, prices: Json) -> float | None:
    """Money, where it is known or follows from the prices."""
    usd, hours, per_hour = entry.get("usd"), entry.get("gpu_hours"), prices.get("usd_per_gpu_hour")
    if usd is not None:
        return float(usd)
    if hours and per_hour is not None:
        return float(hours * per_hour)
    if entry.get("device") in REMOTE:  # a server's tokens, at its price
        kinds = ("prompt_tokens", "generated_tokens")
        pairs = [(entry.get(kind), prices.get(f"usd_per_million_{kind}")) for kind in kinds]
        known = [c * r / 1e6 for c, r in pairs if c is not None and r is not None]
        if len(known) == len(kinds):
            return float(sum(known))
    return None


def _sum(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def total(entries: Sequence[Json], unit: str) -> float | None:
    """Sum of the known values; None where none is known."""
    return _sum(entry.get(unit) for entry in entries)


def sft_share_percent(entries: Sequence[Json]) -> dict[str, float | None]:
    """Share of the training stage in the whole, by unit; None where it is not known."""
    shares: dict[str, float | None] = {}
    sft = _by_stage(entries).get(SFT_STAGE, [])
    for unit in (*WORDS, PROCESSED):
        whole = total(entries, unit)
        shares[unit] = 100.0 * (total(sft, unit) or 0.0) / whole if whole and sft else None
    return shares


def _by_stage(entries: Sequence[Json]) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = defaultdict(list)
    for entry in entries:
        found[str(entry.get("stage"))].append(entry)
    return found


def _named(stage: str) -> str:
    return "train (SFT)" if stage == SFT_STAGE else stage


def _words(inputs: Inputs, shares: dict[str, float | None]) -> Iterator[str]:
    known = [f"{s:.1f}% of the {n}" for u, n in SHARES.items() if (s := shares[u]) is not None]
    if known:
        yield "Fine-tuning is " + ", ".join(known) + "."
    stated = {k: v for k, v in (inputs.context.get("prices") or {}).items() if v is not None}
    if stated:
        words = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in stated.items())
        yield f"Prices as stated in the settings: {words}."
    hours = paper.SFT_GPU_HOURS
    yield (
        f"The paper's SFT: about {hours['s1k']} H100-hours on 1,000 rows, {hours['full']} on the "
        "whole pool."
    )
