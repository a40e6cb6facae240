"""How sure the model was of each token: right on every engine, kept, read back and watched."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_engine_transformers import prompts

from s1x.engine.engine import Request, Sampling
from s1x.engine.live import run_in_loop
from s1x.engine.scripted import ScriptedEngine, hashed_confidence, random_tokens
from s1x.engine.transformers import Transformers
from s1x.model.chat_format import TokenIds
from s1x.model.model import Model
from s1x.traces.confidence import Confidence, confidence_rows
from s1x.traces.request import WATCH, Continuation
from s1x.traces.store import TraceStore
from s1x.traces.streams import Streams
from s1x.traces.upkeep import prune

PROMPT = (50, 51, 52)
ENDS = (7, 8)


def by_hand(logits: Sequence[float], token: int, end_ids: Sequence[int]) -> list[float]:
    """The four numbers, one loop after another, over the whole vocabulary."""
    total = math.log(sum(math.exp(value) for value in logits))
    log_probs = {i: value - total for i, value in enumerate(logits)}
    top = sorted(log_probs, key=lambda i: -log_probs[i])[:20]
    rest = 1 - sum(math.exp(log_probs[i]) for i in top)
    entropy = -sum(math.exp(log_probs[i]) * log_probs[i] for i in top)
    entropy -= rest * math.log(rest) if rest > 0 else 0
    ranks = [top.index(i) + 1 for i in end_ids if i in top]
    return [
        log_probs[token],
        entropy,
        sum(log_probs[i] for i in top) / 20,
        min(ranks, default=255),
    ]


def asked(engine: Any, prefix: TokenIds, sampling: Sampling, bans: TokenIds = ()) -> Any:
    """Tokens and rows that an engine writes; each row comes before its token."""
    ids: list[int] = []
    rows: list[Confidence] = []

    def on_tokens(new: Sequence[int]) -> bool:
        ids.extend(new)
        assert sum(map(len, rows)) == len(ids)
        return True

    def on_confidence(new: Confidence) -> bool:
        rows.append(new.copy())
        return True

    request = Request(
        prefix_ids=prefix,
        max_tokens=30,
        sampling=sampling,
        ban_first=bans,
        on_confidence=on_confidence,
        end_ids=ENDS,
    )

    async def run() -> None:
        await engine.generate(request, on_tokens)

    run_in_loop(run())
    return ids, np.concatenate(rows)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.7, 0.9, 3)])
def test_the_numbers_are_those_of_the_plain_model(tiny_model: Model, sampling: Sampling) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    reference = AutoModelForCausalLM.from_pretrained(tiny_model.path).eval()
    engine = Transformers(batch_size=4).start(tiny_model)
    for prefix in prompts(3, seed=21):
        ids, rows = asked(engine, prefix, sampling, bans=(5,))
        with torch.inference_mode():
            logits = reference(torch.tensor([[*prefix, *ids]])).logits[0].double().tolist()
        for place, (token, row) in enumerate(zip(ids, rows, strict=True)):
            wanted = by_hand(logits[len(prefix) + place - 1], token, ENDS)
            assert row == pytest.approx(wanted, rel=2e-3, abs=2e-3)


def test_a_certain_token_and_a_small_vocabulary() -> None:
    rows = confidence_rows(
        np.array([0.0]), np.array([[0.0, -math.inf, -math.inf]]), np.array([[4, 1, 2]]), {2}
    )
    assert rows[0, 0] == rows[0, 1] == 0
    assert np.isfinite(rows).all()
    assert rows[0, 3] == 3


def make(folder: Path | None) -> tuple[ScriptedEngine, Streams, TraceStore]:
    engine = ScriptedEngine(random_tokens(40))
    store = TraceStore(folder, "m", end_ids=ENDS, save_every_tokens=5)
    return engine, Streams(engine, store, Sampling()), store


def expected(ids: Sequence[int], prefix: TokenIds = PROMPT) -> Confidence:
    whole = [*prefix, *ids]
    places = range(len(prefix) + 1, len(whole) + 1)
    return np.concatenate([hashed_confidence(whole[:end]) for end in places])


def read(streams: Streams, **wish: Any) -> Continuation:
    request = Request(**{"prefix_ids": PROMPT, "max_tokens": 30, **wish})
    return asyncio.run(streams.of("p").read(request))


def test_it_is_kept_with_the_tokens(tmp_path: Path) -> None:
    engine, streams, store = make(tmp_path)
    first = read(streams, max_tokens=12)
    assert np.array_equal(first.confidence, expected(first.token_ids))
    store.close()
    engine, streams, store = make(tmp_path)  # another process
    whole = read(streams)
    assert np.array_equal(whole.confidence, expected(whole.token_ids))
    assert [n for _, n in engine.requests] == [18]
    store.close()
    for _ in range(2):  # one file of two
        prune(tmp_path)
        _, streams, store = make(tmp_path)
        assert np.array_equal(read(streams).confidence, whole.confidence)
        store.close()


def test_pieces_without_it_are_not_used(tmp_path: Path) -> None:
    with TraceStore(tmp_path, "m") as store:
        streams = Streams(ScriptedEngine(random_tokens(40)), store, Sampling())
        plain = read(streams, max_tokens=12)
        assert plain.confidence is None
    engine, streams, store = make(tmp_path)
    found = read(streams, max_tokens=12)
    assert found.token_ids == plain.token_ids
    assert np.array_equal(found.confidence, expected(found.token_ids))
    assert len(engine.requests) == 1
    assert store.damaged
    store.close()


def test_a_watcher_ends_a_piece_before_the_token(tmp_path: Path) -> None:
    _, streams, store = make(tmp_path)
    whole = read(streams, max_tokens=30)
    rows = expected(whole.token_ids)
    low = int(np.argmin(rows[:, 2]))
    for _ in range(2):  # while it is written, and as it stands in the store
        seen: list[float] = []

        def watch(row: Confidence, seen: list[float] = seen) -> bool:
            seen.append(float(row[0, 2]))
            return seen[-1] > rows[low, 2]

        piece = read(streams, max_tokens=30, on_confidence=watch)
        assert piece.finish_reason == WATCH
        assert piece.token_ids == whole.token_ids[:low]
        assert piece.stop_ids == whole.token_ids[low : low + 1]
        assert seen == rows[: low + 1, 2].tolist()
        assert piece.confidence is not None
        assert len(piece.confidence) == low + 1
        store.close()
        _, streams, store = make(tmp_path)
    store.close()
