"""vLLM writes what transformers writes under greedy in float32, in sessions and plain requests."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_confidence import asked
from test_engine_transformers import ask, prompts

from s1x.engine.engine import LiveEngine, Request, Sampling
from s1x.engine.live import close_engine, run_in_loop
from s1x.engine.transformers import Transformers
from s1x.engine.vllm import Vllm
from s1x.engine.vllm_sessions import Sessions
from s1x.errors import UserError
from s1x.model.model import Model

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm", reason="vLLM is not installed")
from s1x.engine.vllm_live import VllmEngine, _reason  # noqa: E402


@pytest.fixture(scope="module")
def engines(tiny_model: Model) -> Iterator[tuple[LiveEngine, LiveEngine]]:
    vllm = Vllm(max_num_seqs=16, enforce_eager=True).start(tiny_model)
    yield vllm, Transformers(batch_size=16).start(tiny_model)
    vllm.close()


def ask_all(engine: Any, requests: list[Request]) -> list[tuple[int, ...]]:
    async def all_() -> list[tuple[int, ...]]:
        return list(await asyncio.gather(*(ask(engine, request) for request in requests)))

    return run_in_loop(all_())


def test_greedy_traces_are_equal(engines: tuple[LiveEngine, LiveEngine]) -> None:
    requests = [
        Request(prefix_ids=p, max_tokens=10 + 5 * i, may_go_on=i % 2 == 0)
        for i, p in enumerate(prompts(24, seed=11))
    ]
    for ours, theirs in zip(*(ask_all(e, requests) for e in engines), strict=True):
        assert ours == theirs


def test_segments_forks_stops_and_bans_are_equal(engines: tuple[LiveEngine, LiveEngine]) -> None:
    prefixes = prompts(6, seed=12)
    first = ask_all(engines[1], [Request(prefix_ids=p, max_tokens=30) for p in prefixes])

    async def two_pieces(engine: Any, prefix: tuple[int, ...], stop: int) -> tuple[Any, ...]:
        one = await ask(engine, Request(prefix_ids=prefix, max_tokens=60, stop=((stop,),)))
        kept = one[:-1] if one[-1] == stop else one
        two = await ask(engine, Request(prefix_ids=(*prefix, *kept, 9, 10), max_tokens=25))
        answer = await ask(
            engine,
            Request(prefix_ids=(*prefix, *kept, 9, 10, *two, 12), max_tokens=9, may_go_on=False),
        )
        fork = await ask(
            engine, Request(prefix_ids=(*prefix, *kept[:7], 11), max_tokens=9, may_go_on=False)
        )
        banned = await ask(
            engine, Request(prefix_ids=(*prefix, *kept), max_tokens=5, ban_first=(stop,))
        )
        return one, two, answer, fork, banned

    async def all_(engine: Any) -> list[tuple[Any, ...]]:
        return list(
            await asyncio.gather(
                *(two_pieces(engine, p, ids[12]) for p, ids in zip(prefixes, first, strict=True))
            )
        )

    ours, theirs = (run_in_loop(all_(engine)) for engine in engines)
    assert ours == theirs


def test_a_reader_that_has_enough_ends_the_request(
    engines: tuple[LiveEngine, LiveEngine],
) -> None:
    prefix = prompts(1, seed=13)[0]
    whole = ask_all(engines[1], [Request(prefix_ids=prefix, max_tokens=30)])[0]
    for go_on in (True, False):
        got = run_in_loop(
            ask(engines[0], Request(prefix_ids=prefix, max_tokens=200, may_go_on=go_on), keep=4)
        )
        assert got[:4] == whole[:4]


def test_tokens_come_singly_where_somebody_may_have_enough(
    engines: tuple[LiveEngine, LiveEngine],
) -> None:
    async def pieces(request: Request) -> list[int]:
        sizes: list[int] = []
        await engines[0].generate(request, lambda ids: bool(sizes.append(len(ids)) or True))
        return sizes

    (prefix,) = prompts(1, seed=15)
    for go_on in (True, False):
        request = Request(prefix_ids=prefix, max_tokens=40, may_go_on=go_on)
        assert len(run_in_loop(pieces(request))) <= 4
        assert len(run_in_loop(pieces(replace(request, may_end_early=True)))) > 20


def test_a_killed_engine_is_told_from_a_refused_model() -> None:
    refused = RuntimeError("no such file\nand more")
    killed = RuntimeError("Engine core ... Failed core proc(s): {'EngineCore_DP0': -9}")
    assert _reason(refused) == "no such file"
    assert "killed by signal 9" in _reason(killed)


def test_samples_are_seeded(engines: tuple[LiveEngine, LiveEngine]) -> None:
    prefix = prompts(1, seed=14)[0]
    ways = [
        Request(prefix_ids=prefix, max_tokens=20, sampling=Sampling(1.0, 0.9, seed))
        for seed in (1, 1, 2)
    ]
    one, again, other = ask_all(engines[0], ways)
    assert one == again != other


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.0, 0.9, 1)])
def test_confidence_is_that_of_transformers(
    engines: tuple[LiveEngine, LiveEngine], sampling: Sampling
) -> None:
    prefix = prompts(1, seed=16)[0]
    ids, rows = asked(engines[0], prefix, sampling)
    assert len(ids) == len(rows) == 30
    for place, row in enumerate(rows):  # after the very tokens that vLLM wrote
        ban = tuple({*range(426)} - {ids[place]})
        again, known = asked(engines[1], (*prefix, *ids[:place]), Sampling(), bans=ban)
        assert again[0] == ids[place]
        assert row == pytest.approx(known[0], rel=5e-3, abs=5e-3)


def test_a_whole_curve_of_the_embedded_model_is_equal(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from s1x.budget.budget_forcing import BudgetForcing
    from s1x.evaluate.settings import Sampling as EvaluateSampling
    from s1x.evaluate.stage import Evaluation
    from s1x_puzzles.puzzles import Puzzles

    model = Model(
        name="puzzle-base",
        path="package:s1x_puzzles/puzzle_base",
        dtype="float32",
        context_tokens=512,
    )
    traces = []
    for engine in (Vllm(max_num_seqs=16, enforce_eager=True), Transformers(batch_size=16)):
        folder = tmp_path / type(engine).__name__
        folder.mkdir()
        Evaluation(
            model=model,
            model_role="base",
            prompt_format="thinking",
            policy=BudgetForcing(max_answer_tokens=8, answer_reserve_tokens=8),
            curve={"max_thinking_tokens": [4, 16, 64], "num_waits": [0, 2]},
            benchmark_name="puzzles_hard",
            problems=Puzzles(split="hard", num_problems=24).load(),
            engine=engine,
            sampling=EvaluateSampling(),
            seed=0,
            store_folder=None,
        ).run(folder)
        close_engine()
        traces.append(pq.read_table(folder / "rows.parquet")["token_ids"].to_pylist())
    assert len(traces[0]) == 24 * 4
    assert traces[0] == traces[1]


# -- little memory ---------------------------------------------------------------------------------


async def pieces_of(
    engine: LiveEngine, prefix: tuple[int, ...], num_pieces: int
) -> tuple[int, ...]:
    """Segments of one trace, each of which ends just where its blocks do."""
    ids: tuple[int, ...] = ()
    for _ in range(num_pieces):
        ids += (
            *(await ask(engine, Request(prefix_ids=(*prefix, *ids), max_tokens=40)))[:-1],
            9,
            10,
            11,
        )
    return ids


def pieces_of_all(engine: LiveEngine, prefixes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    async def all_() -> list[tuple[int, ...]]:
        work = asyncio.gather(*(pieces_of(engine, prefix, 5) for prefix in prefixes))
        return list(await asyncio.wait_for(work, 240))

    return run_in_loop(all_())


@pytest.fixture
def short_of_memory(tiny_model: Model, tmp_path: Path) -> Iterator[VllmEngine]:
    """Sixteen sequences over memory for four: all would hold two blocks and want a third."""
    settings = Vllm(
        max_num_seqs=16,
        enforce_eager=True,
        stall_seconds=8.0,
        log_folder=str(tmp_path / "logs"),
        extra_arguments={"num_gpu_blocks_override": 33},
    )
    live = settings.start(tiny_model)
    assert isinstance(live, VllmEngine)
    yield live
    live.close()


def same_lengths(count: int) -> list[tuple[int, ...]]:
    rng = random.Random(21)
    return [tuple(rng.randrange(5, 200) for _ in range(24)) for _ in range(count)]


def test_more_sequences_than_memory_holds_all_end(
    short_of_memory: VllmEngine, tiny_model: Model, capfd: pytest.CaptureFixture[str]
) -> None:
    prefixes = same_lengths(16)
    ours = pieces_of_all(short_of_memory, prefixes)
    assert ours == pieces_of_all(Transformers(batch_size=16).start(tiny_model), prefixes)
    assert "without sessions" not in capfd.readouterr().err  # and nobody had to be woken

    # vLLM itself stops for ever with as many sessions as there are sequences: a watchdog sees it
    short_of_memory.sessions.blocks = 10_000
    assert pieces_of_all(short_of_memory, prefixes) == ours
    said = capfd.readouterr().err
    assert "no token for 8 seconds" in said
    assert "engine.sessions=false" in said


def test_a_process_that_dies_is_a_sentence_with_the_log(short_of_memory: VllmEngine) -> None:
    (process,) = short_of_memory.engine.engine_core.resources.engine_manager.processes

    async def killed() -> None:
        work = asyncio.ensure_future(
            ask(short_of_memory, Request(prefix_ids=same_lengths(1)[0], max_tokens=200))
        )
        await asyncio.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.wait_for(work, 60)

    with pytest.raises(UserError, match=r"vLLM has stopped working .*logs/vllm-.*\.log") as caught:
        run_in_loop(killed())
    assert "\n" not in str(caught.value)
    assert short_of_memory.log is not None
    assert short_of_memory.log.is_file()


def test_sessions_are_as_many_as_their_memory_holds() -> None:
    started: list[str] = []

    async def outputs() -> AsyncGenerator[Any, None]:
        return
        yield

    def start(pieces: Any, name: str, rank: int) -> AsyncGenerator[Any, None]:
        started.append(name)
        return outputs()

    async def open_all() -> None:
        sessions = Sessions(start, blocks=10, block_tokens=32)
        assert sessions.open("a", 0, 100)  # 4 blocks and one that is begun
        second = sessions.open("b", 0, 128)
        assert second
        assert sessions.open("c", 0, 32) is None
        assert sessions.open("d", 1, 320 - 32)  # another copy of the model has memory of its own
        second.held = [1, 2]
        sessions.rest(second)
        assert sessions.take((1, 2, 3), 320) is None  # no room to grow that far: it is closed
        await asyncio.sleep(0.01)
        assert sessions.open("e", 0, 128)

    asyncio.run(open_all())
    assert started == ["a", "b", "d", "e"]


def test_a_gpu_gets_no_more_biased_ids_than_it_takes() -> None:
    core = SimpleNamespace(cache_config=SimpleNamespace(num_gpu_blocks=100, block_size=16))
    vllm = SimpleNamespace(vllm_config=core)
    settings = Vllm(max_num_seqs=8, data_parallel_size=4)
    for device, count, banned in (
        ("cuda", 1024, 1024),
        ("cuda", 1025, 0),
        ("cpu", 1025, 1025),
    ):
        engine = VllmEngine(vllm, range(count), settings, {"device": device})
        assert len(engine._bias(()) or ()) == banned
    engine = VllmEngine(vllm, range(1024), settings, {"device": "cuda"})
    assert engine._bias((5000,)) == {5000: -100.0}
    assert engine.max_sequences == 32  # vLLM counts them per copy of the model
