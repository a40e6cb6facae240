"""What it costs to keep how sure the model was of each token: tokens/s with it and without.

    python benchmarks/confidence.py [--engine vllm] [--prompts 64] [--real-vocabulary] [--rounds 4]

The same prompts in turns, each into an empty store. The log-probabilities of the 20 likeliest are
asked of the engine, and four numbers a token are written beside the ids.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import workload

from s1x.budget.budget_forcing import BudgetForcing
from s1x.console import say

TOKENS = 256


def main() -> None:
    """Measures and tells."""
    options = workload.arguments(__doc__.splitlines()[0]).parse_args()
    model = workload.make_model(options)
    live = workload.start(options, model)
    questions = workload.problems(options.prompts)
    point = BudgetForcing(
        max_thinking_tokens=TOKENS - 1, max_answer_tokens=1, answer_reserve_tokens=1
    )
    speeds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(options.rounds):
        for on, found in speeds.items():
            with TemporaryDirectory() as folder:
                run = workload.evaluate(
                    live, model, questions, [point], Path(folder), endless=True, confidence=on
                )
            found.append(run.generated_tokens / run.wall_seconds)
    ratios = [on / off for off, on in zip(*speeds.values(), strict=True)]
    say(f"engine {options.engine}, {options.prompts} prompts x {TOKENS} tokens")
    say(f"without: {median(speeds[False]):.0f} tokens/s; with: {median(speeds[True]):.0f}")
    spread = f"of {options.rounds} pairs {min(ratios):.3f} to {max(ratios):.3f}"
    say(f"share {median(ratios):.3f} ({spread})")
    workload.finish()


if __name__ == "__main__":
    main()
