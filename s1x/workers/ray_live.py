"""Replicas as Ray actors: an engine each, started where there is room and again when one dies.

Ray places, watches and connects; what is here is the actor and the loop that asks for as many as
fit. Actors outlive a pool, so that a model is loaded once for all benchmarks.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError

from s1x.console import say
from s1x.engine.engine import Engine, LiveEngine
from s1x.engine.live import at_close
from s1x.errors import RunError, UserError
from s1x.workers.workers import About, Bench, Done, I, LostError, Pool, R, Replica, Work

if TYPE_CHECKING:
    from s1x.model.model import Model
    from s1x.workers.ray import Ray

T = TypeVar("T")
#: how often nodes and replicas are looked after
EVERY_SECONDS = 1.0
#: replicas that died in a row before any was ready: it is not chance then
MAX_FAILED_STARTS = 3
#: items that an actor takes side by side at most; the pool gives it fewer
_CONCURRENCY = 100_000
_numbers = itertools.count()


class Actor(Generic[I, R]):
    """What runs in a process of Ray's: one engine, and the work beside it."""

    def __init__(self, folder: str, paths: Sequence[str], num_threads: int | None) -> None:
        sys.path += [path for path in paths if path not in sys.path]  # users' own modules
        with suppress(OSError):  # another file system: settings must then name absolute paths
            os.chdir(folder)
        self.num_threads = num_threads
        self.benches: dict[int, Bench[I, R]] = {}
        self.live: LiveEngine | None = None

    async def placed(self) -> str:
        """The host that it runs on, as soon as it runs."""
        return f"{socket.gethostname()} {os.getpid()}"

    async def start(self, engine: Engine, model: Model) -> About:
        """Loads the model."""
        if self.num_threads is not None:
            import torch  # the engine imports it anyhow

            torch.set_num_threads(self.num_threads)
        with _plain_errors():
            self.live = engine.start(model)
        return About.of(self.live, await self.placed())

    async def open(self, number: int, work: Work[I, R]) -> None:
        """Sets work up, under a number."""
        assert self.live is not None
        with _plain_errors():
            self.benches[number] = work.open(self.live)

    async def do(self, number: int, item: I) -> Done[R]:
        """See `Bench.do`."""
        with _plain_errors():
            return await self.benches[number].do(item)

    async def close(self, number: int) -> Sequence[str]:
        """Closes the work of that number."""
        return self.benches.pop(number).close()


