"""The launcher: who failed first, and how nodes are reached."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch

from s1x.errors import UserError
from s1x.model.model import Model
from s1x.train.deepspeed_zero3 import DeepspeedZero3
from s1x.train.job import Job
from s1x.train.launch import (
    MARK,
    Failure,
    RankError,
    first_failure,
    node_commands,
    run_node,
    train_in_processes,
)
from s1x.train.rank.worker import failure_of
from s1x.train.single_device import SingleDevice

MODEL = Model(name="none", path="nowhere")


def job(folder: Path, **changes: object) -> Job:
    settings = DeepspeedZero3(num_nodes=2, **changes)  # type: ignore[arg-type]
    return Job(settings, MODEL, folder / "rows.parquet", 0, folder, 2)


def failure(rank: int, kind: str, time: float) -> Failure:
    return Failure(rank, kind, f"cause {rank}", time)


class Agent:
    """What `first_failure` asks of an agent."""

    def __init__(self, logs: Path, *tail: str) -> None:
        self.log, self.tail = logs / "node0.log", tail


def told(logs: Path, *failures: Failure, tail: tuple[str, ...] = ()) -> Exception:
    return first_failure(failures, [Agent(logs, *tail)], [1])  # type: ignore[list-item]


def test_the_first_failure_is_shown(tmp_path: Path) -> None:
    error = told(tmp_path, failure(0, "bug", 12.0), failure(1, "bug", 11.0))
    assert isinstance(error, RankError)
    assert "rank 1: cause 1; see" in str(error)
    assert str(tmp_path / "rank1.log") in str(error)


def test_what_the_user_can_mend_explains_the_rest(tmp_path: Path) -> None:
    others = failure(0, "bug", 10.0), failure(2, "killed", 11.0)
    error = told(tmp_path, *others, failure(1, "user", 12.0))
    assert isinstance(error, UserError)
    assert str(error).startswith("cause 1")
    assert "rank2.log" in str(told(tmp_path, *others)), "a killed rank comes before its partners"


def test_an_agent_that_cannot_start_says_its_last_line(tmp_path: Path) -> None:
    error = told(tmp_path, tail=("Trace", "srun: error: no such node"))
    assert isinstance(error, RankError)
    assert "exit status 1 (srun: error: no such node); see" in str(error)


RANK_BEGINS = "import os, signal, sys\nif 's1x.train.rank.worker' in sys.orig_argv:\n"


@pytest.mark.parametrize(
    ("dies", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL, most likely because"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
        ("print('the disk burns'); sys.stdout.flush(); os._exit(9)", "status 9 (the disk burns)"),
        ("sys.modules['lightning'] = None", "lightning"),
    ],
)
def test_a_rank_that_dies_is_one_sentence_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: str, words: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"{RANK_BEGINS}    {dies}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    alone = Job(SingleDevice(device="cpu"), MODEL, tmp_path / "rows.parquet", 0, tmp_path, 1)
    with pytest.raises(RankError) as error:
        train_in_processes(alone)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    log = Path(str(error.value).rpartition("see ")[2])
    assert log == tmp_path / "logs" / "rank0.log"
    assert log.exists()


def test_a_killed_rank_comes_before_its_partners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").mkdir()
    line = failure(0, "bug", 1.0).line()
    (tmp_path / "sitecustomize.py").write_text(
        f"{RANK_BEGINS}    if os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGKILL)\n"
        f"    os.write(1, {line!r}.encode()); os._exit(1)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    job(tmp_path).write()
    assert run_node(job(tmp_path), 0, "127.0.0.1:1") == 1
    said = [x.removeprefix(MARK) for x in capfd.readouterr().out.splitlines() if x.strip()]
    error = told(tmp_path / "logs", *(Failure(**json.loads(text)) for text in said))
    assert isinstance(error, RankError)
    assert "rank 1: it was ended by SIGKILL" in str(error)
    assert "main memory" in str(error)


def test_out_of_memory_says_which_settings_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "3")
    for error in (torch.OutOfMemoryError("CUDA out of memory"), MemoryError()):
        why = failure_of(job(tmp_path, max_sequence_tokens=4096), error)
        assert why.kind == "user"
        for words in ("rank 3", "4096 tokens", "train.max_sequence_tokens", "offload"):
            assert words in why.message


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    wrapped = RuntimeError("cannot save")
    wrapped.__context__ = full
    foreign = ValueError(
        "Error while serializing: I/O error: No space left on device (os error 28)"
    )
    for error in (full, wrapped, foreign):
        why = failure_of(job(tmp_path), error)
        assert why.kind == "user"
        assert str(tmp_path) in why.message
        assert "free some" in why.message


def test_the_reason_arrives_where_the_log_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = failure(0, "user", 1.0).line()
    (tmp_path / "sitecustomize.py").write_text(
        f"{RANK_BEGINS}    os.write(1, {line!r}.encode()); os._exit(1)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "logs").mkdir()
    for name in ("node0.log", "rank0.log"):
        (tmp_path / "logs" / name).symlink_to("/dev/full")
    alone = Job(SingleDevice(device="cpu"), MODEL, tmp_path / "rows.parquet", 0, tmp_path, 1)
    with pytest.raises(UserError, match="cause 0"):
        train_in_processes(alone)


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


def test_the_rendezvous_is_the_allocations_first_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`salloc` runs the program on a login node, where no rank will be."""
    fake = tmp_path / "scontrol"
    fake.write_text(
        "#!/bin/sh\n"
        'if [ "$2" = hostnames ]; then printf "gpu7\\ngpu8\\n";'
        ' else echo "NodeName=$4 Arch=x86_64 NodeAddr=10.0.0.7 State=IDLE"; fi\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "gpu[7-8]")
    [command] = node_commands(job(tmp_path, master_port=4000), tmp_path / "job.json")
    assert command[command.index("--address") + 1] == "10.0.0.7:4000"


def test_settings_survive_the_file(tmp_path: Path) -> None:
    written = job(tmp_path, hosts=["a", "b"])
    assert Job.read(written.write()) == written
