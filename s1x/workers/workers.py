"""A pool of engines, and the queue from which they take what they do.

`Work` is what is done beside an engine: answering a problem under a curve, say. It is opened once
beside each copy of the engine (a replica), which then does items; only an item and its result cross
between processes, never single tokens. Whoever has work opens a pool and awaits `do` for each item,
all at once: the pool hands an item to the replica with the fewest, those expected to take longest
first, and an item whose replica is lost to another one.
"""

from __future__ import annotations

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from s1x.engine.engine import Engine, Identity, LiveEngine
from s1x.errors import RunError
from s1x.option import Option

if TYPE_CHECKING:
    from s1x.model.model import Model

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")
#: an item whose replica was lost N times is not tried again: it may be what kills them
MAX_LOSSES = 4


@dataclass(frozen=True)
class Done(Generic[R]):
    """An item's result.

    Attributes:
        value: what the work is for.
        num_tokens: length of what was written for it, stored or new; longer groups go first.
        generated_tokens: tokens that the engine has written since the last item was done.
    """

    value: R
    num_tokens: int = 0
    generated_tokens: int = 0


class Bench(ABC, Generic[I, R]):
    """Work that is set up beside one engine."""

    @abstractmethod
    async def do(self, item: I) -> Done[R]:
        """Does one item; many are in flight at a time.

        Raises:
            UserError: it cannot be done here or anywhere.
        """

    def close(self) -> Sequence[str]:
        """Saves and frees; what a reader of the results must know, in sentences."""
        return ()


class Work(ABC, Generic[I, R]):
    """What is done beside an engine; it is pickled to wherever one runs."""

    @abstractmethod
    def open(self, live: LiveEngine) -> Bench[I, R]:
        """Sets it up beside a loaded model."""


class LostError(Exception):
    """A replica is gone, with what it had in flight."""


@dataclass(frozen=True)
class About:
    """What a replica says of itself: its engine's identity and appetite, and where it runs."""

    identity: Identity
    keeps_samples: bool
    max_sequences: int
    place: str

    @classmethod
    def of(cls, live: LiveEngine, place: str) -> About:
        """Of an engine."""
        return cls(live.identity, live.keeps_samples, live.max_sequences, place)


class Replica(ABC, Generic[I, R]):
    """A copy of the engine with the work beside it, and the books of what it did.

    Attributes:
        about: see `About`.
        num_items, generated_tokens: done so far.
        busy_seconds: with at least one item in flight.
        in_flight: items that it has now.
        is_lost: whether it went away.
    """

    def __init__(self, about: About) -> None:
        self.about = about
        self.num_items = self.generated_tokens = self.in_flight = 0
        self.busy_seconds, self._busy_since = 0.0, 0.0
        self.is_lost = False

    @abstractmethod
    async def do(self, item: I) -> Done[R]:
        """See `Bench.do`.

        Raises:
            LostError: the replica went away.
        """

    async def close(self) -> Sequence[str]:
        """Closes the work, not the engine; see `Bench.close`."""
        return ()

    def enter(self) -> None:
        """An item comes."""
        if not self.in_flight:
            self._busy_since = time.perf_counter()
        self.in_flight += 1

    def leave(self) -> None:
        """An item goes."""
        self.in_flight -= 1
        if not self.in_flight:
            self.busy_seconds += time.perf_counter() - self._busy_since

    def described(self) -> dict[str, object]:
        """For the evaluation's books."""
        seconds = self.busy_seconds
        return {
            "place": self.about.place,
            "items": self.num_items,
            "generated_tokens": self.generated_tokens,
            "busy_seconds": seconds,
            "tokens_per_second": self.generated_tokens / seconds if seconds else None,
            "lost": self.is_lost,
        }


@dataclass(eq=False)
class _Wish(Generic[I, R]):
    item: I
    group: _Group[I, R]
    found: asyncio.Future[Done[R]]
    losses: int = 0


@dataclass(eq=False)
class _Group(Generic[I, R]):
    """Items that take about as long as each other."""

    rank: int
    expected: float
    waiting: deque[_Wish[I, R]] = field(default_factory=deque)
    num_taken: int = 0
    num_done: int = 0
    num_tokens: int = 0

    def urgency(self) -> tuple[float, ...]:
        """Larger goes first; a group none of whose items has ended yet may be the longest."""
        mean = self.num_tokens / self.num_done if self.num_done else math.inf
        return (-self.rank, mean, self.expected, -self.num_taken)


