"""Worker processes for work that may hang, eat memory or die.

Model output is hostile input to a symbolic engine. Each worker is a process of its own that gets
one job at a time as a line of JSON and answers with a line of JSON (data only, nothing that could
run here). A worker that overruns its time or dies is killed and replaced, and only its own job is
lost.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

#: how long a worker may take to import its engine
START_SECONDS = 120.0
#: what a worker gets beyond its own time limit to say so itself, before it is killed
GRACE_SECONDS = 0.5
MOST_REPLY_BYTES = 1 << 20
#: what an interpreter may need to start; nothing else of the environment reaches a worker
PASSED_ON = ("LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL")
ENVIRONMENT = {
    "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "PATH": os.defpath,
}

Job = Mapping[str, object]
Reply = dict[str, str | None]


class WorkerError(Exception):
    """A job without an answer: the worker hung or died. The text is for people."""


class Worker:
    """One process that runs a module's `main()` and answers lines of JSON."""

    def __init__(self, module: str, settings: Job) -> None:
        self.module, self.settings = module, dict(settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def ask(self, job: Job, time_limit_seconds: float) -> Reply:
        """The reply to one job.

        Raises:
            WorkerError: no reply in time, or the process died; the next job gets a new one.
            RuntimeError: no process can be started, so that no answer could be graded.
        """
        try:
            return self._told(self._running(), job, time_limit_seconds + GRACE_SECONDS)
        except (OSError, ValueError) as error:
            self.stop()
            raise WorkerError(f"the grading process died ({type(error).__name__})") from None
        except WorkerError:
            self.stop()
            raise

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.stop()
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {self.module} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={n: os.environ[n] for n in PASSED_ON if n in os.environ} | ENVIRONMENT,
            start_new_session=True,
        )
        try:
            self._told(self._process, self.settings, START_SECONDS)
        except WorkerError as error:
            self.stop()
            raise RuntimeError(
                f"a grading process ({self.module}) does not start: {error}"
            ) from None
        return self._process

    def _told(self, process: subprocess.Popen[bytes], job: Job, seconds: float) -> Reply:
        """Writes a line, reads a line."""
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
        pipe, deadline = process.stdout.fileno(), time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                raise WorkerError("the grading process hung and was ended")
            block = os.read(pipe, 1 << 16)
            if not block or len(self._rest) > MOST_REPLY_BYTES:
                raise WorkerError("the grading process died")
            self._rest += block
        line, _, self._rest = self._rest.partition(b"\n")
        reply = json.loads(line)
        if not isinstance(reply, dict):
            raise WorkerError("the grading process answered nonsense")
        return reply

    def stop(self) -> None:
        """Ends the process; `ask` starts another."""
        process, self._process, self._rest = self._process, None, b""
        if process is not None:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()
            process.wait()


class WorkerPool:
    """Workers that share a list of jobs. Safe to use from several threads."""

    def __init__(self, module: str, settings: Job, num_workers: int) -> None:
        self._workers = [Worker(module, settings) for _ in range(num_workers)]
        self._free: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in self._workers:
            self._free.put(worker)
        atexit.register(self.close)

    def ask_all(self, jobs: Sequence[Job], time_limit_seconds: float) -> list[Reply | WorkerError]:
        """Replies in the order of the jobs; a job without an answer has its error instead."""

        def one(job: Job) -> Reply | WorkerError:
            worker = self._free.get()
            try:
                return worker.ask(job, time_limit_seconds)
            except WorkerError as error:
                return error
            finally:
                self._free.put(worker)

        threads = ThreadPoolExecutor(len(self._workers))
        try:
            return list(threads.map(one, jobs))
        except BaseException:  # Ctrl-C stops at once: nothing waits for what is under way
            threads.shutdown(wait=False, cancel_futures=True)
            self.close()
            raise
        finally:
            threads.shutdown(wait=False)

    def close(self) -> None:
        """Ends all processes; asking again starts new ones."""
        for worker in self._workers:
            worker.stop()


@cache
def shared_pool(module: str, num_workers: int, **settings: float) -> WorkerPool:
    """The process-wide pool of these workers, ended when the program ends."""
    return WorkerPool(module, settings, num_workers)
