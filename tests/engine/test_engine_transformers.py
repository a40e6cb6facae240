"""The transformers engine writes what `generate` writes, whatever is batched, cut or forked."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from s1x.engine.engine import Request, Sampling
from s1x.engine.transformers import Transformers
from s1x.engine.transformers_live import TransformersEngine
from s1x.errors import UserError
from s1x.model.chat_format import TokenIds
from s1x.model.model import Model

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def engine(tiny_model: Model) -> TransformersEngine:
    live = Transformers(batch_size=16).start(tiny_model)
    assert isinstance(live, TransformersEngine)
    return live


@pytest.fixture(scope="module")
def reference(tiny_model: Model) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model.path).eval()


def prompts(count: int, seed: int = 0) -> list[TokenIds]:
    rng = random.Random(seed)
    return [tuple(rng.randrange(5, 200) for _ in range(rng.randrange(3, 60))) for _ in range(count)]


def greedy(reference: Any, prefix: TokenIds, max_tokens: int, banned: int = 3) -> TokenIds:
    """One token after another, without a cache, and without ids that are no tokens."""
    import torch

    ids = list(prefix)
    with torch.inference_mode():
        for _ in range(max_tokens):
            logits = reference(torch.tensor([ids])).logits[0, -1]
            logits[-banned:] = float("-inf")
            ids.append(int(logits.argmax()))
    return tuple(ids[len(prefix) :])


async def ask(engine: Any, request: Request, keep: int | None = None) -> TokenIds:
    got: list[int] = []

    def on_tokens(ids: Any) -> bool:
        got.extend(ids)
        return keep is None or len(got) < keep

    await engine.generate(request, on_tokens)
    return tuple(got)


def ask_all(engine: Any, requests: list[Request]) -> list[TokenIds]:
    async def all_() -> list[TokenIds]:
        return list(await asyncio.gather(*(ask(engine, request) for request in requests)))

    return asyncio.run(all_())


def test_ragged_batches_equal_the_plain_model(engine: Any, reference: Any) -> None:
    rng = random.Random(1)
    requests = [Request(prefix_ids=p, max_tokens=rng.randrange(1, 60)) for p in prompts(40)]
    for request, ids in zip(requests, ask_all(engine, requests), strict=True):
        assert ids == greedy(reference, request.prefix_ids, request.max_tokens)


def test_segments_and_forks_reuse_their_cache(engine: Any, reference: Any) -> None:
    prefixes = prompts(8, seed=2)
    traces = ask_all(engine, [Request(prefix_ids=p, max_tokens=40) for p in prefixes])
    before = engine.usage.computed_prompt_tokens
    forks = [
        Request(prefix_ids=(*p, *trace[:cut], 9, 10), max_tokens=12)
        for p, trace in zip(prefixes, traces, strict=True)
        for cut in (5, 20, 39)
    ]
    for request, ids in zip(forks, ask_all(engine, forks), strict=True):
        assert ids == greedy(reference, request.prefix_ids, 12)
    computed = engine.usage.computed_prompt_tokens - before
    assert computed <= 4 * len(forks)  # the forced tokens, not the prefixes


def test_a_small_cache_changes_nothing(tiny_model: Model, reference: Any) -> None:
    small = Transformers(batch_size=16, cache_gib=0.0005).start(tiny_model)
    requests = [Request(prefix_ids=p, max_tokens=50) for p in prompts(30, seed=3)]
    for request, ids in zip(requests, ask_all(small, requests), strict=True):
        assert ids == greedy(reference, request.prefix_ids, 50)


def test_long_prefixes_are_computed_in_pieces(tiny_model: Model, reference: Any) -> None:
    live = Transformers(batch_size=4, prefill_tokens=16).start(tiny_model)
    rng = random.Random(4)
    prefix = tuple(rng.randrange(5, 200) for _ in range(150))
    assert ask_all(live, [Request(prefix_ids=prefix, max_tokens=5)])[0] == greedy(
        reference, prefix, 5
    )


def test_stops_come_with_the_tokens(engine: Any) -> None:
    prefix = prompts(1, seed=5)[0]
    free = ask_all(engine, [Request(prefix_ids=prefix, max_tokens=30)])[0]
    stop = free[7:9]
    first = next(i for i in range(2, 31) if free[i - 2 : i] == stop)
    assert (
        ask_all(engine, [Request(prefix_ids=prefix, max_tokens=30, stop=(stop,))])[0]
        == free[:first]
    )
    assert asyncio.run(ask(engine, Request(prefix_ids=prefix, max_tokens=30), keep=4)) == free[:4]


def test_ids_that_are_no_tokens_never_come(engine: Any, reference: Any) -> None:
    import torch

    size = reference.config.vocab_size
    hot = Sampling(temperature=50.0, seed=1)
    ids = ask_all(
        engine, [Request(prefix_ids=p, max_tokens=60, sampling=hot) for p in prompts(8, seed=6)]
    )
    assert max(token for row in ids for token in row) < size - 3
    with torch.inference_mode():
        tempted = [int(reference(torch.tensor([p])).logits[0, -1].argmax()) for p in prompts(40)]
    assert max(tempted) >= size - 3  # the plain model would have


def test_banned_first_ids_are_only_banned_first(engine: Any) -> None:
    prefix = prompts(1, seed=7)[0]
    first = ask_all(engine, [Request(prefix_ids=prefix, max_tokens=1)])[0][0]
    other = ask_all(engine, [Request(prefix_ids=prefix, max_tokens=3, ban_first=(first,))])[0]
    assert other[0] != first


def test_samples_do_not_change_when_cut_or_batched(engine: Any) -> None:
    prefix = prompts(1, seed=8)[0]
    ways = [Sampling(temperature=1.0, top_p=0.9, seed=s) for s in range(6)]
    whole = ask_all(
        engine, [Request(prefix_ids=prefix, max_tokens=40, sampling=way) for way in ways]
    )
    assert len(set(whole)) == 6
    for way, ids in zip(ways, whole, strict=True):
        assert ask_all(engine, [Request(prefix_ids=prefix, max_tokens=40, sampling=way)])[0] == ids
        rest = ask_all(
            engine, [Request(prefix_ids=(*prefix, *ids[:15]), max_tokens=25, sampling=way)]
        )[0]
        assert rest == ids[15:]


def test_top_p_keeps_the_mass_it_says() -> None:
    import torch

    from s1x.engine.draw import draw

    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(1000, 1)
    uniforms = (torch.arange(1000) + 0.5) / 1000
    for top_p, expected in ((1.0, [500, 300, 150, 50]), (0.75, [625, 375, 0, 0])):
        ids = draw(logits, torch.ones(1000), torch.full((1000,), top_p), uniforms)
        assert torch.bincount(ids, minlength=4).tolist() == expected
    cold = draw(logits, torch.full((1000,), 0.01), torch.ones(1000), uniforms)
    assert set(cold.tolist()) == {0}


def test_models_without_full_attention_are_refused() -> None:
    from transformers import MistralConfig, Qwen2Config

    from s1x.engine.transformers_live import _check_architecture

    _check_architecture(Qwen2Config())
    with pytest.raises(UserError, match="use engine=vllm"):
        _check_architecture(MistralConfig(sliding_window=128))
