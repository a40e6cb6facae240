"""Part b: FSDP2 and ZeRO-3 on one rank with the device's own messages, and a resumed run.

    python benchmarks/gpu/kit.py --parts b

The launcher starts the rank as it does in a run: NCCL on CUDA, gloo in a rehearsal. The model goes
through its files, a checkpoint is written after half the steps, and a second start goes on from it.
"""

from __future__ import annotations

import importlib.util
import tempfile
from argparse import Namespace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from figures import Figures, figures_of, part_arguments
from shapes import PUBLISHED, TINY, s1k_lengths, write_config, write_weights

from s1x.artifact import read_json
from s1x.model.model import Model
from s1x.plan.memory import training_memory
from s1x.train.deepspeed_zero3 import DeepspeedZero3
from s1x.train.deepspeed_zero3_offload import DeepspeedZero3Offload
from s1x.train.fsdp import Fsdp
from s1x.train.job import LOG_CSV, RESULT, Job, read_log
from s1x.train.launch import train_in_processes
from s1x.train.settings import TrainSettings

STRATEGIES: dict[str, type[TrainSettings]] = {
    "fsdp": Fsdp,
    "deepspeed_zero3": DeepspeedZero3,
    "deepspeed_zero3_offload": DeepspeedZero3Offload,
}
STEPS = 4


def settings_of(kind: type[TrainSettings], tiny: bool) -> TrainSettings:
    """Four steps, with a checkpoint after the second."""
    return kind(
        device="cpu" if tiny else "cuda",
        devices_per_node=1,
        num_nodes=1,
        epochs=1,
        max_steps=STEPS,
        batch_sequences=2 if tiny else 4,
        max_sequence_tokens=256 if tiny else 8192,
        precision="float32" if tiny else "bfloat16",
        checkpoint_every_steps=STEPS // 2,
    )


def run(figures: Figures, name: str, model: Model, options: Namespace) -> None:
    """Trains, then goes on from the checkpoint, and compares the losses."""
    settings = settings_of(STRATEGIES[name], options.tiny)
    shape = TINY if options.tiny else PUBLISHED["0.5B"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        lengths = s1k_lengths(settings.batch_sequences * STEPS, 64 if options.tiny else 1)
        rows = [{"question": "1", "reasoning_trace": "1 " * n, "attempt": "1"} for n in lengths]
        pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
        job = Job(settings, model, folder / "rows.parquet", 0, folder, 1)
        train_in_processes(job)
        whole = read_log(folder / LOG_CSV)
        (folder / RESULT).unlink()
        train_in_processes(job)
        resumed = read_log(folder / LOG_CSV)
        at = read_json(folder / RESULT)["resumed_at_step"]
    last = whole[1:]
    speed = sum(int(r["tokens"]) for r in last) / sum(float(r["step_seconds"]) for r in last)
    figures.add(f"{name}: speed", speed, "tokens/s", model="tiny" if options.tiny else "0.5B")
    plan = training_memory(settings, shape, 1, settings.pass_tokens, on_cpu=options.tiny).total
    peak = max(float(row["peak_memory_gib"]) for row in whole)
    figures.add(f"{name}: peak memory", peak, "GiB", plan=round(plan / 2**30, 2))
    figures.add(f"{name}: the second start went on from", at, "th step", bar=STEPS // 2)
    losses = [[float(row["loss"]) for row in log] for log in (whole, resumed)]
    furthest = max(abs(a - b) for a, b in zip(*losses, strict=True))
    figures.add(f"{name}: losses differ after resuming by", furthest, "nats/token", bar=0)


def main() -> None:
    """Measures."""
    options = part_arguments(__doc__.splitlines()[0]).parse_args()
    figures = figures_of(options)
    shape = TINY if options.tiny else PUBLISHED["0.5B"]
    with tempfile.TemporaryDirectory() as place:
        model = write_config(Path(place) / "model", shape)
        write_weights(model, "float32", "cpu" if options.tiny else "cuda")
        for name, kind in STRATEGIES.items():
            missing = [m for m in kind.strategy_needs if importlib.util.find_spec(m) is None]
            if missing:
                figures.skip(name, f"{missing[0]} is not installed")
                continue
            need = 0.0 if options.tiny else 30.0
            figures.attempt(name, lambda n=name: run(figures, n, model, options), need)


if __name__ == "__main__":
    main()
