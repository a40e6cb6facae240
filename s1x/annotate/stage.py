"""`stages=[annotate]`: a pool in, the same pool with the columns that models make out.

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
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from s1x import costs
from s1x.annotate import tasks
from s1x.annotate.annotate import Annotate
from s1x.annotate.ask import Asker, Spending
from s1x.annotate.store import AnswerStore
from s1x.artifact import Artifact
from s1x.compose import option_named
from s1x.console import progress, say
from s1x.engine.chat import ChatModel, EngineChat, ServerChat
from s1x.engine.client import Client
from s1x.engine.live import close_engine, run_in_loop
from s1x.errors import UserError
from s1x.model.model import Model
from s1x.pool.columns import schema
from s1x.pool.stage import PoolStage
from s1x.pool.writer import PoolWriter
from s1x.selection.table import PoolTable
from s1x.stages import ArtifactStage, Run

STORE = "answers.sqlite"
_BATCH_ROWS = 256

Row = Mapping[str, Any]


class AnnotateStage(ArtifactStage):
    """Traces, verdicts and domains, by servers or by the run's own engine."""

    name = "annotate"
    makes_first = ("pool",)

    @classmethod
    def check(cls, run: Run) -> None:
        """Servers answer; own models are on this machine."""
        run.config.annotate.check()
        for model in own_models(run).values():
            model.source()

    @property
    def label(self) -> str:
        """Words for the console."""
        return "annotated pool"

    def inputs(self) -> dict[str, Any]:
        """The pool, the tasks, and the models that this run asks itself."""
        own = {role: model.fingerprint() for role, model in own_models(self.run).items()}
        inputs = {**PoolStage(self.run).inputs(), "annotate": self.run.config.annotate.described()}
        return {**inputs, "own_models": own} if own else inputs

    def build(self, folder: Path) -> None:
        """Asks what was not asked before (`<output>/answers`)."""
        config = self.run.config
        own = {
            role: EngineChat(config.engine, model, thinking=role == "teacher")
            for role, model in own_models(self.run).items()
        }
        pool, answers = self.run.one("pool").folder, self.run.output / "answers"
        run(pool, config.annotate, folder, answers, own)

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
    start, own = time.perf_counter(), own or {}
    settings.check()
    for name, endpoint in settings.used():
        if not endpoint.base_urls and name not in own:
            raise UserError(
                f"annotate.{name}.base_urls must name a server (http://host:port/v1), got []; "
                "any OpenAI-compatible one will do"
            )
    table = PoolTable(pool_folder)
    store = AnswerStore(store_folder / STORE)
    spending = Spending(settings.max_total_tokens, settings.max_usd)
    askers: dict[str, Asker] = {}
    for name, endpoint in settings.used():
        model = own.get(name)
        if model is None or endpoint.base_urls:
            model = ServerChat(Client(endpoint, settings, endpoint.model, f"annotate.{name}"))
        askers[name] = Asker(name, endpoint, model, store, spending, settings.max_replies)
    try:
        summary = run_in_loop(_annotate(table, settings, folder, askers))
    finally:
        store.close()
    if store.num_damaged:
        say(f"annotate: {store.num_damaged} damaged answers in {store.path} were asked for again")
    summary["usd"] = None if spending.usd_unknown else spending.usd
    summary["wall_seconds"] = time.perf_counter() - start
    text = json.dumps(summary, indent=1, ensure_ascii=False)
    (folder / "annotation.json").write_text(text, encoding="utf-8")
    costs.write(folder, [_cost(asker) for asker in askers.values()])
    return summary


async def _annotate(
    table: PoolTable, settings: Annotate, folder: Path, askers: Mapping[str, Asker]
) -> dict[str, Any]:
    rows = _Rows(table, settings, askers)
    try:
        # a machine holds one model of its own at a time: each gets a pass over the pool
        for _, group in itertools.groupby(askers.values(), key=lambda a: a.model.memory):
            working, start = list(group), time.perf_counter()
            for asker in askers.values():
                asker.offline = asker not in working
            await _ask_all(rows, working)
            for asker in working:
                asker.wall_seconds = (time.perf_counter() - start) / len(working)
    finally:
        for asker in askers.values():
            await asker.model.close()
    for asker in askers.values():
        asker.offline = True
        for reason, count in asker.given_up.items():
            say(f"annotate: {count} calls of {asker.name} were given up: {reason}")
    return {
        "tasks": list(settings.tasks),
        "rows": table.num_rows,
        "missing": await _write(rows, folder),
        "models": {name: dict(asker.counts) for name, asker in askers.items()},
        "given_up": {name: asker.given_up for name, asker in askers.items() if asker.given_up},
    }


async def _ask_all(rows: _Rows, askers: Sequence[Asker]) -> None:
    """As soon as a row ends, the next one starts; the first error stops all."""
    waiting = rows.all()
    title = "annotate: " + ", ".join(asker.name for asker in askers)
    with progress(title, rows.table.num_rows, "rows") as advance:

        async def worker() -> None:
            for row in waiting:
                await rows.annotated(row)
                advance(1)

        num_in_flight = sum(asker.model.num_slots for asker in askers)
        workers = [asyncio.create_task(worker()) for _ in range(num_in_flight)]
        try:
            await asyncio.gather(*workers)
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)


