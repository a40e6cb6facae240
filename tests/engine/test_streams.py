"""Streams: requests for one prefix are served once, early readers wake early, the store is used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from s1x.engine.engine import Request, Sampling
from s1x.engine.scripted import ScriptedEngine, random_tokens
from s1x.errors import UserError
from s1x.model.chat_format import TokenIds
from s1x.traces.request import LENGTH, STOP, Continuation
from s1x.traces.store import TraceStore
from s1x.traces.streams import Streams, derived_seed, stream_key

ROOT = (1, 2, 3)


def counting(ids: Sequence[int], request: Request) -> int:
    """Writes its own position."""
    return len(ids)


def make(
    store: TraceStore | None = None, sampling: Sampling | None = None
) -> tuple[ScriptedEngine, Streams]:
    engine = ScriptedEngine(counting if sampling is None else random_tokens(50))
    return engine, Streams(engine, store or TraceStore(None, "m"), sampling or Sampling())


async def read(
    streams: Streams, max_tokens: int, stop: tuple[TokenIds, ...] = (), start: int = 0
) -> Continuation:
    wish = Request(max_tokens=max_tokens, stop=stop, prefix_ids=ROOT, start=start)
    return await streams.of("p").read(wish)


def test_readers_of_one_stream_share_one_request() -> None:
    engine, streams = make()

    async def all_() -> list[Continuation]:
        return list(await asyncio.gather(*(read(streams, n) for n in (5, 20, 10, 1))))

    pieces = asyncio.run(all_())
    assert [piece.token_ids for piece in pieces] == [tuple(range(3, 3 + n)) for n in (5, 20, 10, 1)]
    assert [(r.max_tokens, n) for r, n in engine.requests] == [(20, 20)]
    assert (streams.counts.generated_tokens, streams.counts.read_tokens) == (20, 36)


def test_short_readers_wake_before_the_stream_ends() -> None:
    _, streams = make()

    async def order() -> list[int]:
        done: list[int] = []

        async def one(n: int) -> None:
            await read(streams, n)
            done.append(n)

        await asyncio.gather(*(one(n) for n in (50, 2, 10)))
        return done

    assert asyncio.run(order()) == [2, 10, 50]


def test_each_reader_has_its_own_stops() -> None:
    _, streams = make()

    async def all_() -> list[Continuation]:
        return list(
            await asyncio.gather(
                read(streams, 20, ((9,),)), read(streams, 20, ((11, 12), (9,))), read(streams, 8)
            )
        )

    at_nine, also, free = asyncio.run(all_())
    assert (at_nine.token_ids, at_nine.finish_reason, at_nine.stop_ids) == (
        (3, 4, 5, 6, 7, 8),
        STOP,
        (9,),
    )
    assert also == at_nine
    assert (free.token_ids[-1], free.finish_reason) == (10, LENGTH)
    assert streams.counts.generated_tokens == 8  # nobody wanted more


def test_an_engine_hears_whether_somebody_may_have_enough_early() -> None:
    engine, streams = make()

    async def both(stop: tuple[TokenIds, ...]) -> None:
        await asyncio.gather(read(streams, 30, ((9,),)), read(streams, 20, stop))

    asyncio.run(both(()))
    assert engine.requests[0][0].may_end_early
    engine, streams = make()
    asyncio.run(both(((9,),)))
    assert not engine.requests[0][0].may_end_early


def test_a_stop_begins_where_the_reader_does() -> None:
    _, streams = make()
    piece = asyncio.run(read(streams, 6, ((5, 6),), start=3))
    assert piece.finish_reason == LENGTH
    assert asyncio.run(read(streams, 6, ((5, 6),), start=2)).stop_ids == (5, 6)
    assert asyncio.run(read(streams, 3, ((5, 6),), start=2)).token_ids == ()


def test_a_longer_wish_goes_on_where_the_stream_ended() -> None:
    engine, streams = make()
    asyncio.run(read(streams, 5))
    assert asyncio.run(read(streams, 9)).token_ids == tuple(range(3, 12))
    assert [n for _, n in engine.requests] == [5, 4]
    assert engine.requests[1][0].prefix_ids == (1, 2, 3, 3, 4, 5, 6, 7)


def test_a_second_run_costs_nothing(tmp_path: Path) -> None:
    with TraceStore(tmp_path, "m") as store:
        _, streams = make(store)
        asyncio.run(read(streams, 30))
    with TraceStore(tmp_path, "m") as store:
        engine, streams = make(store)
        assert asyncio.run(read(streams, 12)).token_ids == tuple(range(3, 15))
        assert asyncio.run(read(streams, 40)).token_ids == tuple(range(3, 43))
    assert [n for _, n in engine.requests] == [10]
    assert streams.counts.stored_tokens == 30


def test_samples_have_their_own_streams() -> None:
    engine, streams = make(sampling=Sampling(temperature=1.0))

    async def all_() -> list[Continuation]:
        reader, other = streams.of("p"), streams.of("q")
        return list(
            await asyncio.gather(
                reader.read(Request(prefix_ids=ROOT, max_tokens=9, sample=0)),
                reader.read(Request(prefix_ids=ROOT, max_tokens=9, sample=1)),
                reader.read(Request(prefix_ids=ROOT, max_tokens=9, sample=0)),
                other.read(Request(prefix_ids=ROOT, max_tokens=9, sample=0)),
            )
        )

    first, second, again, other = asyncio.run(all_())
    assert first == again
    assert len({first.token_ids, second.token_ids, other.token_ids}) == 3
    assert len(engine.requests) == 3


def test_seeds_follow_from_problem_sample_and_position() -> None:
    assert derived_seed(0, "p", 1, 2) == derived_seed(0, "p", 1, 2)
    different = [(0, "p", 1, 2), (1, "p", 1, 2), (0, "q", 1, 2), (0, "p", 2, 2), (0, "p", 1, 3)]
    assert len({derived_seed(*way) for way in different}) == 5


def key_of(sampling: Sampling, prefix: TokenIds = ROOT, ban_first: TokenIds = ()) -> bytes:
    wish = Request(max_tokens=1, prefix_ids=prefix, ban_first=ban_first, sampling=sampling)
    return stream_key(wish)


def test_keys_of_greedy_streams_know_no_seed() -> None:
    assert key_of(Sampling(seed=1)) == key_of(Sampling(seed=2))
    ways = [
        key_of(Sampling()),
        key_of(Sampling(), ban_first=(7,)),
        key_of(Sampling(), prefix=(1, 2)),
        key_of(Sampling(1.0)),
        key_of(Sampling(1.0, seed=1)),
        key_of(Sampling(1.0, 0.9)),
    ]
    assert len(set(ways)) == 6


def test_a_stream_that_began_under_a_ban_goes_on_under_it() -> None:
    engine, streams = make(sampling=Sampling())
    reader = streams.of("p")

    def wish(start: int) -> Request:
        return Request(prefix_ids=ROOT, max_tokens=6, start=start, ban_first=(7,))

    async def both() -> tuple[Continuation, Continuation]:
        return await reader.read(wish(0)), await reader.read(wish(6))

    first, second = asyncio.run(both())
    whole = asyncio.run(streams.of("p").read(replace(wish(0), max_tokens=12)))
    assert whole.token_ids == first.token_ids + second.token_ids
    assert [request.ban_first for request, _ in engine.requests] == [(7,), ()]


def test_an_engine_that_fails_tells_every_reader() -> None:
    class Broken(ScriptedEngine):
        async def generate(self, request: Request, on_tokens: object) -> None:
            raise UserError("the server is gone")

    streams = Streams(Broken(counting), TraceStore(None, "m"), Sampling())

    async def all_() -> list[object]:
        return list(
            await asyncio.gather(read(streams, 3), read(streams, 4), return_exceptions=True)
        )

    with_error = asyncio.run(all_())
    assert [str(error) for error in with_error] == ["the server is gone"] * 2
    with pytest.raises(UserError):
        asyncio.run(read(streams, 3))


def test_a_listener_hears_each_token_once_nothing_can_take_it_back() -> None:
    engine, streams = make()
    heard: list[tuple[int, ...]] = []

    async def listen() -> Continuation:
        wish = Request(max_tokens=50, stop=((6, 9), (8, 9, 10)), prefix_ids=ROOT)
        return await streams.of("p").read(wish, lambda ids: heard.append(tuple(ids)) or True)

    piece = asyncio.run(listen())
    assert piece.token_ids == (3, 4, 5, 6, 7)
    assert piece.stop_ids == (8, 9, 10)
    # 6 waits for the token after it, 8 and 9 belong to the stop sequence
    assert heard == [(3,), (4,), (5,), (6, 7)]
    assert engine.requests[0][0].may_end_early


def test_a_listener_ends_an_answer_at_any_token_also_of_the_store() -> None:
    _, streams = make()
    seen: list[int] = []

    def until_seven(ids: Sequence[int]) -> bool:
        seen.extend(ids)
        return 7 not in ids

    async def listen() -> list[Continuation]:
        wish = Request(max_tokens=50, prefix_ids=ROOT, may_go_on=False)
        return [await streams.of("p").read(wish, until_seven) for _ in range(2)]

    for piece in asyncio.run(listen()):
        assert piece.token_ids == (3, 4, 5, 6, 7)
        assert piece.stopped
        assert piece.stop_ids == ()
    assert seen == [3, 4, 5, 6, 7] * 2


def test_what_nobody_waits_for_is_not_written_on() -> None:
    engine, streams = make()

    async def abandon() -> tuple[int, Continuation]:
        task = asyncio.create_task(read(streams, 10_000))
        while streams.counts.generated_tokens < 5:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        written = streams.counts.generated_tokens
        for _ in range(20):
            await asyncio.sleep(0)
        assert streams.counts.generated_tokens == written  # the engine has stopped
        return written, await read(streams, 20)  # and somebody else goes on from there

    written, piece = asyncio.run(abandon())
    assert piece.token_ids == tuple(range(3, 23))
    assert engine.requests == [(engine.requests[0][0], 20 - written)]


def test_a_reader_that_leaves_disturbs_no_other() -> None:
    engine, streams = make()

    async def both() -> Continuation:
        leaving = asyncio.create_task(read(streams, 10_000))
        staying = asyncio.create_task(read(streams, 50))
        while streams.counts.generated_tokens < 5:
            await asyncio.sleep(0)
        leaving.cancel()
        return await staying

    assert asyncio.run(both()).token_ids == tuple(range(3, 53))
    assert [written for _, written in engine.requests] == [50]
