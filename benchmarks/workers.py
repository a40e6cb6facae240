"""Two engines on two processors against one on one (issue: many engines).

python benchmarks/workers.py [--prompts 160] [--rounds 3]

A random model of 4 layers of width 256 on engine=transformers, one thread each, under workers=ray:
one replica and two in turns, models loaded beforehand, an empty store each time. The bar is 1.6
times the tokens/s. It means something only on a machine that does nothing else, and with
more prompts than two engines have in flight.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import workload

from s1x.budget.budget_forcing import BudgetForcing
from s1x.console import say
from s1x.engine.transformers import Transformers
from s1x.evaluate.settings import Sampling
from s1x.evaluate.stage import Evaluation
from s1x.library import load
from s1x.model.model import Model
from s1x.workers.ray import Ray

BAR = 1.6


def make_model() -> Model:
    """The puzzle world's format over random weights, whose traces fill their budgets."""
    folder = Path(tempfile.mkdtemp(prefix="s1x-benchmark-"))
    workload.write_random_model(folder, 512, real_vocabulary=False)
    return replace(load("puzzle_base").model, name="m", path=str(folder))


def tokens_per_second(model: Model, num_replicas: int, num_prompts: int, seed: int) -> float:
    """Of an evaluation whose engines are loaded."""
    with tempfile.TemporaryDirectory() as folder:
        for number in (2 * num_replicas, num_prompts):  # the first loads the models
            begun = time.perf_counter()
            about = Evaluation(
                model,
                "base",
                "thinking",
                BudgetForcing(max_thinking_tokens=256, max_answer_tokens=8),
                None,
                "random",
                workload.problems(number, seed),
                Transformers(device="cpu"),
                Sampling(),
                seed,
                None,
                workers=Ray(num_replicas=num_replicas, cpus_per_replica=1),
            ).run(Path(folder))
        seconds, generated = time.perf_counter() - begun, about["generated_tokens"]
        assert isinstance(generated, int)
        return generated / seconds


def main() -> None:
    """Measures and tells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    model, speeds = make_model(), dict[int, list[float]]()
    for seed in range(options.rounds):
        for count in (1, 2):
            speeds.setdefault(count, []).append(
                tokens_per_second(model, count, options.prompts, seed)
            )
    for count, found in speeds.items():
        each = ", ".join(f"{speed:,.0f}" for speed in found)
        say(f"{count} replica{'s' if count > 1 else ''}: {each} tokens/s")
    ratio = max(speeds[2]) / max(speeds[1])
    say(f"two against one: {ratio:.2f} (bar {BAR}){'' if ratio >= BAR else ', missed'}")
    workload.finish()


if __name__ == "__main__":
    main()
