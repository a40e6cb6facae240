"""The passes of one rank as tensors, in order: what Lightning iterates over.

Tensors: B rows (1 when packed), T positions. A `Pass` is a plain dict, so that Lightning moves its
tensors to the device and leaves the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from s1x.train.batches import Share, Step
from s1x.train.rank.loss import IGNORED
from s1x.train.samples import Sample

Pass = dict[str, Any]
Grid = list[list[int]]
#: token ids, positions, targets, and a mask where there is padding
Rows = tuple[Grid, Grid, Grid, Grid | None]


class Passes:
    """All passes of a rank, from step `first_step` on; its length is that of the whole run."""

    def __init__(
        self,
        samples: Sequence[Sample],
        steps: Sequence[Step],
        rank: int,
        *,
        first_step: int = 0,
        padded: bool = False,
        pad_id: int = 0,
    ) -> None:
        self.samples, self.steps, self.rank = samples, steps, rank
        self.first_step, self.padded, self.pad_id = first_step, padded, pad_id

    @property
    def passes_per_step(self) -> int:
        """Forward and backward passes a rank makes for one optimizer step."""
        return len(self.steps[0].shares[self.rank])

    def __len__(self) -> int:
        return len(self.steps) * self.passes_per_step

    def __iter__(self) -> Iterator[Pass]:
        for number in range(self.first_step, len(self.steps)):
            step = self.steps[number]
            everyone = [i for shares in step.shares for share in shares for i in share]
            trained = sum(self.samples[i].trained_tokens for i in everyone)
            tokens = sum(len(self.samples[i].token_ids) for i in everyone)
            for place, share in enumerate(step.shares[self.rank]):
                found = self.tensors(share)
                found |= {"step": number, "epoch": step.epoch, "place": place}
                found |= {"step_trained_tokens": trained, "step_tokens": tokens}
                yield found

    def tensors(self, share: Share) -> Pass:
        """One pass: token ids, position ids, targets (the next token where it counts)."""
        chosen = [self.samples[i] for i in share] or [Sample(-1, [self.pad_id], 1)]
        rows = self._padded(chosen) if self.padded else self._packed(chosen)
        ids, positions, targets, mask = rows
        return {
            "token_ids": torch.tensor(ids),
            "position_ids": torch.tensor(positions),
            "targets": torch.tensor(targets),
            "attention_mask": None if mask is None else torch.tensor(mask),
            "lengths": [len(sample.token_ids) for sample in chosen],
            "rows": [sample.row for sample in chosen if sample.row >= 0],
            "positions": sum(map(len, ids)),
        }

    def _packed(self, chosen: Sequence[Sample]) -> Rows:
        ids = [[token for sample in chosen for token in sample.token_ids]]
        positions = [[p for sample in chosen for p in range(len(sample.token_ids))]]
        targets = [[target for sample in chosen for target in _targets(sample)]]
        return ids, positions, targets, None

    def _padded(self, chosen: Sequence[Sample]) -> Rows:
        longest = max(len(sample.token_ids) for sample in chosen)
        gaps = [longest - len(sample.token_ids) for sample in chosen]
        both = list(zip(chosen, gaps, strict=True))
        ids = [s.token_ids + [self.pad_id] * gap for s, gap in both]
        targets = [_targets(s) + [IGNORED] * gap for s, gap in both]
        mask = [[1] * len(s.token_ids) + [0] * gap for s, gap in both]
        return ids, [list(range(longest))] * len(chosen), targets, mask


def _targets(sample: Sample) -> list[int]:
    """The token each position must predict, `IGNORED` where the loss does not count it."""
    following = sample.token_ids[1:]
    first = sample.prompt_tokens - 1
    kept = [IGNORED] * min(first, len(following)) + following[first:]
    return [*kept, IGNORED]
