"""A real Slurm for the tests, of one node or several, on this machine and stopped again.

Needs root and the distribution's packages (`make system`). Munge, the controller and the node
daemon run from a folder of the test's own; nothing of a Slurm that is set up here is touched.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo")

CONF = """\
ClusterName=s1x
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerParameters=sched_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MailProg=/bin/true
ReturnToService=2
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
    "CPUs={cpus} RealMemory=2000 State=UNKNOWN\n"
)


def missing() -> str | None:
    """Why a cluster cannot be started here, or None."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    absent = [program for program in PROGRAMS if not shutil.which(program, path=path)]
    if absent:
        return "not installed: " + ", ".join(absent)
    return None if os.geteuid() == 0 else "needs root to start a Slurm of its own"


@contextmanager
def cluster(folder: Path, num_nodes: int = 1) -> Iterator[dict[str, str]]:
    """Yields the environment in which `sbatch` reaches the cluster.

    Args:
        folder: of everything that it writes.
        num_nodes: nodes that share this machine's processors; one is named as the machine is.
    """
    env = dict(os.environ)
    env["PATH"] += ":/usr/sbin:/sbin"
    env["SLURM_CONF"] = str(folder / "slurm.conf")
    (folder / "state").mkdir(parents=True)
    host = socket.gethostname().split(".")[0]
    names = [host] if num_nodes == 1 else [f"n{n}" for n in range(num_nodes)]
    cpus = max(1, (os.cpu_count() or 1) // num_nodes)
    text = CONF.format(host=host, folder=folder, controller_port=_free_port())
    for name in names:
        (folder / f"spool-{name}").mkdir()
        text += NODE.format(name=name, host=host, port=_free_port(), cpus=cpus)
    (folder / "slurm.conf").write_text(text)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    daemons = [
        [
            "munged",
            "--foreground",
            "--force",
            f"--key-file={key}",
            f"--socket={folder}/munge.socket",
            f"--pid-file={folder}/munged.pid",
            f"--log-file={folder}/munged.log",
            f"--seed-file={folder}/munged.seed",
        ],
        ["slurmctld", "-D", "-c"],
        *(["slurmd", "-D", "-c", "-N", name] for name in names),
    ]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in daemons:
            log = (folder / f"{command[0]}.out").open("ab")
            running.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
            time.sleep(0.5)
        _wait_until_idle(env, folder)
        yield env
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_idle(env: dict[str, str], folder: Path) -> None:
    state = ""
    for _ in range(60):
        done = subprocess.run(
            ["sinfo", "-h", "-o", "%T"], env=env, capture_output=True, text=True, check=False
        )
        state = done.stdout.strip()
        if state == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(p.read_text(errors="replace")[-800:] for p in folder.glob("*.out"))
    raise RuntimeError(f"the Slurm node is {state!r}, not idle\n{logs}")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