@contextmanager
def _plain_errors() -> Iterator[None]:
    """User's errors as plain ones: what they remember may not be fit to travel."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error)) from None


@dataclass(eq=False)
class Seat:
    """An actor that has its model loaded."""

    actor: ActorHandle[Actor[Any, Any]]
    about: About


@dataclass(eq=False)
class Crew:
    """The actors of one model under one engine.

    Attributes:
        mark: engine, model and settings that they were started with.
        seats: those that are ready.
        placing: those that are not yet.
        num_failed: starts that failed since one went well.
    """

    settings: Ray
    engine: Engine
    model: Model
    seats: list[Seat] = field(default_factory=list)
    placing: int = 0
    num_failed: int = 0
    why_failed: str = ""

    @property
    def mark(self) -> object:
        """What tells it from other crews."""
        return self.settings, self.engine, self.model.fingerprint(), self.model.source()

    def close(self) -> None:
        """Ends the actors and frees their devices."""
        for seat in self.seats:
            with suppress(RayError):
                ray.kill(seat.actor)
        self.seats.clear()

    def room(self) -> tuple[int, int, int]:
        """Replicas that the living nodes have room for, and GPUs and processors of each."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        gpus = self.engine.num_gpus if any(node.get("GPU") for node in nodes) else 0
        cpus = self.settings.cpus_per_replica
        wanted = self.settings.num_replicas or (None if gpus else 1)
        if cpus is None:
            total = sum(int(node.get("CPU", 0)) for node in nodes)
            cpus = 1 if gpus else max(1, total // max(wanted or 1, len(nodes)))
        fit = 0
        for node in nodes:
            of_gpus = int(node.get("GPU", 0)) // gpus if gpus else math.inf
            fit += int(min(of_gpus, int(node.get("CPU", 0)) // cpus))
        return (fit if wanted is None else min(fit, wanted)), gpus, cpus

    async def start_one(self, gpus: int, cpus: int, pool: Pool[I, R]) -> None:
        """Starts an actor and loads the model; the pool knows of it once it has its place."""
        self.placing += 1
        devices = {"num_gpus": gpus, "num_cpus": cpus}
        remote = ray.remote(Actor).options(**devices, max_concurrency=_CONCURRENCY)
        actor: Any = remote.remote(os.getcwd(), sys.path, None if gpus else cpus)
        starting = 0
        try:
            await _called(actor.placed.remote())
            starting = 1
            pool.starting += starting
            about = await _called(actor.start.remote(self.engine, self.model))
        except LostError as error:
            self.num_failed += 1
            self.why_failed = str(error)
        except BaseException:
            ray.kill(actor)
            raise
        else:
            self.seats.append(Seat(actor, about))
            self.num_failed = 0
        finally:
            pool.starting -= starting
            self.placing -= 1


class RayReplica(Replica[I, R]):
    """An actor with one piece of work open."""

    def __init__(self, crew: Crew, seat: Seat, number: int) -> None:
        super().__init__(seat.about)
        self.crew, self.seat, self.number = crew, seat, number

    async def do(self, item: I) -> Done[R]:
        try:
            done: Done[R] = await _called(self.seat.actor.do.remote(self.number, item))
        except LostError as error:
            if self.seat in self.crew.seats:
                self.crew.seats.remove(self.seat)
                say(f"workers: the engine at {self.about.place} is lost ({error}); others go on")
            raise
        return done

    async def close(self) -> Sequence[str]:
        notes: Sequence[str] = await _called(self.seat.actor.close.remote(self.number))
        return notes


_crew: Crew | None = None


def _crew_of(settings: Ray, engine: Engine, model: Model) -> Crew:
    """The actors that are there for it; those of another model are ended."""
    global _crew
    wanted = Crew(settings, engine, model)
    if _crew is None or _crew.mark != wanted.mark:
        _close_crew()
        _crew = wanted
    return _crew


def _close_crew() -> None:
    global _crew
    if _crew is not None and ray.is_initialized():
        _crew.close()
    _crew = None


at_close(_close_crew)


def connect(address: str | None) -> None:
    """Joins the cluster, or makes this machine one.

    Raises:
        UserError: there is none at the address.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"workers.address={address}: no Ray cluster answers ({reason}); start one with "
            "`ray start --head` (docs/workers.md), or leave it null for this machine alone"
        ) from None
    with suppress(ValueError):  # another thread than the main one: Ray has set nothing
        signal.signal(signal.SIGTERM, on_sigterm)


@asynccontextmanager
async def replicas(
    settings: Ray, engine: Engine, model: Model, work: Work[I, R], pool: Pool[I, R]
) -> AsyncIterator[None]:
    """See `Workers.replicas`."""
    connect(settings.address)
    supply = asyncio.create_task(_Supply(_crew_of(settings, engine, model), work, pool).run())
    try:
        while not pool.replicas:
            done, _ = await asyncio.wait({supply}, timeout=0.02)
            if done:
                supply.result()
        supply.add_done_callback(lambda task: _tell(task, pool))
        yield
    finally:
        supply.cancel()
        await asyncio.gather(supply, return_exceptions=True)


def _tell(supply: asyncio.Task[None], pool: Pool[I, R]) -> None:
    if not supply.cancelled() and isinstance(error := supply.exception(), Exception):
        pool.fail(error)


@dataclass(eq=False)
class _Supply(Generic[I, R]):
    """Keeps a pool in replicas for as long as it runs."""

    crew: Crew
    work: Work[I, R]
    pool: Pool[I, R]
    number: int = field(default_factory=lambda: next(_numbers))
    open_at: set[Seat] = field(default_factory=set)

    async def run(self) -> None:
        """Starts what is missing, opens the work at what has come.

        Raises:
            UserError: no node can hold a replica, or the engine refuses to start.
            RunError: replicas die while they start.
        """
        crew, tasks = self.crew, set[asyncio.Task[None]]()
        try:
            while True:
                wanted, gpus, cpus = crew.room()
                if not (wanted or crew.seats or crew.placing or self.pool.replicas):
                    raise UserError(_no_room(gpus, cpus))
                if crew.num_failed >= MAX_FAILED_STARTS:
                    raise RunError(
                        f"{crew.num_failed} engines in turn were lost while they started "
                        f"({crew.why_failed}); Ray's logs tell more"
                    )
                for _ in range(wanted - len(crew.seats) - crew.placing):
                    tasks.add(asyncio.create_task(crew.start_one(gpus, cpus, self.pool)))
                for seat in set(crew.seats) - self.open_at:
                    self.open_at.add(seat)
                    tasks.add(asyncio.create_task(self._open(seat)))
                if not tasks:
                    await asyncio.sleep(EVERY_SECONDS)
                    continue
                done, tasks = await asyncio.wait(
                    tasks, timeout=EVERY_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, seat: Seat) -> None:
        try:
            await _called(seat.actor.open.remote(self.number, self.work))
        except LostError:
            with suppress(ValueError):
                self.crew.seats.remove(seat)
        else:
            self.pool.add(RayReplica(self.crew, seat, self.number))


def _no_room(gpus: int, cpus: int) -> str:
    needs = f"{gpus} GPUs and " if gpus else ""
    return (
        f"no node of the Ray cluster has {needs}{cpus} CPUs for an engine; start one that does, "
        "or lower workers.cpus_per_replica or the engine's GPUs"
    )


async def _called(reference: Awaitable[T]) -> T:
    """What an actor's method gives.

    Raises:
        LostError: the actor is gone.
    """
    try:
        return await reference
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        last = str(error).strip().splitlines()[-1]
        raise RunError(f"a Ray worker failed ({last}); Ray's logs tell more") from error
    except RayError as error:
        raise LostError(type(error).__name__) from error
