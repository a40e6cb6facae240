"""Part c: engine=transformers on the device.

    python benchmarks/gpu/kit.py --parts c

Decoding speed is told against `generate` and against the memory-bandwidth limit: with B sequences
of T tokens on average, a step reads all matrices once and each sequence's keys and values,

    tokens/s <= B x bandwidth / (matrix bytes + B x T x key-value bytes a token)

and the bandwidth is the card's published one, and what a copy reaches on it.
"""

from __future__ import annotations

import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import sweep_once
import torch
import wait_rounds
import workload
from figures import Figures, figures_of, part_arguments
from shapes import PUBLISHED, TINY, random_network, write_config, write_weights

from s1x.budget.budget_forcing import BudgetForcing
from s1x.engine.engine import LiveEngine
from s1x.engine.live import close_engine, live_engine
from s1x.engine.transformers import Transformers
from s1x.model.model import Model
from s1x.train.rank.attention import packed_attention

#: published memory bandwidth by a part of the card's name, bytes a second
BANDWIDTH = {"H200": 4.8e12, "H100 PCIe": 2.0e12, "H100 NVL": 3.9e12, "H100": 3.35e12}
PUZZLE_MODEL = Model(
    name="puzzle-base", path="package:s1x_puzzles/puzzle_base", dtype="float32", context_tokens=512
)
BAR_ROUNDS, BAR_LIMIT = 1.7, 0.9
#: tokens of a sequence written for speed
WRITTEN = 128


def clock(device: str, work: Callable[[], object]) -> float:
    """Seconds that the work takes, on the device too."""
    if device == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


