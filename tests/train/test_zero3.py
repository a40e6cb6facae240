"""Two ranks on the CPU through the launcher: the same losses and weights as one device."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from ended import end_by_sigterm
from safetensors.torch import load_file
from tiny_llama import puzzle_rows, rows, write_model, write_rows

from s1x.model.model import Model
from s1x.train.deepspeed_zero3 import DeepspeedZero3
from s1x.train.deepspeed_zero3_offload import DeepspeedZero3Offload
from s1x.train.fsdp import Fsdp
from s1x.train.job import Job, read_log
from s1x.train.rank.worker import train_rank
from s1x.train.settings import Lora, TrainSettings
from s1x.train.single_device import SingleDevice
from s1x.train.stage import run

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
#: a second copy of the weights within the node, float32 messages
HIERARCHY = {
    "zero_optimization": {"zero_hpz_partition_size": 2, "sub_group_size": 100_000},
    "communication_data_type": "fp32",
}
ROOT = Path(__file__).parents[2]
PUZZLE_BASE = Model(
    name="puzzle-base",
    path="package:s1x_puzzles/puzzle_base",
    dtype="float32",
    context_tokens=512,
)
NUM_WRITTEN = 48
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


def assert_losses(ours: Path, theirs: Path, tolerance: float) -> None:
    logs = [read_log(folder / "log.csv") for folder in (ours, theirs)]
    assert len(logs[0]) == len(logs[1]) == NUM_STEPS
    for row, other in zip(*logs, strict=True):
        for column in ("loss", "gradient_norm", "learning_rate", "tokens", "trained_tokens"):
            assert float(row[column]) == pytest.approx(float(other[column]), rel=tolerance), column


def assert_same(ours: Path, theirs: Path, tolerance: float = 1e-5) -> None:
    assert_losses(ours, theirs, tolerance)
    weights = [load_file(folder / "model" / "model.safetensors") for folder in (ours, theirs)]
    assert weights[0].keys() == weights[1].keys()
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], atol=tolerance, rtol=0)


@pytest.mark.deepspeed
def test_two_ranks_equal_one_device(
    single: Path, untied: Model, rows_path: Path, tmp_path: Path
) -> None:
    run(DeepspeedZero3(devices_per_node=2, **COMMON), untied, rows_path, 0, tmp_path)
    assert_same(tmp_path, single)
    assert any(float(row["padding_share"]) > 0 for row in read_log(tmp_path / "log.csv"))


@pytest.mark.deepspeed
@pytest.mark.vllm
def test_the_embedded_model_from_checkpoint_to_vllm(tmp_path: Path) -> None:
    """Two ranks train, are killed, go on, export; transformers and vLLM write the same tokens."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    recipe = {**COMMON, "batch_sequences": 16, "epochs": 1, "checkpoint_every_steps": 8}
    recipe |= {"micro_batch_tokens": 1200, "export_dtype": "bfloat16"}
    recipe |= {"learning_rate": 1e-4}  # at 1e-3 rounding errors grow 10^5-fold
    chosen = write_rows(tmp_path / "rows.parquet", puzzle_rows(320))
    alone, folder = tmp_path / "alone", tmp_path / "two_ranks"
    for place in (alone, folder):
        (place / "logs").mkdir(parents=True)
    train_rank(Job(SingleDevice(**recipe), PUZZLE_BASE, chosen, 0, alone, 1))

    settings = DeepspeedZero3(devices_per_node=2, **recipe)
    path = Job(settings, PUZZLE_BASE, chosen, 0, folder, 2).write()
    code = f"from s1x.train.launch import *; train_in_processes(Job.read(Path({str(path)!r})))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 200
    while not (folder / "checkpoints" / "step-00000008").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "model").exists()
    result = run(settings, PUZZLE_BASE, chosen, 0, folder)

    assert result["resumed_at_step"] in (8, 16)
    logs = [read_log(place / "log.csv") for place in (folder, alone)]
    assert len(logs[0]) == len(logs[1]) == 20
    for row, other in zip(*logs, strict=True):
        assert float(row["loss"]) == pytest.approx(float(other["loss"]), rel=1e-4)
    assert float(logs[0][-1]["loss"]) < float(logs[0][0]["loss"])
    questions = [row["question"] for row in puzzle_rows(6)]
    written = written_by_transformers(folder / "model", questions)
    assert written == written_by_vllm(folder / "model", questions)
    assert max(map(len, written)) > 8, written
    assert len({tuple(ids) for ids in written}) > 1


