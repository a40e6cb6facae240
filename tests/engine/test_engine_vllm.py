"""vLLM writes what transformers writes under greedy in float32, in sessions and plain requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_engine_transformers import ask, prompts

from s1x.engine.engine import LiveEngine, Request, Sampling
from s1x.engine.live import close_engine, run_in_loop
from s1x.engine.transformers import Transformers
from s1x.engine.vllm import Vllm, _reason
from s1x.model.model import Model

pytestmark = pytest.mark.vllm
pytest.importorskip("vllm", reason="vLLM is not installed")


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
        Request(p, 10 + 5 * i, may_go_on=i % 2 == 0) for i, p in enumerate(prompts(24, seed=11))
    ]
    for ours, theirs in zip(*(ask_all(e, requests) for e in engines), strict=True):
        assert ours == theirs


def test_segments_forks_stops_and_bans_are_equal(engines: tuple[LiveEngine, LiveEngine]) -> None:
    prefixes = prompts(6, seed=12)
    first = ask_all(engines[1], [Request(p, 30) for p in prefixes])

    async def two_pieces(engine: Any, prefix: tuple[int, ...], stop: int) -> tuple[Any, ...]:
        one = await ask(engine, Request(prefix, 60, ((stop,),)))
        kept = one[:-1] if one[-1] == stop else one
        two = await ask(engine, Request((*prefix, *kept, 9, 10), 25))
        answer = await ask(engine, Request((*prefix, *kept, 9, 10, *two, 12), 9, may_go_on=False))
        fork = await ask(engine, Request((*prefix, *kept[:7], 11), 9, may_go_on=False))
        banned = await ask(engine, Request((*prefix, *kept), 5, ban_first=(stop,)))
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
    whole = ask_all(engines[1], [Request(prefix, 30)])[0]
    for go_on in (True, False):
        got = run_in_loop(ask(engines[0], Request(prefix, 200, may_go_on=go_on), keep=4))
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
        request = Request(prefix, 40, may_go_on=go_on)
        assert len(run_in_loop(pieces(request))) <= 4
        assert len(run_in_loop(pieces(replace(request, may_end_early=True)))) > 20


def test_a_killed_engine_is_told_from_a_refused_model() -> None:
    refused = RuntimeError("no such file\nand more")
    killed = RuntimeError("Engine core ... Failed core proc(s): {'EngineCore_DP0': -9}")
    assert _reason(refused) == "no such file"
    assert "killed by signal 9" in _reason(killed)


def test_samples_are_seeded(engines: tuple[LiveEngine, LiveEngine]) -> None:
    prefix = prompts(1, seed=14)[0]
    ways = [Request(prefix, 20, sampling=Sampling(1.0, 0.9, seed)) for seed in (1, 1, 2)]
    one, again, other = ask_all(engines[0], ways)
    assert one == again != other


def test_a_whole_curve_of_the_embedded_model_is_equal(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from s1x import evaluate
    from s1x.budget.budget_forcing import BudgetForcing
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
        evaluate.run(
            model=model,
            model_role="base",
            prompt_format="thinking",
            policy=BudgetForcing(max_answer_tokens=8, answer_reserve_tokens=8),
            curve={"max_thinking_tokens": [4, 16, 64], "num_waits": [0, 2]},
            benchmark_name="puzzles_hard",
            problems=Puzzles(split="hard", num_problems=24).load(),
            engine=engine,
            sampling=SimpleNamespace(temperature=0.0, top_p=1.0, samples_per_problem=1),
            seed=0,
            store_folder=None,
            folder=folder,
            benchmark=None,
        )
        close_engine()
        traces.append(pq.read_table(folder / "rows.parquet")["token_ids"].to_pylist())
    assert len(traces[0]) == 24 * 4
    assert traces[0] == traces[1]
