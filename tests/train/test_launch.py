"""The launcher: who failed first, and how nodes are reached."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from s1x.errors import UserError
from s1x.model.model import Model
from s1x.train.deepspeed_zero3 import DeepspeedZero3
from s1x.train.job import Job
from s1x.train.launch import RankError, first_failure, node_commands, run_node
from s1x.train.rank.worker import _say_why
from s1x.train.single_device import SingleDevice

MODEL = Model(name="none", path="nowhere")


def job(folder: Path, **changes: object) -> Job:
    settings = DeepspeedZero3(num_nodes=2, **changes)  # type: ignore[arg-type]
    return Job(settings, MODEL, folder / "rows.parquet", 0, folder, 2)


def write_error(logs: Path, rank: int, kind: str, time: float) -> None:
    error = {"rank": rank, "kind": kind, "message": f"cause {rank}", "time": time}
    (logs / f"rank{rank}.error.json").write_text(json.dumps(error))


def test_the_first_failure_is_shown(tmp_path: Path) -> None:
    write_error(tmp_path, 0, "bug", 12.0)
    write_error(tmp_path, 1, "user", 11.0)
    error = first_failure(tmp_path, [1])
    assert isinstance(error, UserError)
    assert str(error) == "cause 1"


def test_a_killed_rank_comes_before_its_partners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "logs"
    made.mkdir()
    (tmp_path / "sitecustomize.py").write_text(
        "import json, os, signal, sys, time\n"
        "if 's1x.train.rank.worker' in sys.orig_argv:\n"
        "    if os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGKILL)\n"
        f"    path = {str(made)!r} + '/rank0.error.json'\n"
        "    words = {'rank': 0, 'kind': 'bug', 'message': 'peer gone', 'time': time.time()}\n"
        "    open(path, 'w').write(json.dumps(words)); os._exit(1)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = job(tmp_path).write()
    assert run_node(path, 0, "127.0.0.1:1") == 1
    error = first_failure(made, [1])
    assert isinstance(error, RankError)
    assert "rank 1 failed first: it was ended by SIGKILL" in str(error)
    assert "main memory" in str(error)


def test_out_of_memory_says_which_settings_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "3")
    (tmp_path / "logs").mkdir()
    for error in (torch.OutOfMemoryError("CUDA out of memory"), MemoryError()):
        _say_why(job(tmp_path, max_sequence_tokens=4096), error)
        told = first_failure(tmp_path / "logs", [1])
        assert isinstance(told, UserError)
        for words in ("rank 3", "4096 tokens", "train.max_sequence_tokens", "offload"):
            assert words in str(told)


def test_ranks_from_slurms_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NNODES", "3")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "4")
    settings = DeepspeedZero3(device="cpu")
    assert (settings.nodes, settings.ranks_per_node()) == (3, 4)
    assert DeepspeedZero3(num_nodes=2).nodes == 2
    assert SingleDevice().nodes == SingleDevice(device="cpu").ranks_per_node() == 1


def test_nodes_by_ssh_by_srun_and_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    path = tmp_path / "job.json"
    first, second = node_commands(job(tmp_path, hosts=["one", "two"], master_port=4000), path)
    assert first[:3] == ["ssh", "-tt", "one"]
    assert "--address one:4000 --node-rank 1" in second[-1]
    with pytest.raises(UserError, match=r"train.hosts=\[first,second"):
        node_commands(job(tmp_path), path)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    [command] = node_commands(job(tmp_path), path)
    assert command[:3] == ["srun", "--nodes=2", "--ntasks=2"]
    assert command[-1] == "--slurm"


def test_settings_survive_the_file(tmp_path: Path) -> None:
    written = job(tmp_path, hosts=["a", "b"])
    assert Job.read(written.write()) == written
