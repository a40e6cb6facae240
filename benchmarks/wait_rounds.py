"""Wait x 4 without barriers against rounds with a barrier after each Wait (issue: Speed 2).

    python benchmarks/wait_rounds.py --engine vllm [--prompts 64]

Rounds are how s1's evaluation works: all prompts think, then all get their Wait, and so on; the
slowest holds the rest. Both sides have the engine's prefix cache and write the same tokens. How
long each segment is is drawn beforehand, with the long tail that reasoning traces have.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import workload

from s1x.budget.chat import Chat, ChatFormat
from s1x.budget.policy import ANSWER, DELIMITER, Force, Generate, Outcome, Policy, Steps
from s1x.console import say
from s1x.engine.engine import LiveEngine, Request, Sampling
from s1x.engine.live import run_in_loop
from s1x.engine.streams import Streams
from s1x.evaluate.schedule import answer_all
from s1x.model.load import load_tokenizer
from s1x.model.model import Model
from s1x.rows import CUT
from s1x.trace_store import TraceStore

NUM_WAITS, ANSWER_TOKENS = 4, 16


@dataclass(frozen=True)
class Segments(Policy):
    """Thinks for given numbers of tokens, by prompt, with a Wait between."""

    lengths: dict[tuple[int, ...], list[int]] = field(default_factory=dict)

    def run(self, chat: Chat) -> Steps:
        """Thinks, waits, answers."""
        for index, length in enumerate(self.lengths[chat.prompt_ids]):
            if index:
                yield Force(chat.encode("Wait"))
            yield Generate(length)
        yield Force(chat.format.answer_start, DELIMITER)
        yield Generate(ANSWER_TOKENS, part=ANSWER)
        return Outcome(CUT)


def without_barrier(
    live: LiveEngine, chats: Sequence[Chat], lengths: dict[tuple[int, ...], list[int]]
) -> workload.Run:
    """Through policy, scheduler and store."""
    workload.forget(live)
    before = live.usage.generated_tokens
    streams = Streams(live, TraceStore(None, "m"), Sampling())
    questions = workload.problems(len(chats))
    by_id = {p.problem_id: chat for p, chat in zip(questions, chats, strict=True)}
    begun, cpu = time.perf_counter(), time.process_time()
    rows = run_in_loop(
        answer_all(
            questions, [Segments(lengths=lengths)], 1, lambda _, p: by_id[p.problem_id], streams
        )
    )
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    made = live.usage.generated_tokens - before
    return workload.Run(seconds, cpu, made, [row.trace.token_ids for row in rows])


def in_rounds(
    live: LiveEngine, chats: Sequence[Chat], lengths: dict[tuple[int, ...], list[int]]
) -> workload.Run:
    """All prompts do a segment, then all the next."""
    workload.forget(live)
    before = live.usage.generated_tokens
    form = chats[0].format

    async def write(prefix: tuple[int, ...], count: int) -> list[int]:
        got: list[int] = []

        def keep(ids: Sequence[int]) -> bool:
            got.extend(ids)
            return True

        await live.generate(Request(prefix, count, may_go_on=False), keep)
        return got

    async def rounds() -> list[list[int]]:
        traces: list[list[int]] = [[] for _ in chats]
        for index in range(NUM_WAITS + 2):
            forced = form.encode("Wait") if 0 < index <= NUM_WAITS else ()
            forced = form.answer_start if index > NUM_WAITS else forced
            counts = [(*lengths[chat.prompt_ids], ANSWER_TOKENS)[index] for chat in chats]
            for trace in traces:
                trace += forced
            pieces = await asyncio.gather(
                *(
                    write((*chat.prompt_ids, *trace), count)
                    for chat, trace, count in zip(chats, traces, counts, strict=True)
                )
            )
            for trace, piece in zip(traces, pieces, strict=True):
                trace += piece
        return traces

    begun, cpu = time.perf_counter(), time.process_time()
    traces = run_in_loop(rounds())
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return workload.Run(seconds, cpu, live.usage.generated_tokens - before, traces)


def make_chats(model: Model, count: int) -> list[Chat]:
    """Prompts in the model's format."""
    form = ChatFormat.of(model, load_tokenizer(model))
    return [Chat(form, form.encode(p.question)) for p in workload.problems(count)]


def main() -> None:
    """Measures and tells."""
    options = workload.arguments(__doc__.splitlines()[0]).parse_args()
    model = workload.make_model(options.model)
    live = workload.start(options, model)
    chats = make_chats(model, options.prompts)
    rng = random.Random(0)
    lengths = {
        chat.prompt_ids: [min(150, 8 + int(rng.expovariate(1 / 40))) for _ in range(NUM_WAITS + 1)]
        for chat in chats
    }
    free = workload.best([without_barrier(live, chats, lengths) for _ in range(options.rounds)])
    barred = workload.best([in_rounds(live, chats, lengths) for _ in range(options.rounds)])
    same = sum(a == b for a, b in zip(free.traces, barred.traces, strict=True))
    say(f"engine {options.engine}, {options.prompts} prompts, Wait x {NUM_WAITS}")
    say(f"rounds:     {barred.wall_seconds:.1f} s, {barred.generated_tokens} tokens")
    say(f"no barrier: {free.wall_seconds:.1f} s, {free.generated_tokens} tokens")
    say(f"wall time {barred.wall_seconds / free.wall_seconds:.2f} times less")
    say(f"CPU time of this process {barred.cpu_seconds / free.cpu_seconds:.2f} times less")
    say(f"equal traces: {same} of {len(free.traces)}")
    workload.finish()


if __name__ == "__main__":
    main()
