"""Which samples make which optimizer step, on which rank, in which pass.

Everything is decided before the first step, from the lengths and the seed alone, so that every
rank knows it without talking, and a resumed run finds its place by counting.

A step has `batch_sequences` samples whatever the number of ranks. They are dealt to ranks x passes
so that the longest share is as short as it can be: a step lasts as long as its slowest rank. Where
samples differ much in length and a rank gets one of them, dealing cannot help; then
`window_batches` puts samples of like length into the same step (lengths are sorted within windows
of so many batches of the epoch's random order, and the batches shuffled), and every sample still
comes once an epoch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from s1x.errors import SettingError

Share = list[int]
"""Samples of one pass, by their place in the sample set."""


@dataclass(frozen=True)
class Step:
    """One optimizer step: `shares[rank][pass]`."""

    epoch: int
    shares: list[list[Share]]


def epoch_batches(
    lengths: Sequence[int], batch_sequences: int, window_batches: int, seed: str
) -> list[list[int]]:
    """The batches of one epoch: every sample once, in an order that the seed decides."""
    rng = random.Random(seed)
    order = list(range(len(lengths)))
    rng.shuffle(order)
    if window_batches > 1:
        size = window_batches * batch_sequences
        windows = [order[start : start + size] for start in range(0, len(order), size)]
        order = [index for window in windows for index in sorted(window, key=lengths.__getitem__)]
    batches = [
        order[start : start + batch_sequences] for start in range(0, len(order), batch_sequences)
    ]
    if window_batches > 1:
        rng.shuffle(batches)
    return batches


def deal(
    lengths: Sequence[int], batch: Sequence[int], num_shares: int, padded: bool
) -> list[Share]:
    """Splits a batch into shares, the largest share as small as can be (greedily).

    Packed: the longest sample first, each to the emptiest share. Padded: a share costs its longest
    sample times its number of samples, so neighbours in length go together.
    """
    ordered = sorted(batch, key=lambda index: (-lengths[index], index))
    if padded:
        return _deal_padded(lengths, ordered, num_shares)
    shares: list[Share] = [[] for _ in range(num_shares)]
    loads = [0] * num_shares
    for index in ordered:
        place = loads.index(min(loads))
        shares[place].append(index)
        loads[place] += lengths[index]
    return shares


def _deal_padded(lengths: Sequence[int], ordered: Sequence[int], num_shares: int) -> list[Share]:
    low, high = max(lengths[i] for i in ordered), lengths[ordered[0]] * len(ordered)
    while low < high:
        middle = (low + high) // 2
        if len(_fill(lengths, ordered, middle)) <= num_shares:
            high = middle
        else:
            low = middle + 1
    shares = _fill(lengths, ordered, low) if len(ordered) > num_shares else [[i] for i in ordered]
    return shares + [[] for _ in range(num_shares - len(shares))]


def _fill(lengths: Sequence[int], ordered: Sequence[int], capacity: int) -> list[Share]:
    shares: list[Share] = [[]]
    for index in ordered:
        share = shares[-1]
        if share and lengths[share[0]] * (len(share) + 1) > capacity:
            shares.append([index])
        else:
            share.append(index)
    return shares


def share_tokens(lengths: Sequence[int], share: Share, padded: bool) -> int:
    """Positions that a pass computes, padding included."""
    if not share:
        return 0
    if padded:
        return max(lengths[i] for i in share) * len(share)
    return sum(lengths[i] for i in share)


def passes_needed(
    lengths: Sequence[int],
    batches: Sequence[Sequence[int]],
    num_ranks: int,
    pass_tokens: int,
    padded: bool,
) -> int:
    """Smallest number of passes a step with which no pass exceeds `pass_tokens`.

    Raises:
        SettingError: one sample alone is longer than a pass may be.
    """
    longest = max(lengths)
    if longest > pass_tokens:
        raise SettingError(
            "micro_batch_tokens", f"{longest} or more (the longest sample)", pass_tokens
        )
    passes = 1
    while any(
        share_tokens(lengths, share, padded) > pass_tokens
        for batch in batches
        for share in deal(lengths, batch, num_ranks * passes, padded)
    ):
        passes += 1
    return passes


def plan_steps(
    lengths: Sequence[int],
    *,
    seed: int,
    epochs: int,
    batch_sequences: int,
    num_ranks: int,
    pass_tokens: int,
    window_batches: int = 0,
    padded: bool = False,
) -> list[Step]:
    """All steps of a run; every step has the same number of passes on every rank.

    A share may be empty (the last batch of an epoch): the rank then makes an empty pass, because
    sharded ranks work in lockstep.

    Raises:
        SettingError: one sample alone is longer than `pass_tokens`.
    """
    by_epoch = [
        epoch_batches(lengths, batch_sequences, window_batches, f"{seed} {epoch}")
        for epoch in range(epochs)
    ]
    every = [batch for batches in by_epoch for batch in batches]
    passes = passes_needed(lengths, every, num_ranks, pass_tokens, padded)
    steps = []
    for epoch, batches in enumerate(by_epoch):
        for batch in batches:
            shares = deal(lengths, batch, num_ranks * passes, padded)
            by_rank = [shares[rank::num_ranks] for rank in range(num_ranks)]
            steps.append(Step(epoch, by_rank))
    return steps
