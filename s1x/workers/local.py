"""One engine, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s1x.engine.engine import Engine, LiveEngine
from s1x.engine.live import live_engine
from s1x.option import option
from s1x.workers.workers import About, Bench, Done, I, Pool, R, Replica, Work, Workers

if TYPE_CHECKING:
    from s1x.model.model import Model


class LocalReplica(Replica[I, R]):
    """An engine of this process."""

    def __init__(self, live: LiveEngine, bench: Bench[I, R]) -> None:
        super().__init__(About.of(live, "here"))
        self.bench = bench

    async def do(self, item: I) -> Done[R]:
        return await self.bench.do(item)

    async def close(self) -> Sequence[str]:
        return self.bench.close()


@option("workers", "local")
@dataclass(frozen=True)
class Local(Workers):
    """The run's own process does everything with one engine, which may use several GPUs."""

    @asynccontextmanager
    async def replicas(
        self, engine: Engine, model: Model, work: Work[I, R], pool: Pool[I, R]
    ) -> AsyncIterator[None]:
        live = live_engine(engine, model)
        pool.add(LocalReplica(live, work.open(live)))
        yield
