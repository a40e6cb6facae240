"""Eight budgets in one pass against eight separate runs with an empty store (issue: Speed 1).

    python benchmarks/sweep_once.py [--engine vllm] [--prompts 64] [--rounds 2]

Separate runs are how s1's own evaluation and lm-evaluation-harness make a curve; loading the engine
is not counted for either. Measured for traces that fill every budget, and for traces that end by
themselves after `--mean` tokens on average. With vLLM the separate runs are measured in blocks of
ours (32 tokens on the CPU) and in vLLM's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import workload

from s1x.budget.budget_forcing import BudgetForcing
from s1x.engine.engine import LiveEngine
from s1x.model.chat_format import Chat
from s1x.model.model import Model

LIMITS = tuple(range(64, 513, 64))
ANSWER_TOKENS = 8
POINTS = [
    BudgetForcing(
        max_thinking_tokens=limit,
        max_answer_tokens=ANSWER_TOKENS,
        answer_reserve_tokens=ANSWER_TOKENS,
    )
    for limit in LIMITS
]


def in_one_pass(
    live: LiveEngine, model: Model, chats: Sequence[Chat], points: Sequence[BudgetForcing] = POINTS
) -> workload.Run:
    """All budgets together."""
    return workload.evaluate(live, model, workload.problems(len(chats)), points, chats=chats)


def in_eight_runs(
    live: LiveEngine, model: Model, chats: Sequence[Chat], points: Sequence[BudgetForcing] = POINTS
) -> workload.Run:
    """One budget after the other, each over an empty store."""
    questions = workload.problems(len(chats))
    runs = [workload.evaluate(live, model, questions, [point], chats=chats) for point in points]
    by_question = zip(*(run.traces for run in runs), strict=True)
    return workload.Run(
        sum(run.wall_seconds for run in runs),
        sum(run.cpu_seconds for run in runs),
        sum(run.generated_tokens for run in runs),
        [trace for traces in by_question for trace in traces],
    )


def least_tokens(run: workload.Run) -> int:
    """Each trace once to its largest limit, and the answers that differ."""
    least = 0
    for i in range(0, len(run.traces), len(POINTS)):
        points = range(i, i + len(POINTS))
        answers = {tuple(run.traces[point]): run.written[point][1] for point in points}
        least += max(run.written[point][0] for point in points) + sum(answers.values())
    return least


def main() -> None:
    """Measures and tells."""
    parser = workload.arguments(__doc__.splitlines()[0])
    parser.add_argument("--mean", type=int, default=256, help="tokens of traces that end")
    options = parser.parse_args()
    model = workload.make_model(options)
    live = workload.start(options, model)
    chats = {
        "fill every budget": workload.make_chats(
            model, workload.problems(options.prompts), endless=True
        ),
        "end by themselves": workload.ending_chats(live, model, options.prompts, options.mean),
    }
    once: dict[str, workload.Run] = {}
    apart: dict[tuple[str, str], workload.Run] = {}
    for name, prompts in chats.items():
        runs = [
            (in_one_pass(live, model, prompts), in_eight_runs(live, model, prompts))
            for _ in range(options.rounds)
        ]
        once[name] = workload.best([run for run, _ in runs])
        apart[name, "eight runs"] = workload.best([run for _, run in runs])
    workload.finish()
    if options.engine == "vllm":
        live = workload.start(options, model, workload.DEFAULT_BLOCK_TOKENS)
        for name, prompts in chats.items():
            runs = [in_eight_runs(live, model, prompts) for _ in range(options.rounds)]
            apart[name, "eight runs, vLLM's own blocks"] = workload.best(runs)
        workload.finish()

    print(f"engine {options.engine}, {options.prompts} prompts, limits {LIMITS}")
    for name, one in once.items():
        share = one.generated_tokens / least_tokens(one)
        print(
            f"traces that {name}: one pass {one.wall_seconds:.1f} s, {one.generated_tokens} tokens"
        )
        print(f"  {share:.3f} of each trace once and the answers")
        for (which, way), run in apart.items():
            if which == name:
                same = sum(a == b for a, b in zip(one.traces, run.traces, strict=True))
                print(f"  {way}: {run.wall_seconds:.1f} s, {run.generated_tokens} tokens")
                print(f"    wall time {run.wall_seconds / one.wall_seconds:.2f} times less")
                print(f"    CPU time of this process {run.cpu_seconds / one.cpu_seconds:.2f}")
                print(f"    equal traces: {same} of {len(one.traces)}")


if __name__ == "__main__":
    main()
