"""Share of the ranks' time lost because a step lasts as long as its longest share.

Simulation over the published length histograms of s1K and s1K-1.1 (../shared/data/figures.json),
and real runs of two CPU ranks over lengths from the same histograms, divided by `--shorter`:

    python benchmarks/rank_balance.py
    python benchmarks/rank_balance.py --figures other.json --epochs 20
    python benchmarks/rank_balance.py --measure

s1 gives each of 16 GPUs one sequence a step. Lost: 1 - (work of all ranks) / (ranks x longest
share), where a sample's work is its FLOPs in Qwen2.5-32B (linear and quadratic part). Prologue and
question are left out: the histogram counts trace tokens.

Measured: train=deepspeed_zero3 on a small random model, one sequence a rank and step as in s1, a
random order against `length_window_batches`, in turns. What is lost is told from a third run, in
which all samples have the mean length: the same tokens, nobody waits.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from s1x.model.architecture import Architecture
from s1x.train.batches import plan_steps
from s1x.train.settings import TrainSettings

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


def lost_share(
    lengths: Sequence[int], ranks: int, window: int, epochs: int, seed: int, batch: int = 16
) -> float:
    """Share of rank time spent waiting, over all steps."""
    settings = TrainSettings(
        epochs=epochs,
        batch_sequences=batch,
        max_sequence_tokens=max(lengths) * 16,
        length_window_batches=window,
    )
    steps = plan_steps(lengths, settings, seed, ranks)
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


def measured(options: argparse.Namespace) -> None:
    """Prints tokens/s of two real ranks, and the share of time that this says is lost."""
    histograms = json.loads(options.figures.read_text(encoding="utf-8"))["s11_traces"]["histogram"]
    print("| traces | batches | simulated | tokens/s, each round | lost |")
    print("|---|---|---:|---:|---:|")
    for histogram in histograms:
        drawn = random.Random(1).sample(lengths_of(histogram["bins"], seed=0), options.rows)
        lengths = [max(8, n // options.shorter) for n in drawn]
        equal = [round(sum(lengths) / len(lengths))] * len(lengths)
        window = options.rows // 2
        ways = {
            "all of one length": (equal, 0),
            "as s1": (lengths, 0),
            f"window {window}": (lengths, window),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                rates[name].append(two_ranks(*way))
        best = max(rates["all of one length"])
        for name, (chosen, size) in ways.items():
            expected = lost_share(chosen, 2, size, 1, 0, batch=2)
            each = ", ".join(f"{rate:.0f}" for rate in rates[name])
            lost = f"{1 - max(rates[name]) / best:.1%}"
            print(f"| {histogram['name']} | {name} | {expected:.1%} | {each} | {lost} |")


def two_ranks(lengths: Sequence[int], window: int) -> float:
    """Tokens a second of two ranks over an epoch, the first two steps left out."""
    from sharded_memory import write_inputs

    from s1x.model.model import Model
    from s1x.train.deepspeed_zero3 import DeepspeedZero3
    from s1x.train.job import read_log
    from s1x.train.stage import run

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, 256, 4, 512, lengths)
        settings = DeepspeedZero3(
            devices_per_node=2,
            device="cpu",
            precision="float32",
            max_sequence_tokens=max(lengths) + 64,
            batch_sequences=2,
            epochs=1,
            length_window_batches=window,
            activation_checkpointing=False,
            checkpoint_every_steps=0,
        )
        (folder / "out").mkdir()
        model = Model(name="random", path=str(folder / "model"))
        run(settings, model, folder / "rows.parquet", 0, folder / "out")
        log = read_log(folder / "out" / "log.csv")[2:]
    return sum(float(row["tokens"]) for row in log) / sum(float(r["step_seconds"]) for r in log)


def main() -> None:
    """Prints a Markdown table of the simulation, or of the real runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", type=Path, default=FIGURES)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--measure", action="store_true", help="two real ranks on this CPU")
    parser.add_argument("--rows", type=int, default=160, help="samples of the real runs")
    parser.add_argument("--shorter", type=int, default=16, help="divides the lengths")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    if options.measure:
        measured(options)
        return
    windows = (0, 4, 8, 16, 32, 63)
    names = " | ".join("dealt evenly" if not w else f"window {w}" for w in windows)
    print(f"| traces | ranks | as s1 | {names} |")
    print("|---|---|---|" + "---|" * len(windows))
    for histogram in json.loads(options.figures.read_text(encoding="utf-8"))["s11_traces"][
        "histogram"
    ]:
        lengths = lengths_of(histogram["bins"], seed=0)
        for ranks in (8, 16):
            cells = [f"{dealt_in_order(lengths, ranks, options.epochs, 0):.1%}"]
            cells += [f"{lost_share(lengths, ranks, w, options.epochs, 0):.1%}" for w in windows]
            print(f"| {histogram['name']} | {ranks} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
