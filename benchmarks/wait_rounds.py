"""Wait x 4 without barriers against rounds with a barrier after each Wait (issue: Speed 2).

    python benchmarks/wait_rounds.py --engine vllm [--prompts 64] [--segment 50] [--cap 512]

Rounds are how s1's evaluation works: all prompts think, then all get their Wait, and so on; the
slowest holds the rest. Both sides have the engine's prefix cache and write the same tokens. A
random model has no end of thinking, so the rarest tokens that together come once in `--segment`
tokens are taken for one: segments are of mixed lengths, with the long tail that traces have.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import workload

from s1x.budget.budget_forcing import BudgetForcing
from s1x.budget.chat import Chat
from s1x.budget.policy import TokenIds
from s1x.console import say
from s1x.engine.engine import LiveEngine, Request
from s1x.engine.live import run_in_loop
from s1x.model.model import Model

NUM_WAITS, ANSWER_TOKENS = 4, 16
WAIT = "Wait"


def chats_that_end(live: LiveEngine, model: Model, count: int, segment: int) -> list[Chat]:
    """Prompts whose thinking ends about every `segment` tokens."""
    endless = workload.make_chats(model, workload.problems(count), endless=True)
    point = BudgetForcing(max_thinking_tokens=256, max_answer_tokens=1, answer_reserve_tokens=1)
    run = workload.evaluate(live, model, workload.problems(count), [point], chats=endless)
    seen = Counter(token for trace in run.traces for token in trace)
    ends, times = [], 0
    for token, often in sorted(seen.items(), key=lambda item: (item[1], item[0])):
        if times + often <= seen.total() / segment:
            ends.append((token,))
            times += often
    form = replace(endless[0].format, thinking_stops=tuple(ends))
    return [replace(chat, format=form) for chat in endless]


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
    model = workload.make_model(options.model)
    live = workload.start(options, model)
    questions = workload.problems(options.prompts)
    chats = chats_that_end(live, model, options.prompts, options.segment)
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
    ours, rounds = workload.best(free), workload.best(barred)
    same = sum(a == b for a, b in zip(ours.traces, rounds.traces, strict=True))
    longest = max(map(len, ours.traces))
    say(f"engine {options.engine}, {options.prompts} prompts, Wait x {NUM_WAITS}")
    say(f"traces of {min(map(len, ours.traces))} to {longest} tokens")
    say(f"rounds:     {rounds.wall_seconds:.1f} s, {rounds.generated_tokens} tokens")
    say(f"no barrier: {ours.wall_seconds:.1f} s, {ours.generated_tokens} tokens")
    say(f"wall time {rounds.wall_seconds / ours.wall_seconds:.2f} times less")
    say(f"CPU time of this process {rounds.cpu_seconds / ours.cpu_seconds:.2f} times less")
    say(f"equal traces: {same} of {len(ours.traces)}")
    workload.finish()


if __name__ == "__main__":
    main()
