"""How long replicas stand idle at the end of an evaluation: a simulation with our queue.

python benchmarks/replicas.py [--replicas 2 8 64] [--figures ../shared/data/figures.json]

30 AIME problems x 64 samples and MATH500, a 32B on 4 H100 a replica by the plan's formula. The mean
length of a problem is drawn from the published histogram of s1K-1.1's traces (AIME) or of s1K's
(MATH500), a sample's from around it (lognormal, --spread; an assumption). Three ways: static slices
(item i goes to replica i mod N, as peers do), ours (`s1x.workers.Pool`: a queue, longest problems
first, as far as their finished samples have shown it), and the limit: the same queue if it knew
every length.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path

from rank_balance import FIGURES, lengths_of

from s1x.console import say
from s1x.engine.live import together
from s1x.gpus import GPUS
from s1x.model.architecture import Architecture
from s1x.plan import Deployment
from s1x.workers.workers import About, Done, Pool, Replica

SHAPE = Architecture(5120, 64, 27648, 40, 8, 152064)
DEPLOYMENT = Deployment(tensor_parallel=4)
LONGEST = 32_000

#: problem, tokens
Item = tuple[int, int]


class Clock(asyncio.SelectorEventLoop):
    """A loop in which nothing waits: time is where the next timer is."""

    def __init__(self) -> None:
        super().__init__()
        self.now, selector = 0.0, self._selector  # type: ignore[attr-defined]
        select = selector.select

        def skip(timeout: float | None = None) -> object:
            assert timeout is not None, "nothing would ever happen again"
            self.now += timeout
            return select(0)

        selector.select = skip

    def time(self) -> float:
        return self.now


class Simulated(Replica[Item, None]):
    """Writes a token of each item in flight in a step, which takes as long as the plan says."""

    def __init__(self, loop: Clock, name: int, slower: float) -> None:
        super().__init__(About({"engine": "simulated"}, True, DEPLOYMENT.in_flight, str(name)))
        self.loop, self.slower, self.written, self.at, self.last = loop, slower, 0.0, 0.0, 0.0
        self.ends: list[tuple[float, int, asyncio.Future[None]]] = []
        self.timer: asyncio.TimerHandle | None = None
        self.numbers = itertools.count()

    def step(self) -> float:
        alone = DEPLOYMENT.step_seconds(SHAPE, GPUS["H100"], len(self.ends), 4000)
        return self.slower * alone

    def advance(self) -> None:
        if self.ends:
            self.written += (self.loop.now - self.at) / self.step()
        self.at = self.loop.now

    def plan(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.ends:
            wait = max(0.0, self.ends[0][0] - self.written) * self.step()
            self.timer = self.loop.call_later(wait, self.end)

    def end(self) -> None:
        self.at, self.written = self.loop.now, self.ends[0][0]
        while self.ends and self.ends[0][0] <= self.written:
            heapq.heappop(self.ends)[2].set_result(None)
            self.last = self.loop.now
        self.plan()

    async def do(self, item: Item) -> Done[None]:
        self.advance()
        found = self.loop.create_future()
        heapq.heappush(self.ends, (self.written + item[1], next(self.numbers), found))
        self.plan()
        await found
        return Done(None, item[1], item[1])


Asked = Callable[[Item], tuple[str, float]]


def run(
    items: list[Item], num_replicas: int, pools: int, asked: Asked, slower: float
) -> tuple[float, float]:
    """Seconds, and the share of the replicas' time that they stood idle.

    Args:
        pools: 1, or as many as replicas: item i then waits for replica i mod N alone.
        asked: an item's group, and how long it is expected to take.
        slower: how much the first replica is.
    """
    loop = Clock()
    replicas = [Simulated(loop, i, 1.0 if i else slower) for i in range(num_replicas)]

    async def all_() -> None:
        queues: list[Pool[Item, None]] = [Pool() for _ in range(pools)]
        for i, replica in enumerate(replicas):
            queues[i % pools].add(replica)
        await together(queues[i % pools].do(item, *asked(item)) for i, item in enumerate(items))

    loop.run_until_complete(all_())
    loop.close()
    seconds = max(replica.last for replica in replicas)
    return seconds, 1 - sum(replica.last for replica in replicas) / (num_replicas * seconds)


def drawn(bins: list[dict[str, float]], problems: int, samples: int, spread: float) -> list[Item]:
    """Samples of problems, problem by problem."""
    rng = random.Random(0)
    means = [rng.choice(lengths_of(bins, seed=1)) for _ in range(problems)]
    return [
        (i, min(LONGEST, max(100, round(mean * rng.lognormvariate(-(spread**2) / 2, spread)))))
        for i, mean in enumerate(means)
        for _ in range(samples)
    ]


def main() -> None:
    """Simulates and tells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicas", type=int, nargs="+", default=[2, 8, 64])
    parser.add_argument("--spread", type=float, default=0.4, help="of a problem's samples (sigma)")
    parser.add_argument("--figures", type=Path, default=FIGURES)
    options = parser.parse_args()
    figures = json.loads(options.figures.read_text(encoding="utf-8"))
    short, long = (found["bins"] for found in figures["s11_traces"]["histogram"])
    cases = {
        "AIME, 30 x 64": drawn(long, 30, 64, options.spread),
        "MATH500": drawn(short, 500, 1, options.spread),
    }
    say("| items | replicas | static slices | ours | the limit |\n|---|---:|---:|---:|---:|")
    for name, items in cases.items():
        for count, slower in itertools.product(options.replicas, (1.0, 2.0)):
            ways = [
                run(items, count, count, lambda item: ("", 0.0), slower),
                run(items, count, 1, lambda item: (str(item[0]), 0.0), slower),
                run(items, count, 1, lambda item: (f"{item}", item[1]), slower),
            ]
            cells = " | ".join(f"{idle:.1%}, {seconds / 60:.1f} min" for seconds, idle in ways)
            which = f"{count}, one at half speed" if slower > 1 else f"{count}"
            say(f"| {name} | {which} | {cells} |")


if __name__ == "__main__":
    main()
