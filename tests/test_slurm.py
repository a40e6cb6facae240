"""On a real Slurm: a sweep by `hydra/launcher=submitit_slurm`, and training on its nodes."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import slurm_cluster

from s1x.compose import ROOT

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


@pytest.mark.deepspeed
def test_training_takes_its_ranks_from_the_allocation(tmp_path: Path) -> None:
    """Two nodes (of one machine) with a rank each; nothing but the allocation says how many."""
    pytest.importorskip("deepspeed")
    code = """
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
(folder / "out").mkdir()
run(settings, model, write_rows(folder / "rows.parquet", rows(8)), 0, folder / "out")
"""
    script = tmp_path / "job.py"
    script.write_text(code.replace("__FOLDER__", repr(str(tmp_path))))
    with slurm_cluster.cluster(tmp_path / "slurm", num_nodes=2) as env:
        env["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests' / 'train'}"
        wrapped = shlex.join([sys.executable, str(script)])
        command = ["sbatch", "--wait", "--nodes=2", f"--output={tmp_path}/job.log"]
        subprocess.run(
            [*command, "--wrap", wrapped], cwd=ROOT, env=env, timeout=300, capture_output=True
        )
    said = (tmp_path / "job.log").read_text()
    assert (tmp_path / "out" / "train.json").exists(), said
    result = json.loads((tmp_path / "out" / "train.json").read_text())
    assert result["steps"] == 2
    assert result["num_ranks"] == 2
    assert len(result["peak_memory_bytes_by_rank"]) == 2
