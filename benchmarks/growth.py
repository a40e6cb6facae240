"""Ten times the problems, and a store of a million streams (issue: Speed 4).

python benchmarks/growth.py [--prompts 64] [--streams 1000000]
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import workload

from s1x.budget.budget_forcing import BudgetForcing
from s1x.console import say
from s1x.traces.store import TraceStore

LIMITS = (16, 32, 64)


def lookups(count: int) -> tuple[float, float]:
    """Mean and 99th percentile of a lookup in milliseconds, in a store of `count` streams."""
    with TemporaryDirectory() as folder:
        with TraceStore(Path(folder), "m") as store:
            for i in range(count):
                store.append(i.to_bytes(16, "little"), 0, range(i % 64))
        rng = random.Random(0)
        times = []
        with TraceStore(Path(folder), "m") as store:
            for _ in range(5000):
                key = rng.randrange(count).to_bytes(16, "little")
                begun = time.perf_counter()
                store.load(key)
                times.append(1000 * (time.perf_counter() - begun))
    times.sort()
    return sum(times) / len(times), times[len(times) * 99 // 100]


def main() -> None:
    """Measures and tells."""
    parser = workload.arguments(__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=1_000_000)
    options = parser.parse_args()
    model = workload.make_model(options)
    live = workload.start(options, model)
    points = [
        BudgetForcing(max_thinking_tokens=limit, max_answer_tokens=8, answer_reserve_tokens=8)
        for limit in LIMITS
    ]
    seconds, cpu = [], []
    for factor in (1, 10):
        questions = workload.problems(factor * options.prompts)
        runs = [
            workload.evaluate(live, model, questions, points, endless=True)
            for _ in range(options.rounds)
        ]
        seconds.append(workload.best(runs).wall_seconds)
        cpu.append(workload.best(runs).cpu_seconds)
    say(f"{options.prompts} problems {seconds[0]:.2f} s, ten times as many {seconds[1]:.2f} s")
    say(f"factor {seconds[1] / seconds[0]:.2f}, in CPU time {cpu[1] / cpu[0]:.2f}")
    workload.finish()
    mean, slow = lookups(options.streams)
    say(f"store of {options.streams} streams: lookup {mean:.3f} ms, 99th percentile {slow:.3f} ms")


if __name__ == "__main__":
    main()
