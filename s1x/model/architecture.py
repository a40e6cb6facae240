"""The numbers of an architecture: parameters, FLOPs and bytes, without weights.

They stand in `conf/model` (`architecture:`, the names of config.json), so that `plan` works
without network, and are read from the configuration object where the model is at hand.
Decoders with grouped-query attention and a gated feed-forward layer (Llama, Qwen2, Qwen3, SmolLM2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any

from s1x.errors import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def architecture_numbers(config: Mapping[str, Any]) -> dict[str, Any]:
    """What `Architecture` needs of a config.json, as far as it is there."""
    own = ("attention_bias", "qk_norm")
    names = [field.name for field in fields(Architecture) if field.name not in own]
    found = {key: config[key] for key in names if config.get(key) is not None}
    if "num_attention_heads" in found:
        found.setdefault("num_key_value_heads", found["num_attention_heads"])
        is_qwen2 = config.get("model_type") == "qwen2"
        found["attention_bias"] = is_qwen2 or bool(config.get("attention_bias"))
        if config.get("model_type") == "qwen3":
            found["qk_norm"] = True
    return found


@dataclass(frozen=True)
class Architecture:
    """Widths and counts of a decoder, by the names of Hugging Face's config.json."""

    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    tie_word_embeddings: bool = False
    attention_bias: bool = True
    """Biases on the query, key and value projections (Qwen2 has them, Llama has not)."""
    head_dim: int | None = None
    qk_norm: bool = False
    """Norms of the queries and the keys of a head (Qwen3)."""

    @classmethod
    def of(cls, numbers: Mapping[str, Any], name: str = "the model") -> Architecture:
        """From a mapping that has config.json's names, as `conf/model` gives it.

        Raises:
            UserError: a number is missing.
        """
        known = {f.name: numbers[f.name] for f in fields(cls) if f.name in numbers}
        missing = [f.name for f in fields(cls) if f.default is MISSING and f.name not in known]
        if missing:
            raise UserError(
                f"model.architecture of {name} lacks {', '.join(missing)}; "
                "copy the numbers from the model's config.json"
            )
        return cls(**known)

    @classmethod
    def of_config(cls, config: PretrainedConfig) -> Architecture:
        """From a transformers configuration object."""
        return cls.of(architecture_numbers(config.to_dict()), config.model_type)

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def layer_parameters(self) -> int:
        """Parameters of one decoder layer: attention, feed-forward, two norms."""
        d, kv = self.hidden_size, self.num_key_value_heads * self.head_width
        q = self.num_attention_heads * self.head_width
        attention = d * q + 2 * d * kv + q * d + (q + 2 * kv if self.attention_bias else 0)
        attention += 2 * self.head_width if self.qk_norm else 0
        return attention + 3 * d * self.intermediate_size + 2 * d

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embedding; an untied head has as many again."""
        return self.vocab_size * self.hidden_size

    @property
    def parameters(self) -> int:
        """All parameters."""
        head = 0 if self.tie_word_embeddings else self.embedding_parameters
        return self.matrix_parameters + head + self.hidden_size

    @property
    def matrix_parameters(self) -> int:
        """Parameters that every token is multiplied with: all but the embedding's table."""
        return self.num_hidden_layers * self.layer_parameters + self.embedding_parameters

    def training_flops(self, lengths: Sequence[int]) -> float:
        """FLOPs of a forward and backward pass over samples of these lengths.

        6 per matrix parameter and token, and for causal attention 6 x layers x heads' width x
        length squared; recomputed activations do not count (model FLOPs, not hardware FLOPs).
        """
        width = self.num_attention_heads * self.head_width
        squares = sum(float(n) * n for n in lengths)
        attention = 6.0 * self.num_hidden_layers * width * squares
        return 6.0 * self.matrix_parameters * sum(lengths) + attention

    def kv_bytes_per_token(self, bytes_per_number: int = 2) -> int:
        """Bytes of keys and values that a token leaves in the cache."""
        per_layer = 2 * self.num_key_value_heads * self.head_width
        return self.num_hidden_layers * per_layer * bytes_per_number
