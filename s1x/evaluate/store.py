"""`stages=[store]`: shows the trace store, makes it smaller or checks it where `store` says so.

A store assumes that the same weights write the same tokens again. On a CPU they do, bit for bit; on
GPUs greedy tokens can change with the batch. `stages=[store] store.check=100` measures it.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from s1x.engine.engine import Engine, LiveEngine, Request, Sampling
from s1x.engine.live import close_engine, live_engine, run_in_loop
from s1x.errors import UserError
from s1x.evaluate.answers import store_key
from s1x.model.model import Model
from s1x.stages import Run, Stage
from s1x.traces.store import TraceStore
from s1x.traces.upkeep import ModelTraces, describe, end_ids, opened, prune


class StoreStage(Stage):
    """Makes no artifact."""

    name = "store"

    @classmethod
    def execute(cls, run: Run) -> None:
        """Prints what is there, after what was removed."""
        settings, place = run.config.store, run.config.store.place(run.output)
        if settings.remove_models or settings.unused_days is not None or settings.merge:
            freed = prune(place, settings.remove_models, settings.unused_days, settings.merge)
            print(f"freed {freed / 2**20:.1f} MiB")
        for traces in describe(place):
            print("\n".join(traces.lines()))
        if settings.check:
            for line in check(place, run.config.engine, settings.check, run.config.root.seed):
                print(line)


@dataclass(frozen=True)
class Checked:
    """How many streams came out otherwise, and where the first token differed in each of those."""

    num_streams: int
    num_tokens: int
    first_differences: tuple[int, ...]

    def line(self) -> str:
        """The finding in a sentence."""
        count, differ = self.num_streams, len(self.first_differences)
        if not count:
            return "nothing to regenerate: no greedy stream that begins at a short prompt is stored"
        told = f"{count:,} streams regenerated ({self.num_tokens:,} tokens), "
        told += f"{differ:,} differ ({differ / count:.1%})"
        if differ:
            middle = sorted(self.first_differences)[differ // 2]
            told += f"; half of those differ by token {middle:,}"
        return told


def check(folder: Path, engine: Engine, num_streams: int, seed: int = 0) -> Iterator[str]:
    """A line on each model of a store: how far regenerated streams agree with the stored ones.

    Args:
        folder: the store.
        engine: regenerates; models that another engine wrote are named and passed over.
        num_streams: regenerated per model at most.
        seed: of the choice of streams.
    """
    for traces in describe(folder):
        try:
            model = _model_of(traces)
            live = live_engine(engine, model)
            if store_key(model, live, end_ids(traces.description)) != traces.model:
                wrote = json.dumps(traces.description.get("engine"))
                raise UserError(f"other weights or another engine wrote it ({wrote})")
            with opened(folder / traces.model, traces.description) as store:
                found = run_in_loop(regenerate(store, live, num_streams, seed))
        except UserError as error:
            yield f"{traces.model}  not checked: {error}"
        else:
            yield f"{traces.model}  {found.line()}"
    close_engine()


def _model_of(traces: ModelTraces) -> Model:
    settings = traces.description.get("settings")
    if not isinstance(settings, dict):
        raise UserError("it was written by an earlier s1x, which kept no settings of the model")
    return Model(name=str(traces.description.get("name")), **settings)


async def regenerate(
    store: TraceStore, live: LiveEngine, num_streams: int, seed: int = 0
) -> Checked:
    """Generates a sample of the streams whose origin is known again, side by side."""
    known = {stream: _request(origin) for stream, origin in store.origins()}
    usable = sorted(s for s, asked in known.items() if live.keeps_samples or asked.sampling.greedy)
    chosen = random.Random(seed).sample(usable, min(num_streams, len(usable)))
    appetite = asyncio.Semaphore(live.max_sequences)

    async def one(stream: bytes) -> tuple[int, int | None]:
        stored = store.load(stream)
        if not stored:
            return 0, None
        async with appetite:
            again = await _generate(live, replace(known[stream], max_tokens=len(stored)))
        pairs = enumerate(zip(stored, again, strict=True))
        return len(stored), next((i for i, (old, new) in pairs if old != new), None)

    found = [pair for pair in await asyncio.gather(*map(one, chosen)) if pair[0]]
    differences = tuple(first for _, first in found if first is not None)
    return Checked(len(found), sum(length for length, _ in found), differences)


def _request(text: str) -> Request:
    """The request for one token of a stream with this origin."""
    origin = json.loads(text)
    return Request(
        prefix_ids=tuple(origin["prefix_ids"]),
        max_tokens=1,
        sampling=Sampling(*origin["sampling"]),
        ban_first=tuple(origin["ban_first"]),
    )


async def _generate(live: LiveEngine, request: Request) -> list[int]:
    written: list[int] = []

    def on_tokens(ids: Sequence[int]) -> bool:
        written.extend(ids)
        return len(written) < request.max_tokens

    await live.generate(request, on_tokens)
    return written[: request.max_tokens]
