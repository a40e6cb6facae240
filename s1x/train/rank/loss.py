"""The causal LM with its loss inside, so that logits never need to be there all at once.

32K tokens x 152K words of vocabulary are 20 GB of logits in float32, three times over in the
backward pass. The loss is therefore taken inside the head's own forward: at trained positions
only, and in chunks that are recomputed in the backward pass (or by torch's fused
`linear_cross_entropy`). Because it happens inside the head's forward, ZeRO-3 and FSDP gather a
sharded head for it as for any other layer.

Shapes: T tokens, N trained tokens, D width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch.nn import LinearCrossEntropyOptions
from torch.nn.functional import cross_entropy, linear, linear_cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from s1x.errors import UserError
from s1x.train.rank.passes import IGNORED, Pass

#: logits of more bytes than this are taken in chunks under logits=auto
FULL_BYTES = 256 << 20
#: bytes of float32 logits in a chunk
CHUNK_BYTES = 128 << 20


class LossHead(torch.nn.Linear):
    """A language model's head that returns the summed loss when it is given targets."""

    logits: str = "auto"
    chunk_tokens: int | None = None

    def forward(self, hidden: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        """[N, D] and targets [N] → sum of the N losses (float32); without targets the logits."""
        if targets is None:
            return super().forward(hidden)
        if targets.numel() == 0:  # an empty pass: the graph must still reach every weight
            return (linear(hidden[:1], self.weight, self.bias) * 0.0).float().sum()
        if self.logits == "torch":
            return self._torch_loss(hidden, targets)
        row_bytes = 4 * self.weight.shape[0]
        small = self.logits == "auto" and targets.numel() * row_bytes <= FULL_BYTES
        if small or self.logits == "full":
            return _loss(hidden, self.weight, self.bias, targets)
        rows = self.chunk_tokens or max(1, CHUNK_BYTES // row_bytes)
        parts: list[torch.Tensor] = [
            checkpoint(_loss, h, self.weight, self.bias, t, use_reentrant=False)
            for h, t in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
        ]
        return torch.stack(parts).sum()

    def _torch_loss(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        options, weight, kind = LinearCrossEntropyOptions(), self.weight, hidden.device.type
        if torch.is_autocast_enabled(kind):
            hidden, weight = (x.to(torch.get_autocast_dtype(kind)) for x in (hidden, weight))
        loss: torch.Tensor = linear_cross_entropy(
            hidden, weight, targets, linear_bias=self.bias, reduction="sum", options=options
        )
        return loss.float()


def _loss(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor
) -> torch.Tensor:
    return cross_entropy(linear(hidden, weight, bias).float(), targets, reduction="sum")


def put_loss_in_head(
    causal_lm: PreTrainedModel, logits: str, chunk_tokens: int | None = None
) -> None:
    """Turns the output layer of a causal LM into a `LossHead`, weights untouched.

    Raises:
        UserError: the model changes its logits after the head, which the loss would miss.
    """
    numbers = causal_lm.config.to_dict()
    for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
        if numbers.get(name) not in (None, 1, 1.0):
            raise UserError(f"models with {name} ({numbers['model_type']}) cannot be trained here")
    head = causal_lm.get_output_embeddings()  # type: ignore[no-untyped-call]
    assert isinstance(head, torch.nn.Linear), type(head)
    head.__class__ = LossHead
    assert isinstance(head, LossHead)
    head.logits, head.chunk_tokens = logits, chunk_tokens


class LossModel(torch.nn.Module):
    """Decoder and head as one module whose forward is the loss: what strategies wrap."""

    def __init__(self, causal_lm: PreTrainedModel) -> None:
        super().__init__()
        self.causal_lm = causal_lm

    def forward(self, batch: Pass, packing: dict[str, object]) -> torch.Tensor:
        """Summed loss of a pass; `packing` is what the attention must know of a packed row."""
        hidden = self.causal_lm.base_model(
            input_ids=batch["token_ids"],
            position_ids=batch["position_ids"],
            attention_mask=batch["attention_mask"],
            use_cache=False,
            **packing,
        ).last_hidden_state
        targets = batch["targets"]
        trained = targets != IGNORED
        picked = hidden[trained] if bool(trained.any()) else hidden[:, 0]
        head = self.causal_lm.get_output_embeddings()  # type: ignore[no-untyped-call]
        loss: torch.Tensor = head(picked, targets[trained])
        return loss
