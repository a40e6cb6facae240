"""Wait x 4 without barriers against rounds with a barrier after each Wait (issue: Speed 2).

    python benchmarks/wait_rounds.py [--prompts 64] [--segment 50] [--cap 512] [--rounds 6]

Rounds are how s1's evaluation works: all prompts think, then all get their Wait, and so on; the
slowest holds the rest. The peer is s1's way as its users have it, vLLM's `LLM.generate` at its own
defaults (prefix cache on). Rounds through this project's engine, in blocks of the same size, tell
how much of the difference is the barrier. The limit is one `LLM.generate` that knows every trace's
length beforehand. All write the same tokens, in turns, on engines that are loaded side by side.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import workload

from s1x.budget.budget_forcing import BudgetForcing
from s1x.console import say
from s1x.engine.engine import LiveEngine, Request
from s1x.engine.live import run_in_loop
from s1x.model.chat_format import Chat, TokenIds
from s1x.model.model import Model

NUM_WAITS, ANSWER_TOKENS = 4, 16
WAIT = "Wait"


#: continues each prefix by at most N tokens, or to a stop token; answers when all are done
Batch = Callable[[Sequence[TokenIds], Sequence[int], Sequence[int]], list[list[int]]]


def in_rounds(write: Batch, chats: Sequence[Chat], cap: int) -> workload.Run:
    """All prompts do a segment, then all that ended theirs get their Wait and do the next."""
    form = chats[0].format
    wait, stops = form.encode(WAIT), [stop[0] for stop in form.thinking_stops]
    traces: list[list[int]] = [[] for _ in chats]
    ended = [False] * len(chats)
    goes_on, generated = list(range(len(chats))), 0
    begun, cpu = time.perf_counter(), time.process_time()
    for after_wait in [False] + [True] * NUM_WAITS:
        if after_wait:
            goes_on = [i for i in goes_on if ended[i] and len(traces[i]) + len(wait) < cap]
            for i in goes_on:
                traces[i] += wait
        prefixes = [(*chats[i].prompt_ids, *traces[i]) for i in goes_on]
        written = write(prefixes, [cap - len(traces[i]) for i in goes_on], stops)
        for i, ids in zip(goes_on, written, strict=True):
            generated += len(ids)
            ended[i] = ids[-1] in stops
            traces[i] += ids[:-1] if ended[i] else ids
    for chat, trace, natural in zip(chats, traces, ended, strict=True):
        if not natural:
            trace += chat.line_break(trace)
        trace += form.answer_start + (() if natural else form.cue)
    prefixes = [(*chat.prompt_ids, *trace) for chat, trace in zip(chats, traces, strict=True)]
    answers = write(prefixes, [ANSWER_TOKENS] * len(chats), [])
    traces = [trace + answer for trace, answer in zip(traces, answers, strict=True)]
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return workload.Run(seconds, cpu, generated + sum(map(len, answers)), traces)


def at_once(write: Batch, chats: Sequence[Chat], lengths: Sequence[int]) -> workload.Run:
    """As many tokens a prompt as are asked for, and nothing that could hold one up."""
    begun, cpu = time.perf_counter(), time.process_time()
    written = write([chat.prompt_ids for chat in chats], lengths, [])
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return workload.Run(seconds, cpu, sum(map(len, written)), written)


def through_our_engine(live: LiveEngine) -> Batch:
    """Plain requests of this project's engine."""

    async def one(prefix: TokenIds, count: int, stops: Sequence[int]) -> list[int]:
        got: list[int] = []

        def keep(ids: Sequence[int]) -> bool:
            got.extend(ids)
            return True

        stop = tuple((token,) for token in stops)
        await live.generate(
            Request(prefix_ids=prefix, max_tokens=count, stop=stop, may_go_on=False), keep
        )
        return got

    async def all_of(
        prefixes: Sequence[TokenIds], counts: Sequence[int], stops: Sequence[int]
    ) -> list[list[int]]:
        pairs = zip(prefixes, counts, strict=True)
        return await asyncio.gather(*(one(prefix, count, stops) for prefix, count in pairs))

    def write(
        prefixes: Sequence[TokenIds], counts: Sequence[int], stops: Sequence[int]
    ) -> list[list[int]]:
        return run_in_loop(all_of(prefixes, counts, stops))

    return write


