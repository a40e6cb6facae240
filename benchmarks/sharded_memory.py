"""Peak memory of each rank while ZeRO-3 loads and trains, beside what `plan` says.

    python benchmarks/sharded_memory.py                      # two CPU ranks, 0.34B parameters
    python benchmarks/sharded_memory.py --hidden 512 --layers 8

Writes a random Qwen2 of the given size, loads and trains it for two steps under
train=deepspeed_zero3 on two ranks, and prints the peaks (anonymous memory of the processes: files
mapped into memory are not counted, they can be dropped at any time). Freed memory goes back to the
system at once (MALLOC_MMAP_THRESHOLD_): glibc would keep about a GiB of it. `--bucket` is
train.bucket_parameters: a rank may gather five times as many parameters at once, so a model
smaller than that is gathered whole however it is sharded.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

GIB = 2.0**30


def write_inputs(
    folder: Path, hidden: int, layers: int, vocabulary: int, lengths: Sequence[int]
) -> Any:
    """A random model with the puzzle world's tokenizer, and rows; returns its configuration.

    Args:
        folder: gets model/ and rows.parquet.
        hidden, layers, vocabulary: of the model.
        lengths: tokens of each row's trace.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from s1x_puzzles.tokenizer import save_tokenizer

    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 256,
        tie_word_embeddings=False,
        dtype="float32",
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder / "model")
    save_tokenizer(folder / "model")
    rows = [{"question": "x", "reasoning_trace": "1 " * n, "attempt": "1"} for n in lengths]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    return config


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--bucket", type=int, default=20_000_000)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    options = parser.parse_args()
    from s1x.model.architecture import Architecture
    from s1x.model.model import Model
    from s1x.plan.memory import training_memory
    from s1x.train.deepspeed_zero3 import DeepspeedZero3
    from s1x.train.job import read_log
    from s1x.train.stage import run

    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "1000000")  # for the ranks
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lengths = [options.tokens - 40] * 2 * options.ranks
        sizes = (options.hidden, options.layers, options.vocabulary)
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # its memory goes with it
            config = pool.apply(write_inputs, (folder, *sizes, lengths))
        settings = DeepspeedZero3(
            devices_per_node=options.ranks,
            device="cpu",
            precision=options.precision,
            bucket_parameters=options.bucket,
            max_sequence_tokens=options.tokens + 64,
            batch_sequences=options.ranks,
            epochs=1,
            max_steps=2,
            checkpoint_every_steps=0,
        )
        (folder / "out").mkdir()
        model = Model(name="random", path=str(folder / "model"))
        result = run(settings, model, folder / "rows.parquet", 0, folder / "out")
        by_step = [row["peak_memory_gib"] for row in read_log(folder / "out" / "log.csv")]
    shape = Architecture.of_config(config)
    expected = training_memory(settings, shape, options.ranks, options.tokens, on_cpu=True)
    width = 2 if options.precision == "bfloat16" else 4
    print(
        f"parameters {shape.parameters:,}; whole weights {width * shape.parameters / GIB:.2f} GiB"
    )
    print("| rank | peak after loading, GiB | peak, GiB | plan, GiB | plan / measured |")
    print("|---|---|---|---|---|")
    loads, peaks = result["load_peak_memory_bytes_by_rank"], result["peak_memory_bytes_by_rank"]
    for rank, (load, peak) in enumerate(zip(loads, peaks, strict=True)):
        ratio = expected.total / peak
        cells = [f"{load / GIB:.2f}", f"{peak / GIB:.2f}", f"{expected.total / GIB:.2f}"]
        print(f"| {rank} | {' | '.join(cells)} | {ratio:.2f} |")
    print("peak of rank 0 after each step, GiB:", ", ".join(by_step))
    print({name: round(value / GIB, 2) for name, value in vars(expected).items()})


if __name__ == "__main__":
    main()
