"""Eight budgets in one pass against eight separate runs with an empty store (issue: Speed 1).

    python benchmarks/sweep_once.py [--engine vllm] [--prompts 64] [--rounds 2]

Separate runs are how s1's own evaluation and lm-evaluation-harness make a curve; loading the engine
is not counted for either.
"""

from __future__ import annotations

import workload

from s1x.budget.budget_forcing import BudgetForcing
from s1x.console import say

LIMITS = tuple(range(64, 513, 64))
ANSWER_TOKENS = 8


def main() -> None:
    """Measures and tells."""
    options = workload.arguments(__doc__.splitlines()[0]).parse_args()
    model = workload.make_model(options.model)
    live = workload.start(options, model)
    questions = workload.problems(options.prompts)
    points = [
        BudgetForcing(
            max_thinking_tokens=limit,
            max_answer_tokens=ANSWER_TOKENS,
            answer_reserve_tokens=ANSWER_TOKENS,
        )
        for limit in LIMITS
    ]
    once, apart = [], []
    for _ in range(options.rounds):
        once.append(workload.evaluate(live, model, questions, points, endless=True))
        runs = [
            workload.evaluate(live, model, questions, [point], endless=True) for point in points
        ]
        traces = [run.traces for run in runs]
        together = [ids for question in zip(*traces, strict=True) for ids in question]
        apart.append(
            workload.Run(
                sum(run.wall_seconds for run in runs),
                sum(run.cpu_seconds for run in runs),
                sum(run.generated_tokens for run in runs),
                together,
            )
        )
    one, eight = workload.best(once), workload.best(apart)
    same = sum(a == b for a, b in zip(one.traces, eight.traces, strict=True))
    least = options.prompts * (LIMITS[-1] + len(LIMITS) * ANSWER_TOKENS)
    say(f"engine {options.engine}, {options.prompts} prompts, limits {LIMITS}")
    say(f"eight runs: {eight.wall_seconds:.1f} s, {eight.generated_tokens} tokens")
    say(f"one pass:   {one.wall_seconds:.1f} s, {one.generated_tokens} tokens")
    say(f"wall time {eight.wall_seconds / one.wall_seconds:.2f} times less")
    say(f"CPU time of this process {eight.cpu_seconds / one.cpu_seconds:.2f} times less")
    say(f"tokens {one.generated_tokens / least:.3f} of each trace once and the answers")
    say(f"equal traces: {same} of {len(one.traces)}")
    workload.finish()


if __name__ == "__main__":
    main()
