"""The console: the only place that prints.

Lines go to standard error, so that standard output holds results only. Progress shows count, rate
and the time left: a live bar on a terminal, a line every ten seconds elsewhere (logs, CI).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

LOG_EVERY_SECONDS = 10.0
#: share done from which the time left is told
JUDGED_FROM = 0.05


def say(text: str) -> None:
    """One line for the user."""
    print(text, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds as people read them: `45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@lru_cache
def say_once(text: str) -> None:
    """One line for the user, the first time only: a sweep's jobs share most of what they say."""
    say(text)


@contextmanager
def progress(title: str, total: int, unit: str = "") -> Iterator[Callable[[int], None]]:
    """Shows how far `total` steps have come; yields `advance(n)`.

    Args:
        title: what is being done.
        total: number of steps; the time left is judged from those done so far.
        unit: what a step is ("problems", "rows").
    """
    if sys.stderr.isatty():
        with _bar(title, total) as bar:
            yield bar
        return
    start = last = time.monotonic()
    done = 0

    def advance(n: int = 1) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= LOG_EVERY_SECONDS and done:
            last = now
            text = f"{title}: {done}/{total} {unit}".rstrip()
            if done >= total * JUDGED_FROM:
                text += f", about {duration((now - start) / done * (total - done))} left"
            say(text)

    yield advance


@contextmanager
def _bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total)

        def advance(n: int = 1) -> None:
            bar.advance(task, n)

        yield advance
