"""Starts the ranks of a training job and sees them to their end.

The program's own process never joins a process group. It starts one agent a node (by `srun` in a
Slurm allocation, by ssh on named hosts, else here), and each agent starts its node's ranks:

    python -m s1x.train.launch <folder>/job.json --node-rank 0 --address host:port

What a process prints goes through a pipe to the one that started it, which writes the log and
keeps the last lines; so the reason of a failure arrives even where the disk is full. When a rank
fails, its agent ends the others; the failure that explains the rest is what the user sees. Ranks
end by themselves when their agent is gone. SIGTERM, to any of these processes, has the ranks write
a checkpoint after their present step and end. (torch's elastic launch does less of this through
files, and costs 2 s and 200 MB a node.)
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import s1x
from s1x.errors import RunError, UserError
from s1x.train.job import ENDING, JOB, STOP, Job

POLL_SECONDS = 0.1
LOGS = "logs"
#: how long the other ranks may take to say why they fail too, before they are ended
GRACE_SECONDS = 2.0
PARENT_POLL_SECONDS = 0.5
#: begin the names of the environment's variables that hosts reached by ssh get too (no tokens)
_SSH_KEEPS = ("HF_", "NCCL_", "GLOO_", "UCX_", "TORCH_", "PYTORCH_", "OMP_", "DS_")
#: opens a line of a rank's output that says why it fails
MARK = "s1x-failure "


class RankError(RunError):
    """A rank ended with an error that is not the user's mistake."""


@dataclass(frozen=True)
class Failure:
    """Why a rank ended.

    `kind` is "user" for what the user can mend, "stopped" with a checkpoint, "killed" by a signal,
    "bug" for all else; `time` counts seconds since the epoch.
    """

    rank: int
    kind: str
    message: str
    time: float

    def line(self) -> str:
        """The failure as a line of output, short enough for a pipe to keep in one piece."""
        return f"\n{MARK}{json.dumps(asdict(self) | {'message': self.message[:1500]})}\n"

    @property
    def order(self) -> tuple[int, float]:
        """What the user can mend explains the rest, then what a signal ended, then the first."""
        return ["user", "stopped", "killed", "bug"].index(self.kind), self.time


