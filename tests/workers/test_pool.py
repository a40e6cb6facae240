"""The queue: who gets what, in which order, and what happens when a replica is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from s1x.errors import RunError, UserError
from s1x.workers.workers import MAX_LOSSES, About, Done, LostError, Pool, Replica

Item = tuple[str, int]
Doing = Callable[[Item], Awaitable[Done[str]]]


class Fake(Replica[Item, str]):
    """Does what a function says and keeps the order in which items came."""

    def __init__(self, doing: Doing, max_sequences: int = 2, place: str = "a") -> None:
        super().__init__(About({"engine": "fake"}, True, max_sequences, place))
        self.doing, self.got = doing, list[Item]()

    async def do(self, item: Item) -> Done[str]:
        self.got.append(item)
        return await self.doing(item)

    async def close(self) -> list[str]:
        return [f"{self.about.place} closed"]


def takes(ticks: Callable[[Item], int]) -> Doing:
    """Each item takes some passes of the event loop; they are its tokens, too."""

    async def doing(item: Item) -> Done[str]:
        for _ in range(ticks(item)):
            await asyncio.sleep(0)
        return Done(f"{item[0]}{item[1]}", ticks(item), 1)

    return doing


async def lost(item: Item) -> Done[str]:
    raise LostError("gone")


def items(names: str, samples: int) -> list[Item]:
    return [(name, sample) for name in names for sample in range(samples)]


async def all_of(pool: Pool[Item, str], wanted: list[Item], expected: str = "") -> list[str]:
    found = await asyncio.gather(
        *(pool.do(item, item[0], float(item[0] in expected)) for item in wanted)
    )
    return list(found)


def test_results_come_in_the_order_of_the_items_and_all_are_counted() -> None:
    async def go() -> None:
        pool: Pool[Item, str] = Pool()
        one, two = (Fake(takes(lambda item: 3 + item[1]), place=place) for place in "ab")
        pool.add(one)
        pool.add(two)
        found = await all_of(pool, items("pq", 4))
        assert found == ["p0", "p1", "p2", "p3", "q0", "q1", "q2", "q3"]
        assert one.num_items + two.num_items == 8
        assert one.generated_tokens == one.num_items
        await pool.close()
        assert pool.notes == ["a closed", "b closed"]

    asyncio.run(go())


def test_the_longest_go_first_once_they_have_shown_it() -> None:
    """A first sample of each problem, those that are expected to be long before; then by length."""

    async def go() -> list[Item]:
        pool: Pool[Item, str] = Pool()
        lengths = {"a": 4, "b": 40, "c": 12}
        only = Fake(takes(lambda item: lengths[item[0]]), max_sequences=1)
        pool.add(only)
        await all_of(pool, items("abc", 3), expected="c")
        return only.got

    got = asyncio.run(go())
    assert [name for name, _ in got[:3]] == ["c", "a", "b"]
    assert [name for name, _ in got[3:]] == ["b", "b", "c", "c", "a", "a"]


def test_items_are_shared_out_evenly_and_some_are_left_for_those_that_start() -> None:
    async def go() -> None:
        pool: Pool[Item, str] = Pool()
        pool.starting = 1
        one, two = (Fake(takes(lambda _: 5), max_sequences=100, place=place) for place in "ab")
        pool.add(one)
        asked = asyncio.ensure_future(all_of(pool, items("pq", 5)))
        for _ in range(3):
            await asyncio.sleep(0)
        assert one.in_flight == 5
        pool.starting = 0
        pool.add(two)
        assert (one.in_flight, two.in_flight) == (5, 5)
        await asked

    asyncio.run(go())


def test_what_a_lost_replica_held_is_done_by_others() -> None:
    async def go() -> None:
        pool: Pool[Item, str] = Pool()
        bad, good = Fake(lost), Fake(takes(lambda _: 2), place="b")
        pool.add(bad)
        pool.add(good)
        assert len(await all_of(pool, items("p", 6))) == 6
        assert bad.described()["lost"]
        assert (bad.num_items, good.num_items) == (0, 6)
        assert len(bad.got) == 2, "nothing more is given to it"

    asyncio.run(go())


def test_an_item_that_kills_every_replica_ends_the_run() -> None:
    async def go() -> None:
        pool: Pool[Item, str] = Pool()
        for _ in range(MAX_LOSSES + 1):
            pool.add(Fake(lost))
        with pytest.raises(RunError, match=f"{MAX_LOSSES} engines in turn were lost"):
            await pool.do(("p", 0))

    asyncio.run(go())


def test_errors_reach_whoever_asked_and_those_who_wait_hear_that_nobody_comes() -> None:
    async def refuses(item: Item) -> Done[str]:
        raise UserError(f"not {item[0]}")

    async def go() -> None:
        pool: Pool[Item, str] = Pool()
        waiting = asyncio.ensure_future(pool.do(("q", 0)))
        await asyncio.sleep(0)
        pool.fail(UserError("no room"))
        with pytest.raises(UserError, match="no room"):
            await waiting
        pool.add(Fake(refuses))
        with pytest.raises(UserError, match="not p"):
            await pool.do(("p", 0))

    asyncio.run(go())


def test_who_is_cancelled_frees_the_place_for_others() -> None:
    async def go() -> None:
        pool: Pool[Item, str] = Pool()
        only = Fake(takes(lambda item: 10**9 if item[0] == "endless" else 1), max_sequences=1)
        pool.add(only)
        endless = asyncio.ensure_future(pool.do(("endless", 0)))
        waits = asyncio.ensure_future(pool.do(("never", 0)))
        await asyncio.sleep(0.01)
        waits.cancel()
        endless.cancel()
        assert await asyncio.wait_for(pool.do(("p", 0)), 1.0) == "p0"
        assert only.got == [("endless", 0), ("p", 0)]

    asyncio.run(go())
