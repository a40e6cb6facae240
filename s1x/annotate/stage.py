"""The annotate stage: a pool in, the same pool with the columns that models make out.

The first pass over the pool asks for whatever the store lacks, with as many rows in flight as the
servers or the engine take (a pass for each model where several of the run's own have a role); the
last one reads everything from the store and writes the parts. So what is written depends on the
pool and the store alone, and memory holds the rows in flight only.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x import costs
from s1x.annotate.asker import Asker, ChatModel
from s1x.annotate.budget import Spending
from s1x.annotate.client import HttpModel
from s1x.annotate.rows import Annotator, made_columns
from s1x.annotate.settings import Annotate
from s1x.annotate.store import AnswerStore
from s1x.console import progress, say
from s1x.engine.live import run_in_loop
from s1x.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from s1x.selection.table import PoolTable

STORE = "answers.sqlite"


def run(
    pool_folder: Path,
    settings: Annotate,
    folder: Path,
    store_folder: Path,
    own: Mapping[str, ChatModel] | None = None,
) -> dict[str, Any]:
    """Makes the columns that `settings.tasks` name and writes the pool anew.

    Args:
        pool_folder: Parquet parts with at least `question` (and `solution`, for the judge).
        folder: gets `part-*.parquet`, annotation.json, costs.json.
        store_folder: where answers are kept over runs; give the same one to continue.
        own: role → the model of this run that plays it, for the roles without `base_urls`.

    Returns:
        What annotation.json holds.

    Raises:
        UserError: a setting that is missing, a server that cannot be used, the cap reached.
    """
    from s1x.selection.table import PoolTable

    own = own or {}
    settings.check()
    for name, endpoint in settings.used():
        if not endpoint.base_urls and name not in own:
            raise UserError(
                f"annotate.{name}.base_urls must name a server (http://host:port/v1), got []; "
                "any OpenAI-compatible one will do"
            )
    start = time.perf_counter()
    table = PoolTable(pool_folder)
    store = AnswerStore(store_folder / STORE)
    spending = Spending(settings.max_total_tokens, settings.max_usd)
    askers: dict[str, Asker] = {}
    for name, endpoint in settings.used():
        model = HttpModel(endpoint, settings) if endpoint.base_urls else own[name]
        askers[name] = Asker(name, endpoint, model, store, spending, settings.max_replies)
    try:
        summary = run_in_loop(_annotate(table, settings, folder, askers))
    finally:
        store.close()
    summary["usd"] = None if spending.usd_unknown else spending.usd
    summary["wall_seconds"] = time.perf_counter() - start
    _dump(folder / "annotation.json", summary)
    costs.write(folder, [_cost(asker) for asker in askers.values()])
    return summary


async def _annotate(
    table: PoolTable, settings: Annotate, folder: Path, askers: Mapping[str, Asker]
) -> dict[str, Any]:
    annotator = Annotator(settings, askers)
    try:
        for phase in _phases(askers.values()):
            start = time.perf_counter()
            for asker in askers.values():
                asker.offline = asker not in phase
            await _ask_all(table, annotator, phase)
            for asker in phase:
                asker.wall_seconds = (time.perf_counter() - start) / len(phase)
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
    }


def _phases(askers: Iterable[Asker]) -> list[list[Asker]]:
    """Roles that can work at the same time, in order: a machine holds one own model at a time."""

    def place(asker: Asker) -> object:
        return "servers" if asker.endpoint.base_urls else getattr(asker.model, "model", None)

    return [list(group) for _, group in itertools.groupby(askers, key=place)]


async def _ask_all(table: PoolTable, annotator: Annotator, askers: Sequence[Asker]) -> None:
    """First pass: as soon as a row ends, the next one starts; the first error stops all."""
    rows = _rows(table, annotator.reads(table))
    title = "annotate: " + ", ".join(asker.name for asker in askers)
    num_in_flight = sum(asker.model.slots for asker in askers)
    with progress(title, table.num_rows, "rows") as advance:

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


def _cost(asker: Asker) -> dict[str, Any]:
    counts = asker.counts
    known = not counts["uncounted"]
    prompt, generated = counts["prompt_tokens"], counts["generated_tokens"]
    device, num_devices = asker.model.device
    return costs.entry(
        "annotate",
        f"{asker.name} ({asker.endpoint.model or asker.model.name})",
        asker.wall_seconds,
        device,
        num_devices,
        model_calls=counts["calls"],
        prompt_tokens=prompt if known else None,
        generated_tokens=generated if known else None,
        usd=asker.endpoint.usd(prompt, generated) if known else None,
    )


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
