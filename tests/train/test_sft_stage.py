"""The train stage as a whole, on one CPU device: what it writes, resumes and refuses."""

from __future__ import annotations

import json
import math
import os
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
from tiny_llama import rows, write_rows

from s1x.errors import UserError
from s1x.model.load import load_tokenizer
from s1x.model.model import Model
from s1x.option import result_settings
from s1x.train.job import Job, read_log
from s1x.train.rank.worker import train_rank
from s1x.train.samples import SampleSet, build_samples, read_rows
from s1x.train.settings import Lora
from s1x.train.single_device import SingleDevice
from s1x.train.stage import run


def recipe(**changes: Any) -> SingleDevice:
    settings: dict[str, Any] = {
        "max_sequence_tokens": 256,
        "micro_batch_tokens": 1024,
        "precision": "float32",
        "learning_rate": 3e-3,
        "export_dtype": "float32",
        "activation_checkpointing": False,
        "device": "cpu",
        "epochs": 4,
        "checkpoint_every_steps": 3,
    }
    return SingleDevice(**{**settings, **changes})


def train_here(
    settings: SingleDevice, model: Model, rows_path: Path, folder: Path
) -> dict[str, Any]:
    """Trains in this process, for what does not need one of its own."""
    (folder / "logs").mkdir(exist_ok=True)
    train_rank(Job(settings, model, rows_path, 0, folder, 1))
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Model) -> Path:
    """One whole run; its folder and, beside it, the rows."""
    folder = tmp_path_factory.mktemp("run") / "out"
    folder.mkdir()
    rows_path = write_rows(folder.parent / "rows.parquet", rows(24))
    seen: list[dict[str, str]] = []
    run(recipe(), tiny_model, rows_path, 0, folder, on_step=seen.append)
    assert [row["step"] for row in seen] == [str(n) for n in range(1, 9)]
    return folder


def test_loss_falls_and_every_step_is_logged(trained: Path) -> None:
    log = read_log(trained / "log.csv")
    assert [int(row["step"]) for row in log] == list(range(1, 9))
    assert [int(row["epoch"]) for row in log] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert float(log[-1]["loss"]) < float(log[0]["loss"]) - 0.5
    assert float(log[0]["learning_rate"]) == 0.0
    assert float(log[1]["learning_rate"]) == 3e-3
    for column in ("gradient_norm", "tokens_per_second", "peak_memory_gib", "step_seconds"):
        assert all(float(row[column]) > 0 for row in log), column
    assert all(float(row["padding_share"]) == 0 for row in log)


