"""An evaluation over random streams that takes a while, to be killed: `resumable_run.py FOLDER`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "budget"))
from policy_bench import chat_format

from s1x.benchmark.problem import Problem
from s1x.budget.budget_forcing import BudgetForcing
from s1x.budget.chat import Chat
from s1x.budget.points import points
from s1x.engine.engine import OnTokens, Request, Sampling
from s1x.engine.scripted import ScriptedEngine, random_tokens
from s1x.engine.streams import Streams
from s1x.evaluate.schedule import answer_all
from s1x.trace_store import TraceStore

CURVE = {"max_thinking_tokens": [8, 32, 128, None], "num_waits": [0, 1, 3]}
NUM_PROBLEMS = 60


def evaluate(folder: Path, seconds_per_request: float = 0.0) -> dict[str, Any]:
    """All rows, and what the engine was asked for."""

    class Slow(ScriptedEngine):
        async def generate(self, request: Request, on_tokens: OnTokens) -> None:
            await asyncio.sleep(seconds_per_request)
            await super().generate(request, on_tokens)

    engine = Slow(random_tokens(40), max_sequences=16)
    form = chat_format((7, 8), context_tokens=400)
    problems = [Problem(f"p{i}", str(i), "", "d") for i in range(NUM_PROBLEMS)]
    policy = BudgetForcing(max_answer_tokens=8, answer_reserve_tokens=8)
    with TraceStore(folder, "m", save_every_tokens=16, commit_every_seconds=0.02) as store:
        streams = Streams(engine, store, Sampling())
        rows = asyncio.run(
            answer_all(
                problems,
                points(policy, CURVE),
                1,
                lambda _, problem: Chat(form, (50, 51, 100 + int(problem.question))),
                streams,
            )
        )
    asked = [(list(request.prefix_ids), written) for request, written in engine.requests]
    return {
        "rows": [
            [row.problem.problem_id, row.point, row.trace.token_ids, row.trace.outcome.end_reason]
            for row in rows
        ],
        "asked": asked,
        "stored_tokens": streams.counts.stored_tokens,
        "generated_tokens": streams.counts.generated_tokens,
    }


if __name__ == "__main__":
    print("started", flush=True)
    print(json.dumps(evaluate(Path(sys.argv[1]), 0.02)))
