"""On a real Slurm: a sweep by `hydra/launcher=submitit_slurm`, and training on its nodes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import slurm_cluster

from s1x.compose import ROOT
from s1x.train.job import read_log

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(slurm_cluster.missing() is not None, reason=str(slurm_cluster.missing())),
]


def test_a_sweep_runs_as_slurm_jobs_and_shares_one_training(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    output = tmp_path / "out"
    command = [
        *(sys.executable, "run.py", "-m", "+experiment=s1k", "scale=quick", "+sweep=wait_count"),
        *("benchmark=puzzles_hard", "evaluate.models=[fine_tuned]", f"output={output}"),
        *("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1"),
        *("hydra.launcher.mem_gb=null", "hydra.launcher.timeout_min=10"),
    ]
    with slurm_cluster.cluster(tmp_path / "slurm") as env:
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=500
        )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((output / "latest" / "summary.json").read_text())
    points = [p["setting"] for c in summary["curves"] for p in c["points"]]
    assert points == ["natural", "Wait x 1"]
    trained = [folder for folder in (output / "train").iterdir() if folder.is_dir()]
    assert len(trained) == 1, "the jobs share one fine-tuned model"
    jobs = list((output / "sweeps").glob("*/.submitit/*/*_result.pkl"))
    assert len(jobs) == 2, "both ran as Slurm jobs"


TRAINING = """
from pathlib import Path
from s1x.train.stage import run
from s1x.train.deepspeed_zero3 import DeepspeedZero3
from tiny_llama import rows, write_model, write_rows
from s1x.model.model import Model
folder = Path(__FOLDER__)
model = Model(name="tiny", path=str(write_model(folder / "model")), dtype="float32")
settings = DeepspeedZero3(
    max_sequence_tokens=256, precision="float32", epochs=1, batch_sequences=4, device="cpu"
)
(folder / "out").mkdir(exist_ok=True)
run(settings, model, write_rows(folder / "rows.parquet", rows(8)), 0, folder / "out")
"""


def submission(folder: Path, changes: str, *options: str) -> list[str]:
    """The command that trains on two nodes of one machine, a rank on each."""
    script = folder / "job.py"
    text = TRAINING.replace("__FOLDER__", repr(str(folder))).replace("epochs=1", changes)
    script.write_text(text, encoding="utf-8")
    wrapped = shlex.join([sys.executable, str(script)])
    command = ["sbatch", "--nodes=2", f"--output={folder}/job.log", "--open-mode=append"]
    return [*command, *options, "--wrap", wrapped]


@pytest.mark.deepspeed
def test_training_takes_its_ranks_from_the_allocation(tmp_path: Path) -> None:
    """Two nodes (of one machine) with a rank each; nothing but the allocation says how many."""
    pytest.importorskip("deepspeed")
    command = submission(tmp_path, "epochs=1", "--wait")
    with slurm_cluster.cluster(tmp_path / "slurm", num_nodes=2) as env:
        env["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests' / 'train'}"
        subprocess.run(command, cwd=ROOT, env=env, timeout=300, capture_output=True)
    said = (tmp_path / "job.log").read_text()
    assert (tmp_path / "out" / "train.json").exists(), said
    result = json.loads((tmp_path / "out" / "train.json").read_text())
    assert result["steps"] == 2
    assert result["num_ranks"] == 2
    assert len(result["peak_memory_bytes_by_rank"]) == 2


@pytest.mark.deepspeed
def test_a_preempted_job_writes_a_checkpoint_and_goes_on(tmp_path: Path) -> None:
    """Slurm's notice is SIGTERM to the job's processes; the same job, run again, goes on."""
    pytest.importorskip("deepspeed")
    out = tmp_path / "out"
    text = "epochs=40, checkpoint_every_steps=None"
    command = submission(tmp_path, text, "--parsable")
    with slurm_cluster.cluster(tmp_path / "slurm", num_nodes=2) as env:
        env["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests' / 'train'}"

        def call(*words: str) -> str:
            done = subprocess.run(
                words, cwd=ROOT, env=env, timeout=60, capture_output=True, text=True
            )
            return done.stdout.strip()

        def wait_until(what: Callable[[], bool]) -> None:
            deadline = time.monotonic() + 200
            while not what():
                assert time.monotonic() < deadline, (tmp_path / "job.log").read_text()
                time.sleep(0.1)

        job = call(*command)
        wait_until(lambda: (out / "log.csv").exists() and len(read_log(out / "log.csv")) >= 2)
        call("scancel", "--signal=TERM", job)
        wait_until(lambda: not call("squeue", "--noheader", f"--jobs={job}"))
        saved = [int(place.name[5:]) for place in (out / "checkpoints").iterdir()]
        assert len(saved) == 1, (tmp_path / "job.log").read_text()
        assert not (out / "train.json").exists()
        (out / "stop").unlink(missing_ok=True)
        job = call(*command)
        wait_until(lambda: not call("squeue", "--noheader", f"--jobs={job}"))
    result = json.loads((out / "train.json").read_text())
    assert (result["resumed_at_step"], result["steps"]) == (saved[0], 80)


@pytest.mark.ray
def test_the_example_starts_ray_trains_evaluates_and_goes_on_when_requeued(tmp_path: Path) -> None:
    """SIGTERM to the batch script, as notice gives it, in the midst of an evaluation."""
    pytest.importorskip("ray")
    output, log = tmp_path / "out", tmp_path / "job.log"
    settings = ["+experiment=s1k", "scale=quick", "evaluate.models=[fine_tuned]"]
    settings += ["selection.size=100", "train.epochs=1", "engine.batch_size=2", "max_problems=100"]
    settings += ["workers.num_replicas=2", f"output={output}"]
    options = ["--nodes=2", "--cpus-per-task=1", "--gpus-per-node=0", "--signal=B:TERM@60"]
    options += ["--oversubscribe", f"--output={log}", "--parsable"]
    with slurm_cluster.cluster(tmp_path / "slurm", num_nodes=2) as env:
        # as in an environment that was activated
        env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"

        def call(*words: str) -> str:
            done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True)
            return done.stdout.strip() or done.stderr

        def wait_until(what: Callable[[], object]) -> None:
            deadline = time.monotonic() + 150
            while not what():
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)

        job = call("sbatch", *options, "examples/slurm_ray.sh", *settings)
        wait_until(lambda: [*output.glob("traces/*/*.sqlite")])
        time.sleep(1.0)
        call("scancel", "--signal=TERM", "--batch", job)
        wait_until(lambda: "Stopped." in log.read_text())
        assert not [*output.glob("evaluate/*/evaluation.json")]
        wait_until(lambda: "COMPLETED" in call("scontrol", "show", "job", job))
    (evaluation,) = output.glob("evaluate/*/evaluation.json")
    found = json.loads(evaluation.read_text())
    assert found["stored_tokens"] > 0
    assert len(found["replicas"]) == 2
    assert log.read_text().count("fine-tuned model: reused") == 1, "it is not trained again"