class Pool(Generic[I, R]):
    """The replicas there are, and the items that wait for one.

    Attributes:
        replicas: all, lost ones too.
        starting: replicas that are being loaded: items are left for them.
        notes: what the closed work says; see `Bench.close`.
    """

    def __init__(self) -> None:
        self.replicas: list[Replica[I, R]] = []
        self.starting = 0
        self.notes: list[str] = []
        self._groups: dict[str, _Group[I, R]] = {}
        self._open = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._planned = False

    @property
    def about(self) -> About:
        """Of the first replica; all have one identity."""
        return self.replicas[0].about

    @property
    def there(self) -> list[Replica[I, R]]:
        """The replicas that work."""
        return [replica for replica in self.replicas if not replica.is_lost]

    def add(self, replica: Replica[I, R]) -> None:
        """A replica that is ready to work."""
        self.replicas.append(replica)
        self._dispatch()

    async def do(self, item: I, group: str = "", expected: float = 0.0, rank: int = 0) -> R:
        """The item's result.

        Args:
            item: what the work takes.
            group: items that take about as long as each other (samples of a problem).
            expected: how long the group takes, in any unit, until its first items have shown it.
            rank: items of a smaller one go first.

        Raises:
            UserError: the work refuses it.
            RunError: it was lost time and again with its replica.
        """
        of = self._groups.setdefault(group, _Group(rank, expected))
        found: asyncio.Future[Done[R]] = asyncio.get_running_loop().create_future()
        wish = _Wish(item, of, found)
        of.waiting.append(wish)
        self._open += 1
        if not self._planned:  # once all that come in the same breath are here
            self._planned = True
            asyncio.get_running_loop().call_soon(self._dispatch)
        try:
            done = await wish.found
            return done.value
        finally:
            self._open -= 1
            with suppress(ValueError):  # cancelled while it waited
                of.waiting.remove(wish)

    def fail(self, error: Exception) -> None:
        """Ends all that wait: nobody will come."""
        for group in self._groups.values():
            for wish in group.waiting:
                if not wish.found.done():
                    wish.found.set_exception(error)

    async def close(self) -> None:
        """Cancels what is in flight and closes the work of every replica."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for replica in self.there:
            with suppress(LostError):
                self.notes += await replica.close()

    # -- handing out ------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        self._planned = False
        while (replica := self._free()) is not None and (wish := self._next()) is not None:
            replica.enter()
            task = asyncio.get_running_loop().create_task(self._serve(replica, wish))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _free(self) -> Replica[I, R] | None:
        """The replica with the fewest items, if it has room; some are left for those that start."""
        there = self.there
        if not there:
            return None
        share = -(-self._open // (len(there) + self.starting))
        fewest = min(there, key=lambda replica: replica.in_flight)
        room = fewest.in_flight < min(fewest.about.max_sequences, share)
        return fewest if room else None

    def _next(self) -> _Wish[I, R] | None:
        groups = [group for group in self._groups.values() if group.waiting]
        if not groups:
            return None
        group = max(groups, key=_Group.urgency)
        group.num_taken += 1
        return group.waiting.popleft()

    async def _serve(self, replica: Replica[I, R], wish: _Wish[I, R]) -> None:
        group = wish.group
        serving = asyncio.ensure_future(replica.do(wish.item))
        wish.found.add_done_callback(lambda found: found.cancelled() and serving.cancel())
        try:
            done = await serving
        except LostError as error:
            replica.is_lost = True
            wish.losses += 1
            if wish.losses < MAX_LOSSES:
                group.waiting.appendleft(wish)
            elif not wish.found.done():
                wish.found.set_exception(
                    RunError(f"{wish.losses} engines in turn were lost with one item: {error}")
                )
        except asyncio.CancelledError:
            wish.found.cancel()
            raise
        except Exception as error:
            if not wish.found.done():
                wish.found.set_exception(error)
        else:
            group.num_done += 1
            group.num_tokens += done.num_tokens
            replica.num_items += 1
            replica.generated_tokens += done.generated_tokens
            if not wish.found.done():
                wish.found.set_result(done)
        finally:
            replica.leave()
            self._dispatch()


@dataclass(frozen=True)
class Workers(Option, ABC):
    """Base of the options: settings that can open a pool.

    `makes_copies` says that there are as many engines as there is room for.
    """

    needs: ClassVar[Sequence[str]] = ()
    makes_copies: ClassVar[bool] = False

    @property
    def is_elsewhere(self) -> bool:
        """Whether engines may run on other machines only."""
        return False

    @property
    def most_engines(self) -> int:
        """Engines that there may be at most, as far as is known before they start."""
        return 1

    @abstractmethod
    def replicas(
        self, engine: Engine, model: Model, work: Work[I, R], pool: Pool[I, R]
    ) -> AbstractAsyncContextManager[None]:
        """While it holds, replicas are added to the pool; at least one when it is entered."""

    @asynccontextmanager
    async def open(
        self, engine: Engine, model: Model, work: Work[I, R]
    ) -> AsyncIterator[Pool[I, R]]:
        """A pool that does the work.

        Raises:
            UserError: the engine cannot start.
        """
        pool: Pool[I, R] = Pool()
        async with self.replicas(engine, model, work, pool):
            try:
                yield pool
            finally:
                await pool.close()

    def check(self, engine: Engine) -> None:
        """Refuses settings that cannot work with an engine, or would do nothing.

        Raises:
            UserError: naming the setting.
        """
