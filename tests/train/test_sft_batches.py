"""Every sample once an epoch, shares as even as can be, on every rank the same number of passes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from s1x.errors import SettingError
from s1x.train.batches import Step, plan_steps, share_tokens
from s1x.train.settings import TrainSettings

RNG = random.Random(1)
LENGTHS = [RNG.randrange(10, 500) for _ in range(101)]


def planned(
    seed: int = 0, num_ranks: int = 2, pass_tokens: int = 4000, **changes: Any
) -> list[Step]:
    settings = TrainSettings(epochs=2, max_sequence_tokens=pass_tokens, **changes)
    return plan_steps(LENGTHS, settings, seed, num_ranks)


@pytest.mark.parametrize("window", [0, 3, 100])
@pytest.mark.parametrize("batching", ["packed", "padded"])
@pytest.mark.parametrize("ranks", [1, 2, 8, 16])
def test_every_sample_once_an_epoch(window: int, batching: str, ranks: int) -> None:
    steps = planned(num_ranks=ranks, length_window_batches=window, batching=batching)
    assert len(steps) == 2 * 7
    for epoch in (0, 1):
        seen = [
            i for s in steps if s.epoch == epoch for share in s.shares for p in share for i in p
        ]
        assert sorted(seen) == list(range(101))


def test_order_is_the_seeds_and_differs_between_epochs() -> None:
    assert planned() == planned()
    assert planned() != planned(seed=1)
    first, second = planned()[0], planned()[7]
    assert first.shares != second.shares


def test_a_steps_samples_do_not_depend_on_the_number_of_ranks() -> None:
    def batches(ranks: int) -> list[list[int]]:
        steps = planned(num_ranks=ranks)
        return [sorted(i for share in s.shares for p in share for i in p) for s in steps]

    assert batches(1) == batches(2) == batches(16)


@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_no_pass_exceeds_its_tokens(batching: str) -> None:
    steps = planned(pass_tokens=700, batching=batching)
    passes = {len(share) for step in steps for share in step.shares}
    assert len(passes) == 1
    tokens = [
        share_tokens(LENGTHS, p, batching == "padded")
        for step in steps
        for share in step.shares
        for p in share
    ]
    assert max(tokens) <= 700


def test_a_sample_longer_than_a_pass_is_refused() -> None:
    with pytest.raises(SettingError, match="micro_batch_tokens must be 49"):
        planned(pass_tokens=300)


def test_windows_make_a_steps_samples_alike() -> None:
    def spread(window: int) -> float:
        steps = planned(num_ranks=16, length_window_batches=window)
        return sum(
            max(LENGTHS[i] for i in batch) - min(LENGTHS[i] for i in batch)
            for batch in ([i for share in s.shares for p in share for i in p] for s in steps)
        ) / len(steps)

    assert spread(100) < spread(3) < spread(0)
