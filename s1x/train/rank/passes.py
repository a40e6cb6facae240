"""The passes of one rank as tensors, in order: what Lightning iterates over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

import torch
from torch.nn.utils.rnn import pad_sequence

from s1x.train.batches import Step
from s1x.train.samples import Sample, SampleSet

#: a target that the loss does not count
IGNORED = -100


class Pass(TypedDict):
    """One pass: B rows (1 when packed) of T positions.

    A plain dict, so that Lightning moves its tensors to the device and leaves the rest. `lengths`
    and `rows` are the tokens of each sample and its place in the chosen rows (none in an empty
    pass), `place` is that of the pass in its step; a step's tokens are those of all ranks.
    """

    token_ids: torch.Tensor  # [B, T]
    position_ids: torch.Tensor  # [B, T], restarting at each sample
    targets: torch.Tensor  # [B, T], the next token where the loss counts it, else IGNORED
    attention_mask: torch.Tensor | None  # [B, T] where there is padding
    lengths: list[int]
    rows: list[int]
    step: int
    epoch: int
    place: int
    step_tokens: int
    step_trained_tokens: int


class Passes:
    """All passes of a rank, from step `first_step` on; its length is that of the whole run.

    Samples are padded with `pad_id` where there is one, else packed.
    """

    def __init__(
        self,
        samples: SampleSet,
        steps: Sequence[Step],
        rank: int,
        first_step: int = 0,
        pad_id: int | None = None,
    ) -> None:
        self.samples, self.steps, self.rank = samples, steps, rank
        self.first_step, self.pad_id = first_step, pad_id
        #: forward and backward passes a rank makes for one optimizer step
        self.per_step = len(steps[0].shares[rank])

    def __len__(self) -> int:
        return len(self.steps) * self.per_step

    def __iter__(self) -> Iterator[Pass]:
        for number in range(self.first_step, len(self.steps)):
            for place in range(self.per_step):
                yield self._pass(number, place)

    def _pass(self, number: int, place: int) -> Pass:
        step = self.steps[number]
        everyone = [i for shares in step.shares for share in shares for i in share]
        chosen = [self.samples[i] for i in step.shares[self.rank][place]]
        chosen = chosen or [Sample(-1, [self.pad_id or 0], 1)]
        ids = [torch.tensor(sample.token_ids) for sample in chosen]
        mask = None if self.pad_id is None else self._joined([torch.ones_like(i) for i in ids], 0)
        return {
            "token_ids": self._joined(ids, self.pad_id or 0),
            "position_ids": self._joined([torch.arange(len(each)) for each in ids], 0),
            "targets": self._joined([_targets(sample) for sample in chosen], IGNORED),
            "attention_mask": mask,
            "lengths": [len(each) for each in ids],
            "rows": [sample.row for sample in chosen if sample.row >= 0],
            "step": number,
            "epoch": step.epoch,
            "place": place,
            "step_tokens": sum(self.samples.lengths[i] for i in everyone),
            "step_trained_tokens": sum(self.samples.trained[i] for i in everyone),
        }

    def _joined(self, parts: list[torch.Tensor], fill: int) -> torch.Tensor:
        """Below each other in a rectangle, or end to end in one row."""
        if self.pad_id is None:
            return torch.cat(parts)[None]
        return pad_sequence(parts, batch_first=True, padding_value=fill)


def _targets(sample: Sample) -> torch.Tensor:
    """The token each position must predict, `IGNORED` where the loss does not count it."""
    ids, first = torch.tensor(sample.token_ids), sample.prompt_tokens - 1
    targets = torch.full_like(ids, IGNORED)
    targets[first:-1] = ids[first + 1 :]
    return targets
