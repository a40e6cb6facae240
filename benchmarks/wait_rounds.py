"""Wait x 4 without barriers against rounds with a barrier after each Wait (issue: Speed 2).

    python benchmarks/wait_rounds.py --engine vllm [--prompts 64] [--segment 50] [--cap 512]

Rounds are how s1's evaluation works: all prompts think, then all get their Wait, and so on; the
slowest holds the rest. Both sides have the prefix cache and write the same tokens. Rounds are
measured in blocks of ours (32 tokens on the CPU) and in vLLM's own, which is what s1's users get.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import workload

from s1x.budget.budget_forcing import BudgetForcing
from s1x.budget.chat import Chat
from s1x.budget.policy import TokenIds
from s1x.console import say
from s1x.engine.engine import LiveEngine, Request
from s1x.engine.live import run_in_loop

NUM_WAITS, ANSWER_TOKENS = 4, 16
WAIT = "Wait"


def in_rounds(live: LiveEngine, chats: Sequence[Chat], cap: int) -> workload.Run:
    """All prompts do a segment, then all that ended theirs get their Wait and do the next."""
    workload.forget(live)
    before = live.usage.generated_tokens
    form = chats[0].format
    wait = form.encode(WAIT)

    async def write(prefix: TokenIds, count: int, stop: tuple[TokenIds, ...]) -> list[int]:
        got: list[int] = []

        def keep(ids: Sequence[int]) -> bool:
            got.extend(ids)
            return True

        await live.generate(Request(prefix, count, stop, may_go_on=False), keep)
        return got

    async def think(chat: Chat, trace: list[int]) -> bool:
        got = await write((*chat.prompt_ids, *trace), cap - len(trace), form.thinking_stops)
        ended = (got[-1],) in form.thinking_stops
        trace += got[:-1] if ended else got
        return ended

    async def rounds() -> list[list[int]]:
        traces: list[list[int]] = [[] for _ in chats]
        ended = await asyncio.gather(*map(think, chats, traces))
        for _ in range(NUM_WAITS):
            fits = [len(trace) + len(wait) < cap for trace in traces]
            goes_on = [i for i in range(len(chats)) if ended[i] and fits[i]]
            for i in goes_on:
                traces[i] += wait
            found = await asyncio.gather(*(think(chats[i], traces[i]) for i in goes_on))
            for i, natural in zip(goes_on, found, strict=True):
                ended[i] = natural
        for chat, trace, natural in zip(chats, traces, ended, strict=True):
            trace += chat.closing_ids(trace, not natural) + (() if natural else form.cue)
        answers = await asyncio.gather(
            *(
                write((*chat.prompt_ids, *trace), ANSWER_TOKENS, ())
                for chat, trace in zip(chats, traces, strict=True)
            )
        )
        return [trace + answer for trace, answer in zip(traces, answers, strict=True)]

    begun, cpu = time.perf_counter(), time.process_time()
    traces = run_in_loop(rounds())
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return workload.Run(seconds, cpu, live.usage.generated_tokens - before, traces)


def main() -> None:
    """Measures and tells."""
    parser = workload.arguments(__doc__.splitlines()[0])
    parser.add_argument("--segment", type=int, default=50, help="mean tokens of a segment")
    parser.add_argument("--cap", type=int, default=512, help="thinking tokens at most")
    options = parser.parse_args()
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
    free, barred = [], []
    for _ in range(options.rounds):
        free.append(workload.evaluate(live, model, questions, [point], chats=chats))
        barred.append(in_rounds(live, chats, options.cap))
    found = {"rounds": workload.best(barred)}
    if options.engine == "vllm":
        workload.finish()
        live = workload.start(options, model, workload.DEFAULT_BLOCK_TOKENS)
        barred = [in_rounds(live, chats, options.cap) for _ in range(options.rounds)]
        found["rounds, vLLM's own blocks"] = workload.best(barred)
    workload.finish()
    ours = workload.best(free)
    lengths = sorted(map(len, ours.traces))
    middle = lengths[len(lengths) // 2]
    say(f"engine {options.engine}, {options.prompts} prompts, Wait x {NUM_WAITS}")
    say(f"traces of {lengths[0]} to {lengths[-1]} tokens, median {middle}")
    say(f"no barrier: {ours.wall_seconds:.1f} s, {ours.generated_tokens} tokens")
    for name, run in found.items():
        same = sum(a == b for a, b in zip(ours.traces, run.traces, strict=True))
        say(f"{name}: {run.wall_seconds:.1f} s, {run.generated_tokens} tokens")
        say(f"  wall time {run.wall_seconds / ours.wall_seconds:.2f} times less")
        say(f"  CPU time of this process {run.cpu_seconds / ours.cpu_seconds:.2f} times less")
        say(f"  equal traces: {same} of {len(ours.traces)}")


if __name__ == "__main__":
    main()
