"""Memory of one rank while it trains, part by part.

The sums follow what the libraries allocate (DeepSpeed 0.19 ZeRO-3, torch AdamW, transformers'
decoder layers); `docs/performance.md` has them beside measured peaks.
"""

from __future__ import annotations

from dataclasses import dataclass

from s1x.model.architecture import Architecture
from s1x.train.deepspeed_zero3 import DeepspeedZero3
from s1x.train.settings import Lora, TrainSettings

#: bytes of libraries, context and communication buffers: on a GPU, in a CPU process
GPU_BASE, CPU_BASE = 2.0 * 2**30, 0.45 * 2**30
#: parameters whose float32 gradients exist at once while DeepSpeed steps
SUB_GROUP = 1_000_000_000
#: bytes of logits held by the chunked loss: a chunk, its float32 copy, its gradient
CHUNKED_LOGITS = 3 * (128 << 20)
#: layers whose activations are there at once where they are recomputed
AT_WORK = 1.5
#: pinned main memory comes in blocks that are larger than what is asked for
PINNED = 1.15


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank by part; `host` is main memory used by an offloading rank."""

    weights: float
    gradients: float
    optimizer: float
    gathered: float
    activations: float
    logits: float
    base: float
    stepping: float = 0.0
    """float32 gradients while the optimizer steps, when layers, activations and logits are gone."""
    host: float = 0.0

    @property
    def total(self) -> float:
        """Bytes on the device at the peak: in the backward pass, or in the optimizer's step."""
        always = self.weights + self.gradients + self.optimizer + self.base
        return always + max(self.gathered + self.activations + self.logits, self.stepping)


def training_memory(
    settings: TrainSettings, shape: Architecture, num_ranks: int, pass_tokens: int, on_cpu: bool
) -> Memory:
    """Peak memory of a rank.

    Args:
        settings: the recipe and its strategy.
        shape: the model's numbers.
        num_ranks: ranks that share the states (where the strategy shards).
        pass_tokens: tokens of the longest pass.
        on_cpu: the ranks are CPU processes.
    """
    share = 1.0 / num_ranks if settings.sharded else 1.0
    low = _low(settings)
    n = shape.parameters * share
    trained = (lora_parameters(settings.lora, shape) or shape.parameters) * share
    states, stepping = (4.0 * n, 4.0 * trained, adam_bytes(settings) * trained), 0.0
    if isinstance(settings, DeepspeedZero3):  # float32 masters, gradients a group at a time
        again = shape.parameters / settings.hierarchy if settings.hierarchy > 1 else 0.0
        states = (low * (n + again), low * trained, 12.0 * trained)
        stepping = 4.0 * min(trained, SUB_GROUP)
    host = 0.0
    if settings.offloaded:  # the float32 gradients of all groups are kept, pinned
        host, states, stepping = PINNED * (sum(states) + 4.0 * trained), (0.0, 0.0, 0.0), 0.0
    return Memory(
        *states,
        gathered=_gathered(settings, shape, share, low) + _cast(settings, shape, pass_tokens),
        activations=activation_bytes(settings, shape, pass_tokens),
        logits=logits_bytes(settings, shape, pass_tokens),
        base=CPU_BASE if on_cpu else GPU_BASE,
        stepping=stepping,
        host=host,
    )


def _low(settings: TrainSettings) -> float:
    return 2.0 if settings.precision == "bfloat16" else 4.0


def _gathered(settings: TrainSettings, shape: Architecture, share: float, low: float) -> float:
    """Bytes of whole layers that a sharding rank holds for a moment, and of message buffers.

    A bucket of gradients is there three times while it is reduced: as it was collected, flattened
    for the message, and as this rank's part of the result.
    """
    if not settings.sharded:
        return 0.0
    n, bucket = shape.parameters, 0
    largest = max(shape.layer_parameters, shape.embedding_parameters)
    if isinstance(settings, DeepspeedZero3):
        bucket = settings.bucket_parameters
    live = min(n, max(5 * bucket, 2 * largest))
    return low * (live + (2 + share) * min(n, max(bucket, largest)))


