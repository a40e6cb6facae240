"""A reward model on transformers: token ids in, a score at each marked token out, in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    PreTrainedTokenizerBase,
)

from s1x.errors import UserError
from s1x.model.load import checkpoint_files, readable
from s1x.model.model import Model
from s1x.scorer.conventions import LABELS, MLP, OUTCOME, VALUE, WORDS, Convention, Marked, word_id

#: padded tokens of a batch
BATCH_TOKENS = 16_384
#: names of the weights of a head that transformers' own classes do not have
HEADS = {MLP: "score.", VALUE: "v_head.summary.", OUTCOME: "score."}


class RewardModel:
    """The network of a convention.

    Raises:
        UserError: the weights cannot be read, or lack the head.
    """

    def __init__(
        self, model: Model, convention: Convention, tokenizer: PreTrainedTokenizerBase, device: str
    ) -> None:
        self.kind, self.device = convention.head, device
        classes = {WORDS: AutoModelForCausalLM, LABELS: AutoModelForTokenClassification}
        with readable(model.source()):
            self.net = classes.get(self.kind, AutoModel).from_pretrained(
                model.source(), revision=model.revision, dtype=model.dtype, use_safetensors=True
            )
        self.head = _head(model, HEADS[self.kind], self.net.dtype) if self.kind in HEADS else None
        self.net.to(device)
        if self.head is not None:
            self.head.to(device)
        self.word_ids = [word_id(tokenizer, text) for text in convention.words]
        self.num_parameters = sum(p.numel() for p in self.net.parameters())

    @torch.inference_mode()
    def scores(self, batch: Sequence[Marked]) -> list[tuple[float, ...]]:
        """Scores at the places of each; padding stands on the right, where nothing looks."""
        width = max(len(ids) for ids, _ in batch)
        ids = torch.tensor([text + [0] * (width - len(text)) for text, _ in batch])
        mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text, _ in batch])
        out = self.net(input_ids=ids.to(self.device), attention_mask=mask.to(self.device))
        values = out.last_hidden_state if self.head is not None else out.logits
        found = []
        for row, (_, places) in zip(values, batch, strict=True):
            at = row[places] if self.head is None else self.head(row[places])
            found.append(tuple(self._shares(at.float()).tolist()))
        return found

    def _shares(self, at: torch.Tensor) -> torch.Tensor:
        """[steps, outputs] → the score of each."""
        if self.kind in (VALUE, OUTCOME):
            return torch.sigmoid(at[:, 0])
        good = 0 if self.kind == WORDS else 1
        pair = at[:, self.word_ids] if self.kind == WORDS else at
        return torch.softmax(pair, dim=-1)[:, good]


def _head(model: Model, prefix: str, dtype: torch.dtype) -> torch.nn.Module:
    """Linear layers by the numbers in their names, with ReLU between them."""
    found: dict[str, torch.Tensor] = {}
    for file in checkpoint_files(model):
        with safe_open(file, "pt") as tensors:
            names = [name for name in tensors.keys() if name.startswith(prefix)]  # noqa: SIM118
            found |= {name: tensors.get_tensor(name).to(dtype) for name in names}
    weights = sorted(name for name in found if name.endswith("weight"))
    if not weights:
        raise UserError(
            f"{Path(model.source()).name} has no weights {prefix}*, which scorer.convention wants; "
            "the model is of another family"
        )
    layers: list[torch.nn.Module] = []
    for name in weights:
        rows, columns = found[name].shape
        layer = torch.nn.Linear(columns, rows, dtype=dtype)
        layer.weight.data = found[name]
        bias = found.get(name.removesuffix("weight") + "bias")
        layer.bias.data = torch.zeros(rows, dtype=dtype) if bias is None else bias
        layers += [torch.nn.ReLU(), layer] if layers else [layer]
    return torch.nn.Sequential(*layers)


@dataclass(eq=False)
class _Waiting:
    marked: Marked
    found: asyncio.Future[tuple[float, ...]]


class Batches:
    """Scores whatever waits together, in a thread, so that engines go on meanwhile."""

    def __init__(self, net: RewardModel) -> None:
        self.net = net
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def scores(self, marked: Marked) -> tuple[float, ...]:
        """The scores of one text."""
        loop = asyncio.get_running_loop()
        mine = _Waiting(marked, loop.create_future())
        self._waiting.append(mine)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._work())
        return await mine.found

    async def _work(self) -> None:
        await asyncio.sleep(0)  # what is asked in the same breath goes together
        while self._waiting:
            batch = self._next()
            try:
                found = await asyncio.to_thread(self.net.scores, [one.marked for one in batch])
            except Exception as error:  # whoever waits must hear of it
                for one in batch:
                    if not one.found.done():
                        one.found.set_exception(error)
                continue
            for one, scores in zip(batch, found, strict=True):
                if not one.found.done():
                    one.found.set_result(scores)

    def _next(self) -> list[_Waiting]:
        self._waiting.sort(key=lambda one: len(one.marked[0]))
        count, width = 0, 0
        for one in self._waiting:
            width = max(width, len(one.marked[0]))
            if count and width * (count + 1) > BATCH_TOKENS:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch
