"""Two ranks on the CPU through the launcher: the same losses and weights as one device."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_llama import rows, write_model, write_rows

from s1x.model.model import Model
from s1x.train import run
from s1x.train.deepspeed_zero3 import DeepspeedZero3
from s1x.train.deepspeed_zero3_offload import DeepspeedZero3Offload
from s1x.train.fsdp import Fsdp
from s1x.train.job import Job, read_log
from s1x.train.rank.worker import train_rank
from s1x.train.settings import TrainSettings
from s1x.train.single_device import SingleDevice

COMMON: dict[str, Any] = {
    "max_sequence_tokens": 256,
    "micro_batch_tokens": 600,
    "precision": "float32",
    "learning_rate": 1e-3,
    "export_dtype": "float32",
    "checkpoint_every_steps": 2,
    "batch_sequences": 8,
    "epochs": 2,
    "device": "cpu",
    "logits": "chunked",
    "logits_chunk_tokens": 50,
}
NUM_STEPS = 6  # of 17 samples: the last step of an epoch has one, so one rank's pass is empty


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = write_model(tmp_path_factory.mktemp("untied"), tie_word_embeddings=False)
    return Model(name="tiny", path=str(folder), dtype="float32", context_tokens=512)


@pytest.fixture(scope="module")
def rows_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.parquet", rows(17))


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory, untied: Model, rows_path: Path) -> Path:
    folder = tmp_path_factory.mktemp("single")
    (folder / "logs").mkdir()
    train_rank(Job(SingleDevice(**COMMON), untied, rows_path, 0, folder, 1))
    return folder


def assert_same(ours: Path, theirs: Path, tolerance: float = 1e-5) -> None:
    logs = [read_log(folder / "log.csv") for folder in (ours, theirs)]
    assert len(logs[0]) == len(logs[1]) == NUM_STEPS
    for row, other in zip(*logs, strict=True):
        for column in ("loss", "gradient_norm", "learning_rate", "tokens", "trained_tokens"):
            assert float(row[column]) == pytest.approx(float(other[column]), rel=tolerance), column
    weights = [load_file(folder / "model" / "model.safetensors") for folder in (ours, theirs)]
    assert weights[0].keys() == weights[1].keys()
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], atol=tolerance, rtol=0)


def generated(folder: Path) -> list[int]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    out = model.generate(torch.tensor([[256, 10, 20, 30]]), max_new_tokens=8, do_sample=False)
    found: list[int] = out[0].tolist()
    return found


@pytest.mark.deepspeed
def test_two_ranks_equal_one_device(
    single: Path, untied: Model, rows_path: Path, tmp_path: Path
) -> None:
    run(DeepspeedZero3(devices_per_node=2, **COMMON), untied, rows_path, 0, tmp_path)
    assert_same(tmp_path, single)
    assert generated(tmp_path) == generated(single)
    assert any(float(row["padding_share"]) > 0 for row in read_log(tmp_path / "log.csv"))


@pytest.mark.deepspeed
def test_killed_ranks_resume(single: Path, untied: Model, rows_path: Path, tmp_path: Path) -> None:
    settings = DeepspeedZero3(devices_per_node=2, **COMMON)
    path = Job(settings, untied, rows_path, 0, tmp_path, 2).write()
    code = f"from s1x.train.launch import *; train_in_processes(Job.read(Path({str(path)!r})))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 200
    while not (tmp_path / "checkpoints" / "step-00000002").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run(settings, untied, rows_path, 0, tmp_path)
    assert json.loads((tmp_path / "train.json").read_text())["resumed_at_step"] in (2, 4)
    assert_same(tmp_path, single)


@pytest.mark.deepspeed
@pytest.mark.parametrize(
    "settings",
    [
        DeepspeedZero3(
            num_nodes=2,
            hosts=["localhost", "localhost"],
            devices_per_node=1,
            **{**COMMON, "logits": "torch"},
        ),
        DeepspeedZero3Offload(devices_per_node=2, **COMMON),
        pytest.param(Fsdp(devices_per_node=2, **COMMON), marks=pytest.mark.slow),
    ],
    ids=["two_nodes", "offload", "fsdp"],
)
def test_other_ways_to_shard(
    settings: TrainSettings, single: Path, untied: Model, rows_path: Path, tmp_path: Path
) -> None:
    run(settings, untied, rows_path, 0, tmp_path)
    assert_same(tmp_path, single)


@pytest.mark.deepspeed
def test_bfloat16_keeps_rotary_frequencies(
    single: Path, untied: Model, rows_path: Path, tmp_path: Path
) -> None:
    settings = DeepspeedZero3(devices_per_node=2, **{**COMMON, "precision": "bfloat16"})
    run(settings, untied, rows_path, 0, tmp_path)
    ours, theirs = read_log(tmp_path / "log.csv"), read_log(single / "log.csv")
    for row, other in zip(ours, theirs, strict=True):
        assert float(row["loss"]) == pytest.approx(float(other["loss"]), rel=5e-3)
    assert json.loads((tmp_path / "train.json").read_text())["rotary_float32"] is True
