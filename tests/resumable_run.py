"""An evaluation that is killed: `resumable_run.py FOLDER REQUESTS` or `FOLDER --model MODEL`.

With a model it is the evaluate stage on the transformers engine, killed from outside; without,
the schedule over random streams, which starts in no time and kills itself at that many requests.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "budget"))
from policy_bench import chat_format

from s1x.benchmark.problem import Problem
from s1x.budget.budget_forcing import BudgetForcing
from s1x.budget.points import points
from s1x.engine.engine import OnTokens, Request, Sampling
from s1x.engine.live import together
from s1x.engine.scripted import ScriptedEngine, random_tokens
from s1x.evaluate.schedule import Answered, answer
from s1x.model.chat_format import Chat
from s1x.traces.store import TraceStore
from s1x.traces.streams import Streams

CURVE = {"max_thinking_tokens": [8, 32, 128, None], "num_waits": [0, 1, 3]}
NUM_PROBLEMS = 60


def evaluate(folder: Path, die_at_request: int | None = None) -> dict[str, Any]:
    """All rows, and what the engine was asked for."""

    class Mortal(ScriptedEngine):
        async def generate(self, request: Request, on_tokens: OnTokens) -> None:
            if die_at_request is not None:
                await asyncio.sleep(0.1)  # so that the store commits in between
            if die_at_request is not None and len(self.requests) >= die_at_request:
                os.kill(os.getpid(), signal.SIGKILL)
            await super().generate(request, on_tokens)

    engine = Mortal(random_tokens(40), max_sequences=16)
    form = chat_format((7, 8), context_tokens=400)
    problems = [Problem(f"p{i}", str(i), "", "d") for i in range(NUM_PROBLEMS)]
    policy = BudgetForcing(max_answer_tokens=8, answer_reserve_tokens=8)
    with TraceStore(folder, "m", save_every_tokens=16, commit_every_seconds=0.02) as store:
        streams = Streams(engine, store, Sampling())
        curve = points(policy, CURVE)

        async def all_() -> list[list[Answered]]:
            return await together(
                answer(p, 0, curve, [Chat(form, (50, 51, 100 + i))] * len(curve), streams)
                for i, p in enumerate(problems)
            )

        rows = [row for found in asyncio.run(all_()) for row in found]
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


def evaluate_model(folder: Path, model_folder: Path, num_problems: int = 900) -> dict[str, Any]:
    """The same of the evaluate stage: rows as in the file, but for the seconds."""
    import pyarrow.parquet as pq

    from s1x.engine.transformers import Transformers
    from s1x.evaluate.settings import Sampling as EvaluateSampling
    from s1x.evaluate.stage import Evaluation
    from s1x.model.model import Model
    from s1x.rows import schema

    settings = {"dtype": "float32", "context_tokens": 256, "pad_token": "<|fim_pad|>"}
    out = folder.with_name(folder.name + "-out")
    out.mkdir(exist_ok=True)
    about = Evaluation(
        Model(name="tiny", path=str(model_folder), **settings),
        model_role="fine_tuned",
        prompt_format="thinking",
        policy=BudgetForcing(max_answer_tokens=8, answer_reserve_tokens=8),
        curve={"max_thinking_tokens": [8, 32, 128, None], "num_waits": [0, 1, 3]},
        benchmark_name="tiny",
        problems=[
            Problem(f"p{i}", f"solve {i} x + 3 = 5 mod 7", "1", "d") for i in range(num_problems)
        ],
        engine=Transformers(batch_size=32),
        sampling=EvaluateSampling(),
        seed=0,
        store_folder=folder,
    ).run(out)
    columns = [name for name in schema().names if not name.endswith("_seconds")]
    return {
        "rows": pq.read_table(out / "rows.parquet", columns=columns).to_pylist(),
        "stored_tokens": about["stored_tokens"],
        "generated_tokens": about["generated_tokens"],
    }


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if sys.argv[2] == "--model":
        with tempfile.TemporaryDirectory() as warm:  # imports and loading are not to be killed
            evaluate_model(Path(warm) / "run", Path(sys.argv[3]), num_problems=1)
        print("started", flush=True)
        evaluate_model(place, Path(sys.argv[3]))
    else:
        evaluate(place, int(sys.argv[2]))