class Process:
    """A child in a session of its own whose output is read line by line."""

    def __init__(self, command: Sequence[str], log: Path, extra: dict[str, str]) -> None:
        # passes differ in length: segments that grow keep GPU memory from falling into pieces, and
        # cuDNN's attention would be planned anew for each of those lengths
        alloc = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
        environment = {**alloc, "TORCH_CUDNN_SDPA_AVOID_RECOMPILE": "1", **os.environ, **extra}
        paths = [str(Path(s1x.__file__).parents[1]), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        environment |= {"S1X_PARENT_PID": str(os.getpid()), "PYTHONUNBUFFERED": "1"}
        self.log, self.failures = log, list[Failure]()
        self.tail: deque[str] = deque(maxlen=20)
        self.popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        assert self.popen.stdout is not None
        self._pump = threading.Thread(target=self._read, args=(self.popen.stdout,), daemon=True)
        self._pump.start()

    def _read(self, output: IO[bytes]) -> None:
        file: IO[bytes] | None = None
        with suppress(OSError):
            file = self.log.open("ab", buffering=0)
        for raw in output:
            line = raw.decode("utf-8", "replace").strip()
            if line.startswith(MARK):
                with suppress(ValueError, TypeError):
                    self.failures.append(Failure(**json.loads(line.removeprefix(MARK))))
            elif line:
                self.tail.append(line)
            if file is not None:
                with suppress(OSError):  # a full disk loses the log, not the reason
                    file.write(raw)

    def end(self, deadline: float) -> None:
        """Waits until the deadline, then kills; everything it printed has been read after that."""
        try:
            self.popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        self._pump.join(1.0)


def train_in_processes(job: Job, watch: Callable[[], None] = lambda: None) -> None:
    """Runs a job to its end in processes of its own.

    Args:
        job: what is trained; its folder holds checkpoints of a killed run, if any.
        watch: called about ten times a second.

    Raises:
        UserError: what the first failing rank raised as such.
        RankError: any other end of a rank, with its log's path.
        RunError: SIGTERM came; what it says tells where the same command goes on.
    """
    for name in (STOP, ENDING):
        (job.folder / name).unlink(missing_ok=True)
    logs = job.folder / LOGS
    logs.mkdir(exist_ok=True)
    with _stop_on_sigterm(job):
        path = job.write()
        commands = node_commands(job, path)
        agents = [Process(command, logs / f"node{n}.log", {}) for n, command in enumerate(commands)]
        codes = _seen_to_the_end(agents, watch, job)
    if any(codes):
        raise first_failure([f for agent in agents for f in agent.failures], agents, codes)
    if (job.folder / STOP).exists():
        raise RunError(
            "stopped by SIGTERM when training had come to its end; the same command goes on"
        )


@contextmanager
def _stop_on_sigterm(job: Job) -> Iterator[None]:
    """SIGTERM asks the ranks for a checkpoint while this holds (in a program's main thread)."""
    try:
        before = signal.signal(signal.SIGTERM, lambda *_: job.ask_to_stop())
    except ValueError:  # another thread: signals are its program's own affair
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _seen_to_the_end(
    processes: Sequence[Process], watch: Callable[[], None], job: Job | None = None
) -> list[int]:
    """Exit codes, once all have ended well or one has not; the others (0) are ended then.

    Agents (of a `job`) are told by its folder that SIGTERM now means the end; ranks are killed.
    """
    failed_at = float("inf")
    try:
        while True:
            codes = [process.popen.poll() for process in processes]
            watch()
            now = time.monotonic()
            if any(codes):
                failed_at = min(failed_at, now)
            if now - failed_at > GRACE_SECONDS or None not in codes:
                return [code or 0 for code in codes]
            time.sleep(POLL_SECONDS)
    finally:
        if job is not None:
            (job.folder / ENDING).touch()
        for process in processes:
            process.popen.send_signal(signal.SIGKILL if job is None else signal.SIGTERM)
        deadline = time.monotonic() + 3.0
        for process in processes:
            process.end(deadline)


def first_failure(
    failures: Sequence[Failure], agents: Sequence[Process], codes: Sequence[int]
) -> Exception:
    """The failure that explains the others, as an exception to raise."""
    if failures:
        first = min(failures, key=lambda failure: failure.order)
        log = agents[0].log.with_name(f"rank{first.rank}.log")
        if first.kind == "user":
            return UserError(f"{first.message} (log: {log})")
        if first.kind == "stopped":
            return RunError(first.message)
        return RankError(f"training failed first on rank {first.rank}: {first.message}; see {log}")
    agent, code = next((a, c) for a, c in zip(agents, codes, strict=True) if c)
    how = f"exit status {code}" if code > 0 else signal.Signals(-code).name
    return RankError(
        f"the process that starts the ranks ended with {how}{_said(agent)}; see {agent.log}"
    )


def _said(process: Process) -> str:
    return f" ({process.tail[-1][:500]})" if process.tail else ""


def node_commands(job: Job, path: Path) -> list[list[str]]:
    """The command that starts each node's agent (one command for all nodes under Slurm)."""
    settings = job.settings
    port = settings.master_port or _free_port()
    agent = [sys.executable, "-m", "s1x.train.launch", str(path), "--address"]
    if settings.nodes == 1:
        return [[*agent, f"127.0.0.1:{port}"]]
    if settings.hosts:
        here = "127.0.0.1" if settings.hosts[0] == "localhost" else settings.hosts[0]
        nodes = enumerate(settings.hosts)
        return [_on(host, [*agent, f"{here}:{port}", "--node-rank", str(n)]) for n, host in nodes]
    if "SLURM_JOB_ID" not in os.environ:
        raise UserError(
            f"train.num_nodes={settings.nodes} outside a Slurm allocation needs "
            "train.hosts=[first,second,...] to reach the nodes by ssh"
        )
    counts = [f"--nodes={settings.nodes}", f"--ntasks={settings.nodes}", "--ntasks-per-node=1"]
    srun = ["srun", *counts, "--overlap", "--cpu-bind=none", "--kill-on-bad-exit=1"]
    return [[*srun, *agent, f"{_first_node()}:{port}", "--slurm"]]


def _first_node() -> str:
    """Address of the allocation's first node: `salloc` runs this program on a login node."""
    nodes = _scontrol("show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", "")).split()
    if not nodes:
        return socket.gethostname()
    about = _scontrol("--oneliner", "show", "node", nodes[0]).split()
    addresses = (item.removeprefix("NodeAddr=") for item in about if item.startswith("NodeAddr="))
    return next(addresses, nodes[0])


