"""The engine that runs now: started once for a model, used by all evaluations of it.

One event loop serves the whole process, because an engine may keep tasks and connections in it.
"""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from s1x.engine.engine import Engine, LiveEngine

if TYPE_CHECKING:
    from s1x.model.model import Model

T = TypeVar("T")
_running: list[tuple[Engine, str, LiveEngine]] = []
_closers: list[Callable[[], None]] = []
_loop: asyncio.AbstractEventLoop | None = None


def live_engine(engine: Engine, model: Model) -> LiveEngine:
    """The engine with that model loaded; memory holds one at a time, the one before is closed."""
    mark = f"{model.fingerprint()} {model.source()}"
    for settings, what, live in _running:
        if (settings, what) == (engine, mark):
            return live
    if not engine.is_remote:
        _close(lambda settings: not settings.is_remote)
    live = engine.start(model)
    _running.append((engine, mark, live))
    return live


def close_engine() -> None:
    """Frees the engines that run, if any do, here and elsewhere."""
    _close(lambda _: True)
    for closer in _closers:
        closer()


def at_close(closer: Callable[[], None]) -> None:
    """Has `close_engine` call this too: what runs elsewhere ends with what runs here."""
    _closers.append(closer)


def _close(which: Callable[[Engine], bool]) -> None:
    for running in [r for r in _running if which(r[0])]:
        _running.remove(running)
        running[2].close()


def run_in_loop(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in the process's event loop; Ctrl-C ends all tasks in an orderly way."""
    global _loop
    if _loop is None or _loop.is_closed():
        _loop = asyncio.new_event_loop()
        _loop.set_exception_handler(_report)
    task = _loop.create_task(work)
    try:
        return _loop.run_until_complete(task)
    except (KeyboardInterrupt, SystemExit):
        for pending in (tasks := asyncio.all_tasks(_loop)):
            pending.cancel()
        if tasks:
            _loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        raise


async def together(work: Iterable[Awaitable[T]]) -> list[T]:
    """All results; the first failure cancels the rest."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tells what nobody waits for, but a Ctrl-C that met a task: `run_in_loop` raises that."""
    if not isinstance(context.get("exception"), KeyboardInterrupt):
        loop.default_exception_handler(context)


atexit.register(close_engine)
