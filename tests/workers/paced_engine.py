"""Engines for tests: one that walks until somebody lets it run, one that throws dice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from s1x.engine.engine import Engine, LiveEngine
from s1x.engine.scripted import ScriptedEngine, random_tokens
from s1x.engine.transformers import Transformers
from s1x.engine.transformers_live import TransformersEngine
from s1x.model.model import Model


@dataclass(frozen=True)
class Paced(Transformers):
    """Waits 50 ms at each step until the file `pace` is there."""

    pace: str = ""

    def start(self, model: Model) -> LiveEngine:
        live = super().start(model)
        assert isinstance(live, TransformersEngine)
        step = live.step

        async def paced() -> None:
            if not Path(self.pace).exists():
                await asyncio.sleep(0.05)
            await step()

        live.step = paced  # type: ignore[method-assign]
        return live


@dataclass(frozen=True)
class Dice(Engine):
    """Each token depends on those before it and on the sample's seed, to the last bit."""

    def start(self, model: Model) -> LiveEngine:
        return ScriptedEngine(random_tokens(200))