def _scontrol(*arguments: str) -> str:
    with suppress(OSError, subprocess.SubprocessError):
        command, quiet = ["scontrol", *arguments], subprocess.DEVNULL
        return subprocess.check_output(command, stderr=quiet, text=True, timeout=30)
    return ""


def _on(host: str, command: list[str]) -> list[str]:
    if host == "localhost":
        return command
    kept = {key: value for key, value in os.environ.items() if key.startswith(_SSH_KEEPS)}
    named = [f"{key}={value}" for key, value in sorted(kept.items()) if "TOKEN" not in key]
    with_them = shlex.join(["env", *named, *command] if named else command)
    return ["ssh", "-tt", host, f"cd {shlex.quote(os.getcwd())} && exec {with_them}"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def run_node(job: Job, node_rank: int, address: str) -> int:
    """An agent's work: this node's ranks, from start to end; 0 when all ended well.

    Why they failed is printed, a line a rank, for the process that started the agent.
    """
    host, _, port = address.partition(":")
    count = job.ranks_per_node
    everywhere = {"NODE_RANK": node_rank, "WORLD_SIZE": job.num_ranks, "LOCAL_WORLD_SIZE": count}
    command = [sys.executable, "-m", "s1x.train.rank.worker", str(job.folder / JOB)]
    if count > 1:  # each rank would start a thread for every processor of the node
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // count)))
    ranks = {}
    for local in range(count):
        rank = node_rank * count + local
        place = {**everywhere, "RANK": rank, "LOCAL_RANK": local}
        extra = {key: str(value) for key, value in place.items()}
        extra |= {"MASTER_ADDR": host, "MASTER_PORT": port}
        ranks[rank] = Process(command, job.folder / LOGS / f"rank{rank}.log", extra)
    codes = _seen_to_the_end(list(ranks.values()), lambda: None)
    for (rank, process), code in zip(ranks.items(), codes, strict=True):
        if code:
            for failure in process.failures or [_unsaid(rank, process, code)]:
                print(failure.line(), end="", flush=True)
    return int(any(codes))


def _unsaid(rank: int, process: Process, code: int) -> Failure:
    """The failure of a rank that could not say why: a signal, or an end before it began."""
    if code > 0:
        message = f"it ended with exit status {code}{_said(process)}"
        return Failure(rank, "bug", message, time.time())
    message = f"it was ended by {signal.Signals(-code).name}"
    if -code == signal.SIGKILL:
        message += ", most likely because this machine ran out of main memory"
    return Failure(rank, "killed", message, time.time())


def end_with_parent() -> None:
    """Makes this process end when the one that started it does, even by kill -9."""
    parent = int(os.environ.get("S1X_PARENT_PID", os.getppid()))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """The agent's command line."""
    parser = argparse.ArgumentParser(prog="python -m s1x.train.launch", description=__doc__)
    parser.add_argument("job", type=Path, help="the job.json of a training folder")
    parser.add_argument("--node-rank", type=int, default=0)
    parser.add_argument("--address", default="127.0.0.1:29500", help="host:port of node 0")
    parser.add_argument("--slurm", action="store_true", help="node rank from SLURM_NODEID")
    options = parser.parse_args()
    job = Job.read(options.job)

    def on_sigterm(*_: object) -> None:
        if (job.folder / ENDING).exists():
            sys.exit(1)
        job.ask_to_stop()

    signal.signal(signal.SIGTERM, on_sigterm)
    if options.slurm:
        options.node_rank = int(os.environ["SLURM_NODEID"])
    else:
        end_with_parent()
    return run_node(job, options.node_rank, options.address)


if __name__ == "__main__":
    sys.exit(main())