def through_llm(llm: Any) -> Batch:
    """`LLM.generate`."""
    from vllm import SamplingParams

    def write(
        prefixes: Sequence[TokenIds], counts: Sequence[int], stops: Sequence[int]
    ) -> list[list[int]]:
        outputs = llm.generate(
            [{"prompt_token_ids": list(prefix)} for prefix in prefixes],
            [
                SamplingParams(
                    temperature=0,
                    max_tokens=count,
                    stop_token_ids=list(stops),
                    ignore_eos=True,
                    detokenize=False,
                )
                for count in counts
            ],
            use_tqdm=False,
        )
        return [list(output.outputs[0].token_ids) for output in outputs]

    return write


def start_llm(model: Model, enforce_eager: bool) -> Any:
    """vLLM as its users start it."""
    from vllm import LLM

    return LLM(
        model=model.path,
        dtype="float32",
        max_model_len=model.context_tokens,
        skip_tokenizer_init=True,
        enforce_eager=enforce_eager,
    )


def main() -> None:
    """Measures and tells."""
    parser = workload.arguments(__doc__.splitlines()[0])
    parser.add_argument("--segment", type=int, default=50, help="mean tokens of a segment")
    parser.add_argument("--cap", type=int, default=512, help="thinking tokens at most")
    options = parser.parse_args(["--engine", "vllm", *sys.argv[1:]])
    model = workload.make_model(options)
    live = workload.start(options, model)
    questions = workload.problems(options.prompts)
    chats = workload.ending_chats(live, model, options.prompts, options.segment)
    point = BudgetForcing(
        max_thinking_tokens=options.cap,
        num_waits=NUM_WAITS,
        wait_string=WAIT,
        max_answer_tokens=ANSWER_TOKENS,
        answer_reserve_tokens=ANSWER_TOKENS,
    )
    llm = start_llm(model, options.eager)
    theirs, same_engine = through_llm(llm), through_our_engine(live)

    def free() -> workload.Run:
        return workload.evaluate(live, model, questions, [point], chats=chats)

    lengths = [sum(written) for written in free().written]
    ways: dict[str, Callable[[], workload.Run]] = {
        "no barrier": free,
        "rounds, LLM.generate at its defaults": lambda: in_rounds(theirs, chats, options.cap),
        "rounds, the same engine and blocks": lambda: in_rounds(same_engine, chats, options.cap),
        "limit: lengths known beforehand": lambda: at_once(theirs, chats, lengths),
    }
    runs: dict[str, list[workload.Run]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, run in ways.items():
            time.sleep(3.0)  # vLLM waits busily for a while
            workload.forget(live)
            llm.reset_prefix_cache()
            runs[name].append(run())
    workload.finish()
    ours = runs["no barrier"]
    traces = ours[0].traces
    spread = sorted(map(len, traces))
    say(f"{options.prompts} prompts, Wait x {NUM_WAITS}, {options.rounds} rounds in turns")
    say(f"traces of {spread[0]} to {spread[-1]} tokens, median {statistics.median(spread):.0f}")
    for name, measured in runs.items():
        seconds = [run.wall_seconds for run in measured]
        best, middle = min(seconds), statistics.median(seconds)
        tokens = measured[0].generated_tokens
        say(f"{name}: best {best:.2f} s, median {middle:.2f} s, {tokens} tokens")
        if measured is not ours:
            ours_seconds = [run.wall_seconds for run in ours]
            say(
                f"  against no barrier: best {best / min(ours_seconds):.2f}, "
                f"median {middle / statistics.median(ours_seconds):.2f}"
            )
        if name.startswith("rounds"):
            same = sum(a == b for a, b in zip(traces, measured[0].traces, strict=True))
            say(f"  equal traces: {same} of {len(traces)}")


if __name__ == "__main__":
    main()
