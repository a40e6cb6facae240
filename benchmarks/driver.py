"""What the program itself costs for each token: policies, streams and store, without a model.

python benchmarks/driver.py [--sequences 1024] [--mean 8000] [--longest 32768] [--pieces 16 1]

An engine that costs next to nothing writes traces of drawn lengths (lognormal, the longest cut) for
many sequences at once, in pieces as an engine hands them on; the curve is that of the GPU scales,
7 limits, and then with Waits besides. All runs in one thread. The bar is 100,000 tokens/s; CPU
seconds count, since the machine may do other things too.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import random
import resource
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import workload

from s1x.benchmark.problem import Problem
from s1x.budget import points
from s1x.budget.budget_forcing import BudgetForcing
from s1x.budget.policy import Policy
from s1x.console import say
from s1x.engine.engine import LiveEngine, OnTokens, Request, Sampling
from s1x.engine.live import run_in_loop, together
from s1x.evaluate.schedule import answer
from s1x.model.chat_format import Chat, ChatFormat
from s1x.traces.store import TraceStore
from s1x.traces.streams import Streams

BAR = 100_000
LIMITS = [512, 1024, 2048, 4096, 8192, 16384, None]
WAITS = [1, 2, 4, 6]
THINKING_END, END, WAIT, NEWLINE = 7, 3, 1, 0
#: of a vocabulary like Qwen's; no delimiter among them
_WORDS = [random.Random(0).randrange(100, 151_000) for _ in range(4096)]


class Flood(LiveEngine):
    """Writes drawn numbers of tokens for all requests in turns.

    Args:
        piece_tokens: written at a time.
        mean_tokens: of a trace; what follows a Wait has a tenth, an answer 300.
    """

    keeps_samples = True

    def __init__(self, piece_tokens: int, mean_tokens: int, max_sequences: int) -> None:
        super().__init__()
        self.identity = {"engine": "flood"}
        self.max_sequences, self.piece_tokens = max_sequences, piece_tokens
        self.mean_tokens = mean_tokens
        self.writing: dict[asyncio.Future[None], tuple[OnTokens, list[int]]] = {}
        self.task: asyncio.Task[None] | None = None

    async def generate(self, request: Request, on_tokens: OnTokens) -> None:
        rng = random.Random(f"{request.group} {len(request.prefix_ids)}")
        forced = request.prefix_ids[-1] == WAIT
        mean = self.mean_tokens * (0.1 if forced else 1.0) if request.may_go_on else 300
        number = max(1, int(mean * rng.lognormvariate(-0.32, 0.8)))
        end = THINKING_END if request.may_go_on else END
        offset = rng.randrange(len(_WORDS))
        words = (_WORDS[offset:] + _WORDS * (number // len(_WORDS) + 1))[:number]
        tokens = [*words, end][: request.max_tokens]
        done = asyncio.get_running_loop().create_future()
        self.writing[done] = on_tokens, tokens[::-1]
        if self.task is None:
            self.task = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        size = self.piece_tokens
        while self.writing:
            for done, (on_tokens, left) in list(self.writing.items()):
                piece = left[: -size - 1 : -1]
                del left[-size:]
                if not (on_tokens(piece) and left):
                    del self.writing[done]
                    done.set_result(None)
            await asyncio.sleep(0)
        self.task = None


def chat(longest: int) -> Chat:
    """A prompt of 200 tokens, in a format without a tokenizer."""
    form = ChatFormat(
        context_tokens=longest,
        thinking_stops=((THINKING_END,), (END,)),
        answer_stops=((END,),),
        answer_start=(THINKING_END, 4),
        cue=(2,),
        newline=(NEWLINE,),
        encode=lambda text: (WAIT,) if text == "Wait" else (NEWLINE,) * bool(text),
        decode=lambda ids: "" if not ids else "x",
        holding=lambda text: ((NEWLINE,),),
    )
    return Chat(form, tuple(range(10, 210)))


def measured(live: Flood, curve: list[Policy], options: argparse.Namespace) -> tuple[int, float]:
    """Tokens that were written, and the CPU seconds of all of it."""
    problems = [Problem(str(i), f"{i}", "", "") for i in range(options.sequences)]
    prompt = chat(options.longest)
    with TemporaryDirectory() as folder, TraceStore(Path(folder), "m") as store:
        streams = Streams(live, store, Sampling())

        async def one(problem: Problem) -> None:
            own = replace(prompt, prompt_ids=(*prompt.prompt_ids, int(problem.problem_id) + 300))
            await answer(problem, 0, curve, [own] * len(curve), streams)

        begun = time.process_time()
        run_in_loop(together(map(one, problems)))
        store.commit()
        return streams.counts.generated_tokens, time.process_time() - begun


def main() -> None:
    """Measures and tells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=1024)
    parser.add_argument("--mean", type=int, default=8000, help="tokens of a trace")
    parser.add_argument("--longest", type=int, default=32_768, help="tokens of the context")
    parser.add_argument("--pieces", type=int, nargs="+", default=[16, 1])
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    options = parser.parse_args()
    curves: dict[str, dict[str, list[object]]] = {
        "7 limits": {"max_thinking_tokens": list(LIMITS)},
        "7 limits, 4 Waits": {"max_thinking_tokens": list(LIMITS), "num_waits": list(WAITS)},
    }
    for size in options.pieces:
        for name, settings in curves.items():
            curve = points(BudgetForcing(), settings)
            live = Flood(size, options.mean, options.sequences)
            profile = cProfile.Profile() if options.profile else None
            if profile is not None:
                profile.enable()
            tokens, seconds = measured(live, curve, options)
            if profile is not None:
                profile.disable()
                pstats.Stats(profile).sort_stats("tottime").print_stats(18)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            verdict = "" if tokens / seconds >= BAR else f"; the bar of {BAR:,} is missed"
            say(
                f"{options.sequences} sequences, {name}, pieces of {size}: {tokens:,} tokens in "
                f"{seconds:.1f} CPU s, {tokens / seconds:,.0f} tokens/s{verdict} ({peak:.1f} GiB)"
            )
    workload.finish()


if __name__ == "__main__":
    main()
