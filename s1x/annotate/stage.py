"""`stages=[annotate]`: a pool in, the same pool with the columns that models make out.

The first pass over the pool asks for whatever the store lacks, with as many rows in flight as the
servers or the engine take (a pass for each model where several of the run's own have a role); the
last one reads everything from the store and writes the parts. So what is written depends on the
pool and the store alone, and memory holds the rows in flight only.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from s1x import costs
from s1x.annotate.annotate import Annotate
from s1x.annotate.ask import Asker, Spending
from s1x.annotate.store import AnswerStore
from s1x.annotate.tasks import questions
from s1x.artifact import Artifact, write_json
from s1x.compose import option_named
from s1x.console import progress, say
from s1x.engine.chat import ChatModel, ServerChat
from s1x.engine.client import Client
from s1x.engine.live import close_engine, run_in_loop
from s1x.errors import UserError
from s1x.model.model import Model
from s1x.pool.columns import schema
from s1x.pool.stage import PoolStage
from s1x.pool.writer import PoolWriter
from s1x.selection.table import PoolTable
from s1x.stages import ArtifactStage, Run
from s1x.workers.chat import EngineChat

STORE = "answers.sqlite"
_BATCH_ROWS = 256


class AnnotateStage(ArtifactStage):
    """Traces, verdicts and domains, by servers or by the run's own engine."""

    name = "annotate"
    label = "annotated pool"
    makes_first = ("pool",)

    @classmethod
    def check(cls, run: Run) -> None:
        """Servers answer; own models are on this machine."""
        run.config.annotate.check()
        if own_models(run):
            run.config.workers.check(run.config.engine)
        for model in own_models(run).values():
            model.source()

    def inputs(self) -> dict[str, object]:
        """The pool, the tasks, and the models that this run asks itself."""
        own = {role: model.fingerprint() for role, model in own_models(self.run).items()}
        inputs = {**PoolStage(self.run).inputs(), "annotate": self.run.config.annotate.described()}
        return {**inputs, "own_models": own} if own else inputs

    def build(self, folder: Path) -> None:
        """Asks what was not asked before (`<output>/answers`)."""
        config = self.run.config
        own = {
            role: EngineChat(config.engine, model, role == "teacher", config.workers)
            for role, model in own_models(self.run).items()
        }
        pool, answers = self.run.one("pool").folder, self.run.output / "answers"
        run(pool, config.annotate, folder, answers, own, config.store.journal)

    def finish(self, artifact: Artifact) -> None:
        """Training needs the engine's memory."""
        close_engine()


def own_models(run: Run) -> dict[str, Model]:
    """Annotation's roles that have no server: the run's engine plays them, with these models.

    Raises:
        UserError: a model that is no option, or is not on this machine.
    """
    return {
        role: option_named("model", endpoint.model, f"annotate.{role}.model", Model)
        if endpoint.model
        else run.config.model
        for role, endpoint in run.config.annotate.used()
        if not endpoint.base_urls
    }


def run(
    pool_folder: Path,
    settings: Annotate,
    folder: Path,
    store_folder: Path,
    own: Mapping[str, ChatModel] | None = None,
    journal: str = "auto",
) -> dict[str, object]:
    """Makes the columns that `settings.tasks` name and writes the pool anew.

    Args:
        pool_folder: Parquet parts with at least `question` (and `solution`, for the judge).
        folder: gets `part-*.parquet`, annotation.json, costs.json.
        store_folder: where answers are kept over runs; give the same one to continue.
        own: role → the model of this run that plays it, for the roles without `base_urls`.
        journal: of the store; see `s1x.sqlite.DatabaseFolder`.

    Returns:
        What annotation.json holds.

    Raises:
        UserError: a setting that is missing, a server that cannot be used, the cap reached.
    """
    start, own = time.perf_counter(), own or {}
    settings.check()
    for role, endpoint in settings.used():
        if not endpoint.base_urls and role not in own:
            raise UserError(
                f"annotate.{role}.base_urls must name a server (http://host:port/v1), got []; "
                "any OpenAI-compatible one will do"
            )
    table = PoolTable(pool_folder)
    store = AnswerStore(store_folder / STORE, journal)
    spending = Spending(settings.max_total_tokens, settings.max_usd)
    askers: dict[str, Asker] = {}
    for role, endpoint in settings.used():
        model = own.get(role)
        if model is None or endpoint.base_urls:
            model = ServerChat(Client(endpoint, settings, endpoint.model, f"annotate.{role}"))
        askers[role] = Asker(role, endpoint, model, store, spending, settings.max_replies)
    try:
        summary = run_in_loop(_Annotation(table, settings, askers).all(folder))
    finally:
        store.close()
    if store.num_damaged:
        say(f"annotate: {store.num_damaged} damaged answers in {store.path} were asked for again")
    summary["usd"] = None if spending.usd_unknown else spending.usd
    summary["wall_seconds"] = time.perf_counter() - start
    write_json(folder / "annotation.json", summary)
    costs.write(folder, [asker.cost() for asker in askers.values()])
    return summary