class Decoding:
    """The engine with a random 1.5B model, and what it is measured on."""

    def __init__(self, figures: Figures, folder: Path, tiny: bool) -> None:
        self.figures, self.tiny = figures, tiny
        self.device, self.dtype = ("cpu", "float32") if tiny else ("cuda", "bfloat16")
        shape = TINY if tiny else PUBLISHED["1.5B"]
        # a random tied head repeats its input for ever; an untied one reads as many bytes
        self.shape = replace(shape, tie_word_embeddings=False)
        spread = 0.05 * (1536 / shape.hidden_size) ** 0.5
        self.model = write_config(folder, self.shape, 1024, spread)
        write_weights(self.model, self.dtype, self.device)
        self.batches = (1, 4) if tiny else (1, 16, 64, 256)
        self.written = 8 if tiny else WRITTEN

    def start(self) -> LiveEngine:
        """The engine, loaded and warm."""
        engine = Transformers(
            batch_size=self.batches[-1],
            cache_gib=0.25 if self.tiny else 24.0,
            device=self.device,
            dtype=self.dtype,
        )
        live = live_engine(engine, self.model)
        warm = [BudgetForcing(max_thinking_tokens=8)]
        workload.evaluate(live, self.model, workload.problems(2, seed=99), warm)
        return live

    def bandwidth_limit(self, batch: int, mean_tokens: float, bandwidth: float) -> float:
        """Tokens a second, by the module's formula."""
        width = 2 if self.dtype == "bfloat16" else 4
        kv = self.shape.kv_bytes_per_token(width)
        return batch * bandwidth / (width * self.shape.matrix_parameters + batch * mean_tokens * kv)

    def bandwidths(self) -> dict[str, float]:
        """Bytes a second: published where the card is known, and of a copy (read and written)."""
        size = 2**24 if self.tiny else 2**31
        source = torch.zeros(size, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        best = min(clock(self.device, lambda: target.copy_(source)) for _ in range(5))
        found = {"copied": 2 * size / best}
        name = "" if self.tiny else torch.cuda.get_device_name()
        published = [value for part, value in BANDWIDTH.items() if part in name]
        return found | ({"published": published[0]} if published else {})

    def speeds(self) -> None:
        """The engine at each batch, against the limit."""
        live, bandwidths = self.start(), self.bandwidths()
        for name, value in bandwidths.items():
            self.figures.add(f"memory bandwidth, {name}", value / 1e9, "GB/s")
        point = BudgetForcing(
            max_thinking_tokens=self.written, max_answer_tokens=1, answer_reserve_tokens=1
        )
        for batch in self.batches:
            questions = workload.problems(batch)
            chats = workload.make_chats(self.model, questions, endless=True)
            run = workload.evaluate(live, self.model, questions, [point], chats=chats)
            speed = run.generated_tokens / run.wall_seconds
            prompts = sum(len(chat.prompt_ids) for chat in chats) / batch
            limits = {
                f"of the limit, {name} bandwidth": round(
                    speed / self.bandwidth_limit(batch, prompts + self.written / 2, value), 4
                )
                for name, value in bandwidths.items()
            }
            self.figures.add(f"engine, batch {batch}", speed, "tokens/s", **limits)

    def generate(self, cache: str | None = None) -> None:
        """transformers' own `generate`, the same prompts padded on the left.

        With `cache="static"` it compiles the step by itself on CUDA; batches 1 and 16 then.
        """
        close_engine()
        network = random_network(self.model, self.dtype, "sdpa", self.device)
        how = {"cache_implementation": cache} if cache else {}
        said = f" with a {cache} cache" if cache else ""
        for batch in self.batches[: 2 if cache else None]:
            chats = workload.make_chats(self.model, workload.problems(batch), endless=True)
            longest = max(len(chat.prompt_ids) for chat in chats)
            ids = torch.zeros((2, batch, longest), dtype=torch.long)
            for row, chat in enumerate(chats):
                begin = longest - len(chat.prompt_ids)
                ids[0, row, begin:] = torch.tensor(chat.prompt_ids)
                ids[1, row, begin:] = 1
            token_ids, mask = ids.to(self.device)

            def write(count: int, i: torch.Tensor = token_ids, m: torch.Tensor = mask) -> None:
                length = {"min_new_tokens": count, "max_new_tokens": count}
                network.generate(
                    i, attention_mask=m, do_sample=False, pad_token_id=0, **length, **how
                )

            write(self.written if how else 2)  # a static cache compiles for its size
            seconds = clock(self.device, lambda w=write: w(self.written))
            speed = batch * self.written / seconds
            self.figures.add(f"generate{said}, batch {batch}", speed, "tokens/s")

    def eight_budgets(self) -> None:
        """All budgets in one pass against one run each (`benchmarks/sweep_once.py`)."""
        live = self.start()
        points = sweep_once.POINTS[:2] if self.tiny else sweep_once.POINTS
        questions = workload.problems(2 if self.tiny else 32)
        chats = workload.make_chats(self.model, questions, endless=True)
        one = sweep_once.in_one_pass(live, self.model, chats, points)
        apart = sweep_once.in_eight_runs(live, self.model, chats, points)
        same = sum(a == b for a, b in zip(one.traces, apart.traces, strict=True))
        gained = apart.wall_seconds / one.wall_seconds
        self.figures.add(f"{len(points)} budgets in as many runs / in one pass", gained, "times")
        self.figures.add("equal traces of the two", same, f"of {len(one.traces)}")

    def wait_rounds(self) -> None:
        """Wait x 4 as it comes against rounds with a barrier (`benchmarks/wait_rounds.py`)."""
        live = self.start()
        count, segment, cap = (3, 8, 64) if self.tiny else (64, 40, 320)
        chats = workload.ending_chats(live, self.model, count, segment)
        point = BudgetForcing(
            max_thinking_tokens=cap,
            num_waits=wait_rounds.NUM_WAITS,
            wait_string=wait_rounds.WAIT,
            max_answer_tokens=wait_rounds.ANSWER_TOKENS,
            answer_reserve_tokens=wait_rounds.ANSWER_TOKENS,
        )
        questions = workload.problems(count)
        free = workload.evaluate(live, self.model, questions, [point], chats=chats)
        write = wait_rounds.through_our_engine(live)
        workload.forget(live)
        rounds = wait_rounds.in_rounds(write, chats, cap)
        workload.forget(live)
        known = wait_rounds.at_once(write, chats, [sum(written) for written in free.written])
        gained = rounds.wall_seconds / free.wall_seconds
        spread = sorted(sum(written) for written in free.written)
        self.figures.add("tokens of the longest trace", spread[-1], "tokens", shortest=spread[0])
        self.figures.add("rounds with a barrier / no barrier", gained, "times", bar=BAR_ROUNDS)
        share = known.wall_seconds / free.wall_seconds
        self.figures.add("of the limit of known lengths", share, "of its speed", bar=BAR_LIMIT)
        same = sum(a == b for a, b in zip(free.traces, rounds.traces, strict=True))
        self.figures.add("equal traces with and without barrier", same, f"of {count}")


def same_as_cpu(figures: Figures, tiny: bool) -> None:
    """Greedy traces of the embedded model in float32, on the device and on the CPU."""
    questions = workload.problems(4 if tiny else 32)
    points = [BudgetForcing(max_thinking_tokens=n) for n in ((8, 16) if tiny else (32, 128))]
    runs = []
    for device in ("cpu", "cpu" if tiny else "cuda"):
        close_engine()
        live = live_engine(Transformers(device=device, dtype="float32"), PUZZLE_MODEL)
        runs.append(workload.evaluate(live, PUZZLE_MODEL, questions, points).traces)
    same = sum(a == b for a, b in zip(*runs, strict=True))
    figures.add("traces equal to the CPU's, float32", same, f"of {len(runs[0])}", bar=len(runs[0]))


def attention_plans(figures: Figures, tiny: bool) -> None:
    """A length seen for the first time against a second time, and torch's `varlen_attn`.

    Forward and backward of our packed attention over four samples, 7B's heads, bfloat16.
    """
    device, dtype = ("cpu", torch.float32) if tiny else ("cuda", torch.bfloat16)
    heads, kv, width = (4, 2, 16) if tiny else (28, 4, 128)
    lengths = tuple(n // (64 if tiny else 1) for n in (2011, 1777, 2203, 1999))
    shapes = [(1, h, sum(lengths), width) for h in (heads, kv, kv)]
    parts = [torch.randn(s, device=device, dtype=dtype, requires_grad=True) for s in shapes]

    def packed(own: tuple[int, ...]) -> None:
        out, _ = packed_attention(torch.nn.Module(), *parts, None, sample_lengths=own)
        out.sum().backward()

    packed((sum(lengths),))
    first = clock(device, lambda: packed(lengths))
    again = min(clock(device, lambda: packed(lengths)) for _ in range(5))
    figures.add("packed attention, lengths never seen", 1e3 * first, "ms")
    figures.add("packed attention, the same lengths again", 1e3 * again, "ms")
    if tiny:
        figures.skip("varlen_attn", "needs CUDA")
        return
    from torch.nn.attention.varlen import varlen_attn  # not in every torch

    ends = torch.tensor([0, *lengths]).cumsum(0).to(device, torch.int32)
    flat = [p.detach()[0].transpose(0, 1).contiguous().requires_grad_() for p in parts]
    longest = max(lengths)

    def varlen() -> None:
        whole = [flat[0], *(x.repeat_interleave(heads // kv, dim=1) for x in flat[1:])]
        out = varlen_attn(*whole, ends, ends, longest, longest, window_size=(-1, 0))
        out.sum().backward()

    first = clock(device, varlen)
    again = min(clock(device, varlen) for _ in range(5))
    figures.add("varlen_attn, first call", 1e3 * first, "ms")
    figures.add("varlen_attn, again", 1e3 * again, "ms")


def main() -> None:
    """Measures."""
    options: Namespace = part_arguments(__doc__.splitlines()[0]).parse_args()
    figures = figures_of(options)
    tiny = options.tiny
    figures.attempt("equal to the CPU", lambda: same_as_cpu(figures, tiny))
    figures.attempt("attention plans", lambda: attention_plans(figures, tiny))
    with tempfile.TemporaryDirectory() as name:
        decoding = Decoding(figures, Path(name), tiny)
        for what, work, seconds in (
            ("engine speed", decoding.speeds, 20.0),
            ("generate speed", decoding.generate, 20.0),
            ("Wait x 4", decoding.wait_rounds, 25.0),
            ("eight budgets", decoding.eight_budgets, 60.0),
            ("generate static", lambda: decoding.generate("static"), 40.0),
        ):
            figures.attempt(what, work, 0.0 if tiny else seconds)
        close_engine()


if __name__ == "__main__":
    main()
