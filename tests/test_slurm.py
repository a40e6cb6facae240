"""A sweep on a real Slurm of one node: `hydra/launcher=submitit_slurm`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import slurm_cluster

from s1x.config import ROOT

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
