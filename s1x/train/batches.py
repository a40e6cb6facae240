"""Which samples make which optimizer step, on which rank, in which pass.

Everything is decided before the first step, from the lengths and the seed alone, so that every
rank knows it without talking, and a resumed run finds its place by counting.

A step has `batch_sequences` samples whatever the number of ranks. They are dealt to ranks x passes
so that the longest share is as short as it can be: a step lasts as long as its slowest rank. Where
samples differ much in length and a rank gets one of them, dealing cannot help; then
`length_window_batches` puts samples of like length into the same step: lengths are sorted within
windows of N batches of the epoch's random order, and the batches shuffled.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from s1x.errors import SettingError
from s1x.train.settings import TrainSettings

Share = list[int]
"""Samples of one pass, by their place in the sample set."""


@dataclass(frozen=True)
class Step:
    """One optimizer step: `shares[rank][pass]`."""

    epoch: int
    shares: list[list[Share]]


def plan_steps(
    lengths: Sequence[int], settings: TrainSettings, seed: int, num_ranks: int
) -> list[Step]:
    """All steps of a run over samples of these lengths; `max_steps` does not count here.

    Every step has the same number of passes on every rank, the fewest with which none exceeds
    `pass_tokens`. A share may be empty (the last batch of an epoch): the rank then makes an empty
    pass, because sharded ranks work in lockstep.

    Raises:
        SettingError: one sample alone is longer than `pass_tokens`.
    """
    limit, padded = settings.pass_tokens, settings.padded
    if (longest := max(lengths)) > limit:
        raise SettingError("micro_batch_tokens", f"{longest} or more (the longest sample)", limit)
    batches = [
        (epoch, batch)
        for epoch in range(settings.epochs)
        for batch in _batches(lengths, settings, f"{seed} {epoch}")
    ]
    shares: list[list[Share]] = []
    while not shares or any(
        share_tokens(lengths, share, padded) > limit for dealt in shares for share in dealt
    ):
        num_shares = num_ranks if not shares else len(shares[0]) + num_ranks
        shares = [_deal(lengths, batch, num_shares, padded) for _, batch in batches]
    return [
        Step(epoch, [dealt[rank::num_ranks] for rank in range(num_ranks)])
        for (epoch, _), dealt in zip(batches, shares, strict=True)
    ]


def _batches(lengths: Sequence[int], settings: TrainSettings, seed: str) -> list[list[int]]:
    """The batches of one epoch: every sample once, in an order that the seed decides."""
    rng, window = random.Random(seed), settings.length_window_batches
    order = list(range(len(lengths)))
    rng.shuffle(order)
    if window > 1:
        parts = _cut(order, window * settings.batch_sequences)
        order = [index for part in parts for index in sorted(part, key=lengths.__getitem__)]
    batches = _cut(order, settings.batch_sequences)
    if window > 1:
        rng.shuffle(batches)
    return batches


def _cut(order: list[int], size: int) -> list[list[int]]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def _deal(
    lengths: Sequence[int], batch: Sequence[int], num_shares: int, padded: bool
) -> list[Share]:
    """Splits a batch into shares, the largest share as small as can be (greedily).

    Packed: the longest sample first, each to the emptiest share. Padded: a share costs its longest
    sample times its number of samples, so neighbours in length go together.
    """
    ordered = sorted(batch, key=lambda index: (-lengths[index], index))
    shares: list[Share] = [[] for _ in range(num_shares)]
    if padded and len(ordered) > num_shares:
        longest = lengths[ordered[0]]
        costs = range(longest * len(ordered))
        cost = bisect_left(
            costs, True, longest, key=lambda n: len(_filled(lengths, ordered, n)) <= num_shares
        )
        filled = _filled(lengths, ordered, cost)
        return filled + shares[len(filled) :]
    loads = [0] * num_shares
    for index in ordered:
        place = loads.index(min(loads))
        shares[place].append(index)
        loads[place] += lengths[index]
    return shares


def _filled(lengths: Sequence[int], ordered: Sequence[int], cost: int) -> list[Share]:
    """Neighbours in length together, while padding them costs no more than this."""
    shares: list[Share] = [[]]
    for index in ordered:
        if shares[-1] and lengths[shares[-1][0]] * (len(shares[-1]) + 1) > cost:
            shares.append([])
        shares[-1].append(index)
    return shares


def share_tokens(lengths: Sequence[int], share: Share, padded: bool) -> int:
    """Positions that a pass computes, padding included."""
    of_each = [lengths[index] for index in share]
    return max(of_each, default=0) * len(of_each) if padded else sum(of_each)