async def _write(rows: _Rows, folder: Path) -> dict[str, int]:
    """The pool with its new columns; gives how many values each of them lacks."""
    table, made = rows.table, rows.made
    wanted = table.schema
    for column in schema([name for name in made if name not in wanted.names]):
        wanted = wanted.append(column)
    wanted = wanted.remove_metadata()
    missing: Counter[str] = Counter()
    with PoolWriter(folder, wanted) as writer:
        async for batch in _batches(rows, wanted):
            writer.add(batch)
            missing.update({name: batch.column(name).null_count for name in made})
        writer.finish(1.0, {**table.counts(), "annotated": made})
    return {name: missing[name] for name in made}


async def _batches(rows: _Rows, wanted: pa.Schema) -> AsyncIterator[pa.RecordBatch]:
    for batch in rows.table.scan(rows.table.schema.names, _BATCH_ROWS):
        values = [await rows.annotated(row) for row in batch.select(rows.read).to_pylist()]
        columns = {name: batch.column(name) for name in batch.schema.names}
        for name in rows.made:
            columns[name] = pa.array([v[name] for v in values], wanted.field(name).type)
        if "trace_tokens" in columns and "reasoning_trace" in rows.made:
            same = pc.equal(columns["reasoning_trace"], batch["reasoning_trace"])
            columns["trace_tokens"] = pc.if_else(
                pc.fill_null(same, False), columns["trace_tokens"], None
            )
        yield pa.RecordBatch.from_pydict(columns, schema=wanted)


class _Rows:
    """The pool's rows, and the columns that the tasks make of each.

    Attributes:
        made: the columns made.
        read: the columns of the pool that the tasks look at.
    """

    def __init__(self, table: PoolTable, settings: Annotate, askers: Mapping[str, Asker]) -> None:
        self.table, self.settings, self.askers = table, settings, askers
        solvers, chosen = list(settings.solvers), settings.tasks
        columns = {
            "trace": ["reasoning_trace", "attempt"],
            "solve": [f"answer_{name}" for name in solvers],
            "judge": ["attempt_is_correct", *(f"is_correct_{name}" for name in solvers)],
            "domain": ["domain"],
        }
        self.made = [name for task in columns if task in chosen for name in columns[task]]
        looked_at = ["question", "solution", *self.made, "attempt", *columns["solve"]]
        self.read = [name for name in dict.fromkeys(looked_at) if name in table.schema.names]

    def all(self) -> Iterator[Row]:
        """The rows in the pool's order, with the columns that the tasks look at."""
        for batch in self.table.scan(self.read, _BATCH_ROWS):
            yield from batch.to_pylist()

    async def annotated(self, row: Row) -> dict[str, Any]:
        """The made columns of a row; a value that no reply gives stays None."""
        keep = not self.settings.replace
        values = {name: row.get(name) if keep else None for name in self.made}
        for task, make in (
            ("trace", self._trace),
            ("solve", self._solve),
            ("judge", self._judge),
            ("domain", self._domain),
        ):
            if task in self.settings.tasks:
                await make(row, values)
        return values

    async def _trace(self, row: Row, values: dict[str, Any]) -> None:
        if values["reasoning_trace"] is None or values["attempt"] is None:
            text = tasks.fill(self._prompt("teacher", tasks.TEACHER_PROMPT), **_question(row))
            reply = await self.askers["teacher"].value([tasks.user(text)], tasks.read_trace)
            values["reasoning_trace"], values["attempt"] = reply or (None, None)

    async def _solve(self, row: Row, values: dict[str, Any]) -> None:
        for name in self.settings.solvers:
            if values[f"answer_{name}"] is None:
                role = f"solvers.{name}"
                text = tasks.fill(self._prompt(role, tasks.SOLVER_PROMPT), **_question(row))
                values[f"answer_{name}"] = await self.askers[role].value(
                    [tasks.user(text)], tasks.read_attempt
                )

    async def _judge(self, row: Row, values: dict[str, Any]) -> None:
        known = {**row, **values}
        attempts = {"attempt_is_correct": known.get("attempt")}
        attempts.update(
            {f"is_correct_{n}": known.get(f"answer_{n}") for n in self.settings.solvers}
        )
        asker, solution = self.askers["judge"], row.get("solution")
        for column, attempt in attempts.items():
            if values[column] is None and attempt and solution:
                messages = tasks.judge_messages(
                    row["question"], attempt, solution, asker.endpoint.prompt
                )
                values[column] = await asker.value(messages, tasks.read_verdict)

    async def _domain(self, row: Row, values: dict[str, Any]) -> None:
        if values["domain"] is None:
            asker = self.askers["classifier"]
            messages = tasks.classifier_messages(row["question"], asker.endpoint.prompt)
            values["domain"] = await asker.value(messages, tasks.read_domain)

    def _prompt(self, role: str, usual: str) -> str:
        return self.askers[role].endpoint.prompt or usual


def _question(row: Row) -> dict[str, str]:
    return {"question": row["question"]}


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
