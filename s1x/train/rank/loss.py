"""The causal LM with its loss inside, so that logits never need to be there all at once.

32K tokens x 152K words of vocabulary are 20 GB of logits in float32, three times over in the
backward pass. The loss is therefore taken inside the head's own forward: at trained positions
only, and in chunks that are recomputed in the backward pass (or by torch's fused
`linear_cross_entropy`). Because it happens inside the head's forward, ZeRO-3 and FSDP gather a
sharded head for it as for any other layer.

Shapes: T tokens, N trained tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch.nn.functional import cross_entropy, linear
from torch.utils.checkpoint import checkpoint

from s1x.errors import UserError

#: logits of more bytes than this are taken in chunks under logits=auto
FULL_BYTES = 256 << 20
#: bytes of float32 logits in a chunk
CHUNK_BYTES = 128 << 20
IGNORED = -100


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
        way = self.logits
        if way == "auto":
            full = targets.numel() * self.weight.shape[0] * 4
            way = "full" if full <= FULL_BYTES else "chunked"
        if way == "full":
            return _loss(hidden, self.weight, self.bias, targets)
        if way == "torch":
            return _torch_loss(hidden, self.weight, self.bias, targets)
        rows = self.chunk_tokens or max(1, CHUNK_BYTES // (4 * self.weight.shape[0]))
        return _chunked_loss(hidden, self.weight, self.bias, targets, rows)


def _loss(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor
) -> torch.Tensor:
    return cross_entropy(linear(hidden, weight, bias).float(), targets, reduction="sum")


def _chunked_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    rows: int,
) -> torch.Tensor:
    parts = [
        checkpoint(_loss, h, weight, bias, t, use_reentrant=False)
        for h, t in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    ]
    return torch.stack(cast("list[torch.Tensor]", parts)).sum()


def _torch_loss(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, targets: torch.Tensor
) -> torch.Tensor:
    function = getattr(torch.nn.functional, "linear_cross_entropy", None)
    if function is None:
        raise UserError("train.logits=torch needs torch 2.13 or later; use train.logits=chunked")
    options = torch.nn.LinearCrossEntropyOptions()
    if torch.is_autocast_enabled(hidden.device.type):
        hidden, weight = (x.to(torch.get_autocast_dtype(x.device.type)) for x in (hidden, weight))
    loss: torch.Tensor = function(
        hidden, weight, targets, linear_bias=bias, reduction="sum", options=options
    )
    return loss.float()


def put_loss_in_head(causal_lm: Any, logits: str, chunk_tokens: int | None = None) -> None:
    """Turns the output layer of a causal LM into a `LossHead`, weights untouched.

    Raises:
        UserError: the model changes its logits after the head, which the loss would miss.
    """
    config = causal_lm.config
    for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
        if getattr(config, name, None) not in (None, 1, 1.0):
            raise UserError(f"models with {name} ({config.model_type}) cannot be trained here")
    head = causal_lm.get_output_embeddings()
    assert isinstance(head, torch.nn.Linear), type(head)
    head.__class__ = LossHead
    cast(LossHead, head).logits = logits
    cast(LossHead, head).chunk_tokens = chunk_tokens


class LossModel(torch.nn.Module):
    """Decoder and head as one module whose forward is the loss: what strategies wrap."""

    def __init__(self, causal_lm: Any) -> None:
        super().__init__()
        self.causal_lm = causal_lm

    def forward(
        self,
        token_ids: torch.Tensor,
        position_ids: torch.Tensor,
        targets: torch.Tensor,
        attention_mask: torch.Tensor | None,
        packing: dict[str, object],
    ) -> torch.Tensor:
        """Summed loss of a pass.

        Args:
            token_ids: [B, T]; B is 1 when packed.
            position_ids: [B, T], restarting at each sample.
            targets: [B, T], the next token where it is trained on, else `IGNORED`.
            attention_mask: [B, T] of a padded rectangle, None when packed.
            packing: what the attention needs to know of a packed row.
        """
        causal_lm = self.causal_lm
        if hasattr(causal_lm, "get_base_model"):
            causal_lm = causal_lm.get_base_model()
        hidden = causal_lm.base_model(
            input_ids=token_ids,
            position_ids=position_ids,
            attention_mask=attention_mask,
            use_cache=False,
            **packing,
        ).last_hidden_state
        trained = targets != IGNORED
        picked = hidden[trained] if bool(trained.any()) else hidden[:, 0]
        head = causal_lm.get_output_embeddings()
        loss: torch.Tensor = head(picked, targets[trained])
        return loss
