"""Share of the ranks' time lost because a step lasts as long as its longest share.

Simulation over the published length histograms of s1K and s1K-1.1 (../shared/data/figures.json):

    python benchmarks/rank_balance.py
    python benchmarks/rank_balance.py --figures other.json --epochs 20

s1 gives each of 16 GPUs one sequence a step. Lost: 1 - (work of all ranks) / (ranks x longest
share), where a sample's work is its FLOPs in Qwen2.5-32B (linear and quadratic part). Prologue and
question are left out: the histogram counts trace tokens.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

from s1x.model.architecture import Architecture
from s1x.train.batches import plan_steps

SHAPE = Architecture(5120, 64, 27648, 40, 8, 152064)
FIGURES = Path(__file__).resolve().parents[2] / "shared" / "data" / "figures.json"


def lengths_of(bins: Sequence[dict[str, float]], seed: int) -> list[int]:
    """Lengths drawn evenly within the bins of a histogram."""
    rng = random.Random(seed)
    return [
        round(rng.uniform(bin_["x0"], bin_["x1"]))
        for bin_ in bins
        for _ in range(int(bin_["count"]))
    ]


def lost_share(lengths: Sequence[int], ranks: int, window: int, epochs: int, seed: int) -> float:
    """Share of rank time spent waiting, over all steps."""
    steps = plan_steps(
        lengths,
        seed=seed,
        epochs=epochs,
        batch_sequences=16,
        num_ranks=ranks,
        pass_tokens=max(lengths) * 16,
        window_batches=window,
    )
    work = [SHAPE.training_flops([n]) for n in lengths]
    used = paid = 0.0
    for step in steps:
        loads = [sum(work[i] for share in rank for i in share) for rank in step.shares]
        used += sum(loads)
        paid += len(loads) * max(loads)
    return 1 - used / paid


def dealt_in_order(lengths: Sequence[int], ranks: int, epochs: int, seed: int) -> float:
    """The same for s1's way: a random order, each rank the next sequences, none looked at."""
    rng = random.Random(seed)
    work = [SHAPE.training_flops([n]) for n in lengths]
    used = paid = 0.0
    for _ in range(epochs):
        order = list(range(len(lengths)))
        rng.shuffle(order)
        for start in range(0, len(order), 16):
            batch = order[start : start + 16]
            loads = [sum(work[i] for i in batch[rank::ranks]) for rank in range(ranks)]
            used += sum(loads)
            paid += ranks * max(loads)
    return 1 - used / paid


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", type=Path, default=FIGURES)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    windows = (0, 4, 8, 16, 32, 63)
    names = " | ".join("dealt evenly" if not w else f"window {w}" for w in windows)
    print(f"| traces | ranks | as s1 | {names} |")
    print("|---|---|---|" + "---|" * len(windows))
    for histogram in json.loads(options.figures.read_text())["s11_traces"]["histogram"]:
        lengths = lengths_of(histogram["bins"], seed=0)
        for ranks in (8, 16):
            cells = [f"{dealt_in_order(lengths, ranks, options.epochs, 0):.1%}"]
            cells += [f"{lost_share(lengths, ranks, w, options.epochs, 0):.1%}" for w in windows]
            print(f"| {histogram['name']} | {ranks} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