def test_exported_folder_loads_and_generates(trained: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = trained / "model"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template
    assert tokenizer.pad_token == "<|fim_pad|>"
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id]
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], add_generation_prompt=True, return_tensors="pt"
    )
    out = model.generate(**prompt, max_new_tokens=3, do_sample=False)
    assert out.shape[1] == prompt["input_ids"].shape[1] + 3
    config = json.loads((folder / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert config.get("use_cache", True)


def test_card_and_record_tell_the_recipe(trained: Path) -> None:
    record = json.loads((trained / "train.json").read_text())
    assert record["steps"] == 8
    assert record["samples"] == {"rows": 24, "samples": 24, "too_long": 0}
    assert record["rows_sha256"] in (trained / "model" / "README.md").read_text()
    assert record["final_loss"] < record["first_loss"]
    [cost] = json.loads((trained / "costs.json").read_text())
    assert cost["trained_tokens"] == record["tokens"] > 0
    assert cost["stage"] == "train"
    assert not (trained / "checkpoints").exists()


def test_killed_at_any_step_ends_with_the_same_weights(
    trained: Path, tiny_model: Model, tmp_path: Path
) -> None:
    job = Job(recipe(), tiny_model, trained.parent / "rows.parquet", 0, tmp_path, 1)
    path = job.write()
    (tmp_path / "logs").mkdir()
    code = f"from s1x.train.launch import *; train_in_processes(Job.read(Path({str(path)!r})))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    place = tmp_path / "checkpoints" / "step-00000003"
    deadline = time.monotonic() + 90
    while not place.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (tmp_path / "checkpoints" / "step-00000007.partial").mkdir()
    time.sleep(1.0)
    assert not (tmp_path / "model").exists()
    result = train_here(recipe(), tiny_model, trained.parent / "rows.parquet", tmp_path)
    assert result["resumed_at_step"] in (3, 6)
    ours, theirs = (load_file(f / "model" / "model.safetensors") for f in (tmp_path, trained))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [r["loss"] for r in read_log(tmp_path / "log.csv")] == [
        r["loss"] for r in read_log(trained / "log.csv")
    ]


def test_a_loss_that_is_no_number_names_step_and_rows(
    tiny_model: Model, chosen: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step \d+, .*rows \[\d+"):
        train_here(recipe(learning_rate=1e9, gradient_clip_norm=0.0), tiny_model, chosen, tmp_path)


def test_weights_that_are_no_numbers_are_not_exported(
    tiny_model: Model, chosen: Path, tmp_path: Path
) -> None:
    """The last update overflows: no loss is computed after it."""
    settings = recipe(learning_rate=1e39, warmup_fraction=0.0, max_steps=1, gradient_clip_norm=0.0)
    with pytest.raises(UserError, match="values that are not numbers after the last step"):
        train_here(settings, tiny_model, chosen, tmp_path)
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "result.json").exists()


def test_exported_files_have_the_users_own_mode(trained: Path) -> None:
    beside = trained / "beside"
    beside.touch()
    assert {file.stat().st_mode for file in (trained / "model").iterdir()} == {
        beside.stat().st_mode
    }
    beside.unlink()


@pytest.fixture
def stopped(
    tiny_model: Model, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A run that fails at its export, with the checkpoints of steps 3 and 6."""
    with monkeypatch.context() as patch:
        patch.setattr("s1x.train.rank.worker.export", _fails)
        with pytest.raises(UserError, match="no export"):
            train_here(
                recipe(keep_checkpoints=2), tiny_model, trained.parent / "rows.parquet", tmp_path
            )
    return tmp_path


def _fails(*_: Any) -> None:
    raise UserError("no export")


@pytest.mark.parametrize("damage", ["cut", "flipped", "removed"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    trained: Path,
    stopped: Path,
    tiny_model: Model,
    damage: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = stopped / "checkpoints" / "step-00000006" / "state"
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "removed":
        state.unlink()
    else:
        state.write_bytes(content if damage == "flipped" else content[:-1000])
    rows_path = trained.parent / "rows.parquet"
    result = run(recipe(keep_checkpoints=2), tiny_model, rows_path, 0, stopped)
    assert result["resumed_at_step"] == 3
    said = capsys.readouterr().err
    assert "step-00000006 is damaged" in said
    assert "goes on from the checkpoint of step 3" in said
    ours, theirs = (load_file(f / "model" / "model.safetensors") for f in (stopped, trained))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_another_number_of_ranks_is_told(trained: Path, stopped: Path, tiny_model: Model) -> None:
    rows_path = trained.parent / "rows.parquet"
    with pytest.raises(UserError, match=r"written by 1 ranks and this run has 2; go on with 1"):
        run(recipe(devices_per_node=2), tiny_model, rows_path, 0, stopped)
    assert (stopped / "checkpoints" / "step-00000006").exists()


def test_left_out_samples_are_told(
    tiny_model: Model, chosen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lengths = sorted(read_samples(tiny_model, chosen).lengths)
    settings = recipe(overflow="drop", max_sequence_tokens=lengths[10], max_steps=1)
    run(settings, tiny_model, chosen, 0, tmp_path)
    dropped = sum(length > lengths[10] for length in lengths)
    assert f"train: {dropped} dropped of 24 samples" in capsys.readouterr().err


def read_samples(model: Model, chosen: Path) -> SampleSet:
    return build_samples(load_tokenizer(model), model, read_rows(chosen))


def test_settings_that_change_no_result_are_no_part_of_its_name() -> None:
    other = recipe(
        hosts=["a"],
        num_nodes=1,
        master_port=4000,
        keep_checkpoints=3,
        checkpoint_every_steps=7,
        peak_tflops=1.0,
        devices_per_node=1,
    )
    assert result_settings(other) == result_settings(recipe())
    assert result_settings(recipe(learning_rate=1.0)) != result_settings(recipe())


def test_adapters_need_peft_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert recipe(lora=Lora(rank=4)).needs == ("peft",)
    assert recipe().needs == ()
    with pytest.raises(UserError, match=r"train\.lora\.rank=4 needs peft"):
        recipe(lora=Lora(rank=4)).check()


def test_other_formats_and_adapters_train(tiny_model: Model, chosen: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    lora = Lora(rank=4, target_modules=["q_proj", "v_proj"])
    settings = recipe(format="step_conditional", lora=lora, epochs=1, activation_checkpointing=True)
    train_here(settings, tiny_model, chosen, tmp_path)
    before = load_file(Path(tiny_model.path) / "model.safetensors")
    after = load_file(tmp_path / "model" / "model.safetensors")
    assert after.keys() == before.keys()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert all(name.endswith(("q_proj.weight", "v_proj.weight")) for name in changed)


def test_padded_batches_learn_the_same(trained: Path, tiny_model: Model, tmp_path: Path) -> None:
    rows_path = trained.parent / "rows.parquet"
    train_here(recipe(batching="padded"), tiny_model, rows_path, tmp_path)
    ours, theirs = read_log(tmp_path / "log.csv"), read_log(trained / "log.csv")
    assert max(float(row["padding_share"]) for row in ours) > 0
    for row, other in zip(ours, theirs, strict=True):
        assert math.isclose(float(row["loss"]), float(other["loss"]), rel_tol=1e-4)


def test_missing_rows_file(tiny_model: Model, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.parquet", [{"question": "a", "attempt": "b"}])
    with pytest.raises(UserError, match="no column reasoning_trace"):
        run(recipe(), tiny_model, path, 0, tmp_path)
    assert not (tmp_path / "logs").exists(), "no process was started"


def test_a_sample_that_is_too_long_is_told_before_ranks_start(
    tiny_model: Model, chosen: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"of 24 samples are longer .*overflow=drop"):
        run(recipe(max_sequence_tokens=64), tiny_model, chosen, 0, tmp_path)
    assert not (tmp_path / "logs").exists()


def test_a_hub_model_is_fetched_before_ranks_start(
    chosen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(name: str, **_: Any) -> str:
        asked.append(name)
        raise OSError("the way is closed")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(UserError, match="org/model cannot be loaded \\(the way is closed\\)"):
        run(recipe(), Model(name="far", path="org/model"), chosen, 0, tmp_path)
    assert asked == ["org/model"]
    assert not (tmp_path / "logs").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="children are looked up in /proc")
@pytest.mark.parametrize("who", ["program", "agent"])
def test_a_signal_writes_a_checkpoint_and_the_end_is_the_same(
    trained: Path, tiny_model: Model, tmp_path: Path, who: str
) -> None:
    """Slurm signals the program or its agents on the nodes; no checkpoint was due yet."""
    settings, rows_path = recipe(checkpoint_every_steps=None), trained.parent / "rows.parquet"
    said = end_by_sigterm(settings, tiny_model, rows_path, tmp_path, who)
    assert said.endswith(
        "RunError: stopped by SIGTERM after step 1 of 8, with a checkpoint; "
        "the same command goes on from there"
    )
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]
    assert not (tmp_path / "model").exists()
    (tmp_path / "stop").unlink()
    result = train_here(settings, tiny_model, rows_path, tmp_path)
    assert result["resumed_at_step"] == 1
    ours, theirs = (load_file(f / "model" / "model.safetensors") for f in (tmp_path, trained))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_checkpoints_by_the_clock(tiny_model: Model, chosen: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    changes = {"checkpoint_every_steps": None, "checkpoint_minutes": 1e-9, "keep_checkpoints": 9}
    train_here(recipe(epochs=2, **changes), tiny_model, chosen, tmp_path)
    seen = sorted(int(p.name[5:]) for p in (tmp_path / "checkpoints").iterdir())
    assert seen == [1, 2, 3], "none after the last step: the export follows"
    other = tmp_path / "other"
    other.mkdir()
    train_here(recipe(epochs=2, checkpoint_every_steps=None), tiny_model, chosen, other)
    assert not (other / "checkpoints").exists(), "a run of seconds writes none"