def written_by_transformers(folder: Path, questions: list[str]) -> list[list[int]]:
    """Greedy tokens after each question in the chat template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = []
    for question in questions:
        turn = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(
            turn, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        out = model.generate(**prompt, max_new_tokens=NUM_WRITTEN, do_sample=False)
        found.append(out[0, prompt["input_ids"].shape[1] :].tolist())
    return found


def written_by_vllm(folder: Path, questions: list[str]) -> list[list[int]]:
    """The same by vLLM, which reads tokenizer, template and ends from the folder itself."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm import LLM, SamplingParams

    llm = LLM(str(folder), dtype="float32", max_model_len=512, max_num_seqs=8, enforce_eager=True)
    greedy = SamplingParams(temperature=0.0, max_tokens=NUM_WRITTEN)
    turns = [[{"role": "user", "content": question}] for question in questions]
    outs = llm.chat(turns, greedy, use_tqdm=False)
    llm.llm_engine.engine_core.shutdown()
    return [list(out.outputs[0].token_ids) for out in outs]


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
        DeepspeedZero3(devices_per_node=2, extra_config=HIERARCHY, **COMMON),
        Fsdp(devices_per_node=2, **COMMON),
    ],
    ids=["two_nodes", "offload", "hierarchy", "fsdp"],
)
def test_other_ways_to_shard(
    settings: TrainSettings, single: Path, untied: Model, rows_path: Path, tmp_path: Path
) -> None:
    run(settings, untied, rows_path, 0, tmp_path)
    assert_same(tmp_path, single)


@pytest.mark.deepspeed
def test_compiled_layers_train_alike_on_two_ranks(
    single: Path, untied: Model, rows_path: Path, tmp_path: Path
) -> None:
    """Samples' lengths differ from pass to pass; attention's results are not computed again."""
    ways = {"compiled": True, "recompute_spares": "attention"}
    run(Fsdp(devices_per_node=2, **COMMON, **ways), untied, rows_path, 0, tmp_path)
    assert_losses(tmp_path, single, 1e-5)


@pytest.mark.deepspeed
def test_adapters_are_drawn_alike_on_one_device_and_on_two_ranks(
    untied: Model, rows_path: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    recipe: dict[str, Any] = {**COMMON, "lora": Lora(rank=4)}
    alone, folder = tmp_path / "alone", tmp_path / "two_ranks"
    for place in (alone, folder):
        (place / "logs").mkdir(parents=True)
    train_rank(Job(SingleDevice(**recipe), untied, rows_path, 0, alone, 1))
    run(Fsdp(devices_per_node=2, **recipe), untied, rows_path, 0, folder)
    assert_same(folder, alone)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_states_of_eight_bits_learn_as_well_and_survive_a_checkpoint(
    ranks: int, single: Path, untied: Model, rows_path: Path, tmp_path: Path
) -> None:
    """torchao is not in the lock of machines without GPUs: installing it here makes this run."""
    pytest.importorskip("torchao")
    changes: dict[str, Any] = {**COMMON, "optimizer_states": "8bit", "checkpoint_every_steps": None}
    kind = SingleDevice if ranks == 1 else Fsdp
    settings = kind(devices_per_node=ranks, **changes)
    whole, again = tmp_path / "whole", tmp_path / "again"
    whole.mkdir()
    run(settings, untied, rows_path, 0, whole)
    assert_losses(whole, single, 2e-3)
    again.mkdir()
    assert "with a checkpoint" in end_by_sigterm(settings, untied, rows_path, again, "agent")
    assert run(settings, untied, rows_path, 0, again)["resumed_at_step"]
    assert_same(again, whole, 1e-6)


@pytest.mark.deepspeed
@pytest.mark.skipif(sys.platform != "linux", reason="children are looked up in /proc")
@pytest.mark.parametrize("kind", [DeepspeedZero3, Fsdp])
def test_a_signal_ends_two_ranks_with_a_checkpoint(
    kind: type[TrainSettings], single: Path, untied: Model, rows_path: Path, tmp_path: Path
) -> None:
    settings = kind(devices_per_node=2, **{**COMMON, "checkpoint_every_steps": None})
    said = end_by_sigterm(settings, untied, rows_path, tmp_path, "agent")
    found = re.search(r"stopped by SIGTERM after step (\d) of 6, with a checkpoint; ", said)
    assert found, said
    (tmp_path / "stop").unlink()
    result = run(settings, untied, rows_path, 0, tmp_path)
    assert result["resumed_at_step"] == int(found[1])
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