def _cast(settings: TrainSettings, shape: Architecture, tokens: int) -> float:
    """Bytes of autocast's bfloat16 copies of trained matrices on one device, beyond activations.

    They stay from their first use to the end of the forward pass, and where all activations are
    kept, with these; a recomputed layer casts its own again when the copies are gone.
    """
    if settings.sharded or settings.precision != "bfloat16":
        return 0.0
    copies = 2.0 * (lora_parameters(settings.lora, shape) or shape.matrix_parameters)
    if not settings.activation_checkpointing:
        return copies
    return max(0.0, copies - AT_WORK * layer_bytes(settings, shape, tokens))


def layer_bytes(settings: TrainSettings, shape: Architecture, tokens: int) -> float:
    """Bytes that one layer's forward pass leaves for its backward pass.

    In one of transformers' decoder layers, two norms keep their float32 input and product and a
    low-precision result, attention its query, the repeated key and value and its result, the
    feed-forward layer gate, its activation, up and their product.
    """
    low = _low(settings)
    width = shape.num_attention_heads * shape.head_width
    norms = 2 * shape.hidden_size * (4.0 + 4.0 + low)
    rest = low * (5 * width + shape.hidden_size + 4 * shape.intermediate_size)
    return tokens * (norms + rest)


def activation_bytes(settings: TrainSettings, shape: Architecture, tokens: int) -> float:
    """Bytes that the forward pass leaves for the backward pass, and layers at work in that."""
    low, layer = _low(settings), layer_bytes(settings, shape, tokens)
    width = shape.num_attention_heads * shape.head_width
    if not settings.activation_checkpointing:
        return shape.num_hidden_layers * layer
    kept = low * shape.hidden_size
    if settings.recompute_spares != "nothing":  # results of attention, and their logarithms' sums
        kept += low * width + 4.0 * shape.num_attention_heads
    if settings.recompute_spares == "products":  # of q, k, v, o, gate, up and down
        kv = shape.num_key_value_heads * shape.head_width
        kept += low * (width + 2 * kv + 2 * shape.intermediate_size + 2 * shape.hidden_size)
    return shape.num_hidden_layers * tokens * kept + AT_WORK * layer


def logits_bytes(settings: TrainSettings, shape: Architecture, tokens: int) -> float:
    """Bytes of logits: all of a pass (low precision, float32, gradient), or of a chunk."""
    full = 12.0 * tokens * shape.vocab_size
    return full if settings.logits == "full" else min(full, CHUNKED_LOGITS)


def checkpoint_bytes(settings: TrainSettings, shape: Architecture) -> float:
    """Bytes of one checkpoint on disk: weights, AdamW's states, and DeepSpeed's masters."""
    trained = lora_parameters(settings.lora, shape) or shape.parameters
    if isinstance(settings, DeepspeedZero3):
        return _low(settings) * shape.parameters + 12.0 * trained
    return 4.0 * shape.parameters + adam_bytes(settings) * trained


def adam_bytes(settings: TrainSettings) -> float:
    """Of AdamW's two states, per parameter; of 8 bits a float32 scale for 256 of them besides."""
    return 8.0 if settings.optimizer_states == "float32" else 2 * (1.0 + 4.0 / 256)


def lora_parameters(lora: Lora, shape: Architecture) -> int:
    """Trainable parameters of adapters on the named layers; 0: no adapters."""
    d, f = shape.hidden_size, shape.intermediate_size
    q = shape.num_attention_heads * shape.head_width
    kv = shape.num_key_value_heads * shape.head_width
    sums = {"q_proj": d + q, "k_proj": d + kv, "v_proj": d + kv, "o_proj": q + d}
    sums |= {"gate_proj": d + f, "up_proj": d + f, "down_proj": f + d}
    widths = sum(sums.get(name, 0) for name in lora.target_modules)
    return lora.rank * shape.num_hidden_layers * widths
