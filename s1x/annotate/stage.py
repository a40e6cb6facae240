"""The annotate stage: a pool in, the same pool with the columns that models make out.

Two passes over the pool. The first asks for whatever the store lacks, with as many rows in flight
as the servers take; the second reads everything from the store and writes the parts. So what is
written depends on the pool and the store alone, and memory holds the rows in flight only.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x.annotate.asker import Asker, ChatModel
from s1x.annotate.budget import Spending
from s1x.annotate.client import HttpModel
from s1x.annotate.rows import Annotator, made_columns
from s1x.annotate.settings import Annotate, Endpoint
from s1x.annotate.store import AnswerStore
from s1x.console import progress, say
from s1x.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from s1x.selection.table import PoolTable

STORE = "answers.sqlite"
MakeModel = Callable[[str, Endpoint], ChatModel]


def run(
    pool_folder: Path,
    settings: Annotate,
    folder: Path,
    store_folder: Path,
    make_model: MakeModel | None = None,
) -> dict[str, Any]:
    """Makes the columns that `settings.tasks` name and writes the pool anew.

    Args:
        pool_folder: Parquet parts with at least `question` (and `solution`, for the judge).
        folder: gets `part-*.parquet`, annotation.json, costs.json.
        store_folder: where answers are kept over runs; give the same one to continue.
        make_model: (role, endpoint) → a model, for endpoints without `base_urls`.

    Returns:
        What annotation.json holds.

    Raises:
        UserError: a setting that is missing, a server that cannot be used, the cap reached.
    """
    from s1x.selection.table import PoolTable

    settings.check()
    for name, endpoint in settings.used():
        if not endpoint.base_urls and make_model is None:
            raise UserError(
                f"annotate.{name}.base_urls must name a server (http://host:port/v1), got []; "
                "any OpenAI-compatible one will do"
            )
    start = time.perf_counter()
    table = PoolTable(pool_folder)
    store = AnswerStore(store_folder / STORE)
    try:
        summary = asyncio.run(_annotate(table, settings, folder, store, make_model))
    finally:
        store.close()
    summary["wall_seconds"] = time.perf_counter() - start
    costs = [
        _cost(role, dict(settings.used())[role], counts, summary)
        for role, counts in summary["models"].items()
    ]
    _dump(folder / "annotation.json", summary)
    _dump(folder / "costs.json", costs)
    return summary


async def _annotate(
    table: PoolTable,
    settings: Annotate,
    folder: Path,
    store: AnswerStore,
    make_model: MakeModel | None,
) -> dict[str, Any]:
    spending = Spending(settings.max_total_tokens, settings.max_usd)
    askers: dict[str, Asker] = {}
    for name, endpoint in settings.used():
        own = make_model(name, endpoint) if make_model and not endpoint.base_urls else None
        model = own or HttpModel(endpoint, settings)
        askers[name] = Asker(name, endpoint, model, store, spending, settings.max_replies)
    annotator = Annotator(settings, askers)
    try:
        await _ask_all(table, annotator, _rows_in_flight(settings))
    finally:
        for asker in askers.values():
            await asker.model.close()
    for asker in askers.values():
        asker.offline = True
    missing = await _write(table, annotator, folder)
    for asker in askers.values():
        for reason, count in asker.given_up.items():
            say(f"annotate: {count} calls of {asker.name} were given up: {reason}")
    return {
        "tasks": list(settings.tasks),
        "rows": table.num_rows,
        "missing": missing,
        "models": {name: dict(asker.counts) for name, asker in askers.items()},
        "given_up": {name: asker.given_up for name, asker in askers.items() if asker.given_up},
        "usd": None if spending.usd_unknown else spending.usd,
    }


def _rows_in_flight(settings: Annotate) -> int:
    """Enough rows to keep every server busy."""
    slots = [e.concurrency * max(len(e.base_urls), 1) for _, e in settings.used()]
    return max(sum(slots), 1)


async def _ask_all(table: PoolTable, annotator: Annotator, num_in_flight: int) -> None:
    """First pass: as soon as a row ends, the next one starts; the first error stops all."""
    rows = _rows(table, annotator.reads(table))
    with progress("annotate", table.num_rows, "rows") as advance:

        async def worker() -> None:
            for row in rows:
                await annotator.annotate(row)
                advance(1)

        tasks = [asyncio.create_task(worker()) for _ in range(num_in_flight)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _rows(table: PoolTable, columns: Iterable[str]) -> Any:
    for _, batch in table.scan(list(columns), batch_rows=256):
        yield from batch.to_pylist()


async def _write(table: PoolTable, annotator: Annotator, folder: Path) -> dict[str, int]:
    """Second pass: the pool with its new columns; gives how many values each lacks."""
    from s1x.pool.columns import schema
    from s1x.pool.writer import PoolWriter

    made = made_columns(annotator.settings)
    own = list(table.schema.names)
    types = schema([n for n in made if n not in own])
    wanted = table.schema
    for field in types:
        wanted = wanted.append(field)
    missing: Counter[str] = Counter()
    with PoolWriter(folder, wanted.remove_metadata()) as writer:
        async for batch in _annotated(table, annotator, made, wanted):
            writer.add(batch)
            for name in made:
                missing[name] += batch.column(name).null_count
        about = {**table.counts(), "annotated": made}
        writer.finish(1.0, about)
    return {name: missing[name] for name in made}


async def _annotated(
    table: PoolTable, annotator: Annotator, made: list[str], wanted: pa.Schema
) -> AsyncIterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.compute as pc

    reads = list(annotator.reads(table))
    for _, batch in table.scan(table.schema.names, batch_rows=256):
        rows = batch.select(reads).to_pylist()
        values = [await annotator.annotate(row) for row in rows]
        columns = {name: batch.column(name) for name in batch.schema.names}
        for name in made:
            columns[name] = pa.array([v[name] for v in values], wanted.field(name).type)
        if "trace_tokens" in columns and "reasoning_trace" in made:
            same = pc.fill_null(
                pc.equal(columns["reasoning_trace"], batch["reasoning_trace"]), False
            )
            columns["trace_tokens"] = pc.if_else(same, columns["trace_tokens"], None)
        yield pa.RecordBatch.from_pydict(columns, schema=wanted.remove_metadata())


def _cost(role: str, endpoint: Endpoint, counts: Mapping[str, int], summary: Any) -> dict[str, Any]:
    known = not counts.get("uncounted")
    prompt, generated = counts.get("prompt_tokens", 0), counts.get("generated_tokens", 0)
    return {
        "stage": "annotate",
        "item": f"{role} ({endpoint.model})",
        "model_calls": counts.get("calls", 0),
        "prompt_tokens": prompt if known else None,
        "generated_tokens": generated if known else None,
        "trained_tokens": 0,
        "wall_seconds": summary["wall_seconds"] / max(len(summary["models"]), 1),
        "device": "server",
        "num_devices": max(len(endpoint.base_urls), 1),
        "gpu_hours": None,
        "energy_kwh": None,
        "usd": endpoint.usd(prompt, generated) if known else None,
    }


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
