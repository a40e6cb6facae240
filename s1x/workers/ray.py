"""Copies of the engine wherever a Ray cluster has room for one (`ray_live`)."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from s1x.engine.engine import Engine
from s1x.errors import UserError
from s1x.option import option, setting
from s1x.workers.workers import I, Pool, R, Work, Workers

if TYPE_CHECKING:
    from s1x.model.model import Model

#: engines that questions are made ready for, where nobody has said how many there are
_MANY = 16


@option("workers", "ray")
@dataclass(frozen=True)
class Ray(Workers):
    """Ray places copies of the engine, `engine.num_gpus` GPUs each; what dies is started again.

    The cluster is the one that `ray start` or `ray symmetric-run` has started here, or the one at
    `address`; without any, this machine alone becomes one. Nodes may join and leave at any time.
    """

    needs: ClassVar = ("ray",)
    makes_copies: ClassVar = True

    num_replicas: int | None = setting(
        None,
        "copies of the engine at most; null: as many as there are GPUs for, one on processors",
        at_least=1,
        affects_result=False,
    )
    address: str | None = setting(
        None,
        "of the Ray cluster (host:port); null: RAY_ADDRESS, else the one that runs on this "
        "machine, else a new one of this machine alone",
        affects_result=False,
    )
    cpus_per_replica: int | None = setting(
        None,
        "processors of each copy, and its threads; null: one beside GPUs, else the cluster's "
        "divided by num_replicas",
        at_least=1,
        affects_result=False,
    )

    @property
    def most_engines(self) -> int:
        return self.num_replicas or _MANY

    @property
    def is_elsewhere(self) -> bool:
        running = Path("/tmp/ray/ray_current_cluster")  # what `ray start` leaves
        return bool(self.address or os.environ.get("RAY_ADDRESS")) or running.exists()

    def replicas(
        self, engine: Engine, model: Model, work: Work[I, R], pool: Pool[I, R]
    ) -> AbstractAsyncContextManager[None]:
        from s1x.workers.ray_live import replicas  # Ray is an extra, and takes a second to import

        return replicas(self, engine, model, work, pool)

    def check(self, engine: Engine) -> None:
        """Ray is installed, and the engine is one that can be copied."""
        if engine.is_remote:
            raise UserError(
                "workers=ray would do nothing: the engine's servers do the work; name all of them "
                "in engine.base_urls and leave workers=local"
            )
        if find_spec("ray") is None:
            raise UserError("workers=ray needs Ray, not installed here; pip install 's1x[ray]'")
