"""A training that SIGTERM ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from s1x.model.model import Model
from s1x.train.job import Job
from s1x.train.settings import TrainSettings


def end_by_sigterm(
    settings: TrainSettings, model: Model, rows_path: Path, folder: Path, who: str
) -> str:
    """Starts a training, sends SIGTERM once `job.json` is there; returns the last line it said."""
    (folder / "logs").mkdir()
    job = Job(settings, model, rows_path, 0, folder, settings.ranks_per_node())
    code = f"""
from pathlib import Path
from s1x.train.job import Job
from s1x.train.launch import train_in_processes
train_in_processes(Job.read(Path({str(job.write())!r})))
"""
    (folder / "job.json").rename(folder / "before.json")
    code = code.replace("job.json", "before.json")
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for = folder / ("job.json" if who == "program" else "logs/rank0.log")
    deadline = time.monotonic() + 120
    while not wait_for.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    whom = process.pid if who == "program" else child_of(process.pid)
    os.kill(whom, signal.SIGTERM)
    _, said = process.communicate(timeout=180)
    assert process.returncode == 1
    return said.strip().splitlines()[-1]


def child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return int(children[0])
