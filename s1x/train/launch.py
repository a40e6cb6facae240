"""Starts the ranks of a training job and sees them to their end.

The program's own process never joins a process group. It starts one agent a node (by `srun` in a
Slurm allocation, by ssh on named hosts, else here), and each agent starts its node's ranks:

    python -m s1x.train.launch <folder>/job.json --node-rank 0 --address host:port

When a rank fails, its agent ends the others and returns 1; the first failure of all ranks is what
the user sees. Ranks end by themselves when their agent is gone.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import s1x
from s1x.errors import UserError
from s1x.train.job import Job

POLL_SECONDS = 0.1
LOGS = "logs"
#: how long the other ranks may take to say why they fail too, before they are ended
GRACE_SECONDS = 2.0


class RankError(RuntimeError):
    """A rank ended with an error that is not the user's mistake."""


def train_in_processes(job: Job, watch: Callable[[], None] = lambda: None) -> None:
    """Runs a job to its end in processes of its own.

    Args:
        job: what is trained; its folder holds checkpoints of a killed run, if any.
        watch: called about ten times a second.

    Raises:
        UserError: what the first failing rank raised as such.
        RankError: any other end of a rank, with the last lines of its log.
    """
    path = job.write()
    logs = job.folder / LOGS
    logs.mkdir(exist_ok=True)
    for old in logs.glob("*.error.json"):
        old.unlink()
    commands = node_commands(job, path)
    agents = [_start(command, logs / f"node{n}.log", {}) for n, command in enumerate(commands)]
    try:
        codes = _wait(agents, watch)
    finally:
        _end(agents)
    if any(codes):
        raise first_failure(logs, codes)


def node_commands(job: Job, path: Path) -> list[list[str]]:
    """The command that starts each node's agent (one command for all nodes under Slurm)."""
    settings = job.settings
    port = settings.master_port or _free_port()
    agent = [sys.executable, "-m", "s1x.train.launch", str(path)]
    if settings.nodes == 1:
        return [[*agent, "--address", f"127.0.0.1:{port}"]]
    if settings.hosts:
        here, *_ = settings.hosts
        address = ["--address", f"{'127.0.0.1' if here == 'localhost' else here}:{port}"]
        nodes = enumerate(settings.hosts)
        return [_on(host, [*agent, *address, "--node-rank", str(rank)]) for rank, host in nodes]
    if "SLURM_JOB_ID" not in os.environ:
        raise UserError(
            f"train.num_nodes={settings.nodes} outside a Slurm allocation needs "
            "train.hosts=[first,second,...] to reach the nodes by ssh"
        )
    counts = [f"--nodes={settings.nodes}", f"--ntasks={settings.nodes}", "--ntasks-per-node=1"]
    srun = ["srun", *counts, "--overlap", "--cpu-bind=none", "--kill-on-bad-exit=1"]
    return [[*srun, *agent, "--address", f"{socket.gethostname()}:{port}", "--slurm"]]


def _on(host: str, command: list[str]) -> list[str]:
    if host == "localhost":
        return command
    return ["ssh", "-tt", host, f"cd {shlex.quote(os.getcwd())} && exec {shlex.join(command)}"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _start(command: Sequence[str], log: Path, extra: dict[str, str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **extra, "S1X_PARENT_PID": str(os.getpid())}
    paths = [str(Path(s1x.__file__).parents[1]), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _wait(processes: Sequence[subprocess.Popen[bytes]], watch: Callable[[], None]) -> list[int]:
    """Exit codes, once all have ended well or one has not."""
    failed_at: float | None = None
    while True:
        codes = [process.poll() for process in processes]
        watch()
        if all(code is not None for code in codes):
            return [code or 0 for code in codes]
        if any(codes):
            failed_at = failed_at or time.monotonic()
            if time.monotonic() - failed_at > GRACE_SECONDS:
                return [code or 0 for code in codes]
        time.sleep(POLL_SECONDS)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ends what still runs: asks, waits three seconds, then kills."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 3.0
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def first_failure(logs: Path, codes: Sequence[int]) -> Exception:
    """The error of the rank that failed first, as an exception to raise."""
    errors = [json.loads(path.read_text()) for path in logs.glob("*.error.json")]
    if errors:
        first = min(errors, key=lambda error: float(error["time"]))
        if first["kind"] == "user":
            return UserError(first["message"])
        return RankError(f"rank {first['rank']} failed first: {first['message']} (see {logs})")
    newest = max(logs.glob("*.log"), key=lambda path: path.stat().st_mtime, default=None)
    tail = newest.read_text(errors="replace").strip().splitlines()[-5:] if newest else []
    said = "\n".join(tail) or "nothing was written"
    return RankError(f"a training process ended with {max(codes, key=abs)} (see {logs}): {said}")


def run_node(job_path: Path, node_rank: int, address: str) -> int:
    """An agent's work: this node's ranks, from start to end; 0 when all ended well."""
    job = Job.read(job_path)
    host, _, port = address.partition(":")
    logs = job_path.parent / LOGS
    count = job.ranks_per_node
    ranks = []
    for local in range(count):
        rank = node_rank * count + local
        place = {"RANK": rank, "LOCAL_RANK": local, "NODE_RANK": node_rank}
        place |= {"WORLD_SIZE": job.num_ranks, "LOCAL_WORLD_SIZE": count}
        extra = {key: str(value) for key, value in place.items()}
        extra |= {"MASTER_ADDR": host, "MASTER_PORT": port}
        command = [sys.executable, "-m", "s1x.train.rank.worker", str(job_path)]
        ranks.append(_start(command, logs / f"rank{rank}.log", extra))
    try:
        codes = _wait(ranks, lambda: None)
        _say_who_was_killed(logs, node_rank * count, codes)
        return int(any(codes))
    finally:
        _end(ranks)


def _say_who_was_killed(logs: Path, first_rank: int, codes: Sequence[int]) -> None:
    """Notes ranks that a signal ended: they could not say why, and come before their partners."""
    for local, code in enumerate(codes):
        path = logs / f"rank{first_rank + local}.error.json"
        if code >= 0 or path.exists():
            continue
        why = f"it was ended by {signal.Signals(-code).name}"
        if -code == signal.SIGKILL:
            why += ", most likely because this machine ran out of main memory"
        error = {"rank": first_rank + local, "kind": "bug", "message": why, "time": 0.0}
        path.write_text(json.dumps(error))


def main() -> int:
    """The agent's command line."""
    from s1x.train.rank.worker import end_with_parent

    parser = argparse.ArgumentParser(prog="python -m s1x.train.launch", description=__doc__)
    parser.add_argument("job", type=Path, help="the job.json of a training folder")
    parser.add_argument("--node-rank", type=int, default=0)
    parser.add_argument("--address", default="127.0.0.1:29500", help="host:port of node 0")
    parser.add_argument("--slurm", action="store_true", help="node rank from SLURM_NODEID")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    node_rank = int(os.environ["SLURM_NODEID"]) if options.slurm else options.node_rank
    if not options.slurm:
        end_with_parent()
    return run_node(options.job, node_rank, options.address)


if __name__ == "__main__":
    sys.exit(main())