class _Annotation:
    """A pool, what is asked of each of its rows (`made`: columns), and who is asked."""

    def __init__(self, table: PoolTable, settings: Annotate, askers: Mapping[str, Asker]) -> None:
        self.table, self.settings, self.askers = table, settings, askers
        self.questions = questions(settings.tasks, settings.solvers)
        self.made = [name for question in self.questions for name in question.columns]
        looked_at = [*self.made, *(c for q in self.questions for c in q.parts.values())]
        self.read = [name for name in dict.fromkeys(looked_at) if name in table.schema.names]

    async def all(self, folder: Path) -> dict[str, object]:
        """Asks what the store lacks, then writes the pool; what annotation.json says of it."""
        askers = self.askers.values()
        try:
            # a machine holds one model of its own at a time: each gets a pass over the pool
            for _, group in itertools.groupby(askers, key=lambda asker: asker.model.memory):
                working, start = list(group), time.perf_counter()
                for asker in askers:
                    asker.offline = asker not in working
                await self._ask_all(working)
                for asker in working:
                    asker.wall_seconds = (time.perf_counter() - start) / len(working)
                    await asker.model.close()
        finally:
            for asker in askers:
                await asker.model.close()
        for asker in askers:
            asker.offline = True
            for reason, count in asker.given_up.items():
                say(f"annotate: {count} calls of {asker.name} were given up: {reason}")
        return {
            "tasks": list(self.settings.tasks),
            "rows": self.table.num_rows,
            "missing": await self._write(folder),
            "models": {asker.name: dict(asker.counts) for asker in askers},
            "given_up": {asker.name: asker.given_up for asker in askers if asker.given_up},
        }

    async def _ask_all(self, askers: Sequence[Asker]) -> None:
        """As soon as a row ends, the next one starts; the first error stops all."""
        scan = self.table.scan(self.read, _BATCH_ROWS)
        waiting = (row for batch in scan for row in batch.to_pylist())
        title = "annotate: " + ", ".join(asker.name for asker in askers)
        with progress(title, self.table.num_rows, "rows") as advance:

            async def worker() -> None:
                for row in waiting:
                    await self._annotated(row)
                    advance(1)

            num_in_flight = sum(asker.model.num_slots for asker in askers)
            workers = [asyncio.create_task(worker()) for _ in range(num_in_flight)]
            try:
                await asyncio.gather(*workers)
            finally:
                for task in workers:
                    task.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _annotated(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The made columns of a row; a value that no reply gives stays None."""
        keep = not self.settings.replace
        values = {name: row.get(name) if keep else None for name in self.made}
        for question in self.questions:
            known = {**row, **values}
            parts = {name: known.get(column) or "" for name, column in question.parts.items()}
            lacking = any(values[name] is None for name in question.columns)
            if lacking and all(parts.values()):
                asker = self.askers[question.role]
                messages = question.messages(parts, asker.endpoint.prompt)
                found = await asker.value(messages, question.read)
                if not isinstance(found, tuple):
                    found = (found,) * len(question.columns)
                values.update(zip(question.columns, found, strict=True))
        return values

    async def _write(self, folder: Path) -> dict[str, int]:
        """The pool with its new columns; gives how many values each of them lacks."""
        wanted = self.table.schema
        for column in schema([name for name in self.made if name not in wanted.names]):
            wanted = wanted.append(column)
        wanted = wanted.remove_metadata()
        missing: Counter[str] = Counter()
        with PoolWriter(folder, wanted) as writer:
            async for batch in self._batches(wanted):
                writer.add(batch)
                missing.update({name: batch.column(name).null_count for name in self.made})
            writer.finish(1.0, {**self.table.counts(), "annotated": self.made})
        return {name: missing[name] for name in self.made}

    async def _batches(self, wanted: pa.Schema) -> AsyncIterator[pa.RecordBatch]:
        for batch in self.table.scan(self.table.schema.names, _BATCH_ROWS):
            values = [await self._annotated(row) for row in batch.select(self.read).to_pylist()]
            columns = {name: batch.column(name) for name in batch.schema.names}
            for name in self.made:
                columns[name] = pa.array([v[name] for v in values], wanted.field(name).type)
            if "trace_tokens" in columns and "reasoning_trace" in self.made:
                same = pc.equal(columns["reasoning_trace"], batch["reasoning_trace"])
                columns["trace_tokens"] = pc.if_else(
                    pc.fill_null(same, False), columns["trace_tokens"], None
                )
            yield pa.RecordBatch.from_pydict(columns, schema=wanted)
