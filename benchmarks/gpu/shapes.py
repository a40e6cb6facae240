"""Random models in published shapes, and samples as long as s1K's."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from rank_balance import lengths_of
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, Qwen2Config

from s1x.model.architecture import Architecture
from s1x.model.load import empty_causal_lm
from s1x.model.model import Model
from s1x.train.rank.placement import Placement
from s1x.train.samples import Sample, SampleSet
from s1x_puzzles.tokenizer import save_tokenizer

#: config.json of Qwen2.5-Instruct by size: width, layers, feed-forward width, heads, key-value
#: heads, vocabulary, and whether the head is the embedding
PUBLISHED = {
    "0.5B": Architecture(896, 24, 4864, 14, 2, 151936, True),
    "1.5B": Architecture(1536, 28, 8960, 12, 2, 151936, True),
    "7B": Architecture(3584, 28, 18944, 28, 4, 152064, False),
}
#: of a rehearsal
TINY = Architecture(128, 2, 256, 2, 1, 512, True)  # heads of 64: vLLM on CPUs takes none below 32

#: rows by tokens of their trace, s1's published histogram of s1K (visuals/s11/traces.pdf)
S1K_COUNTS = (14, 42, 23, 20, 16, 34, 72, 136, 159, 197, 167, 53, 49, 14, 4)
S1K_FIRST, S1K_BIN = 356.0, 517.6
#: ids of random samples lie within the puzzle world's words
WORDS = (10, 400)


def s1k_lengths(count: int, divisor: int = 1) -> list[int]:
    """Tokens of `count` samples, drawn from the histogram (traces; no question or attempt)."""
    bins = [
        {"x0": S1K_FIRST + i * S1K_BIN, "x1": S1K_FIRST + (i + 1) * S1K_BIN, "count": rows}
        for i, rows in enumerate(S1K_COUNTS)
    ]
    lengths = lengths_of(bins, seed=0)
    random.Random(0).shuffle(lengths)
    return [max(16, n // divisor) for n in lengths[:count]]


def random_samples(lengths: Sequence[int]) -> SampleSet:
    """Samples of random words; the loss leaves out an eighth of each, at most 128 tokens."""
    rng = random.Random(0)
    samples = [
        Sample(row, [rng.randrange(*WORDS) for _ in range(n)], min(128, n // 8))
        for row, n in enumerate(lengths)
    ]
    return SampleSet.of(samples, {"rows": len(samples), "samples": len(samples)})


def write_config(
    folder: Path, shape: Architecture, context_tokens: int = 32_768, spread: float = 0.02
) -> Model:
    """A model folder with the puzzle world's tokenizer and no weights; `spread`: of random ones."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(folder)
    vocabulary = AutoTokenizer.from_pretrained(folder)
    numbers = {name: value for name, value in vars(shape).items() if value is not None}
    for derived in ("attention_bias", "qk_norm"):
        numbers.pop(derived)
    Qwen2Config(
        **numbers,
        max_position_embeddings=context_tokens,
        rope_theta=1_000_000.0,
        initializer_range=spread,
        eos_token_id=vocabulary.eos_token_id,
        architectures=["Qwen2ForCausalLM"],
    ).save_pretrained(folder)
    return Model(name="random", path=str(folder), context_tokens=context_tokens)


def write_weights(model: Model, dtype: str, device: str) -> None:
    """Random weights into the folder of `write_config`; drawn on the device, which is quick."""
    torch.manual_seed(0)
    with torch.device(device):
        network = empty_causal_lm(model, dtype, "sdpa")
    network.save_pretrained(model.path)
    del network
    if device == "cuda":
        torch.cuda.empty_cache()


def random_network(model: Model, dtype: str, attention: str, device: str) -> PreTrainedModel:
    """The model of a folder with weights, ready for `generate`."""
    network: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        model.path, dtype=dtype, attn_implementation=attention
    )
    torch.nn.Module.to(network, device)
    return network.eval()


class RandomPlacement(Placement):
    """One device; the weights are drawn there, not read: 7B would take minutes to write."""

    def load(self) -> PreTrainedModel:
        """The causal LM with random weights, already on the device."""
        torch.manual_seed(0)
        with self.devices[0]:
            return empty_causal_lm(self.job.model, self.load_dtype, self.attention)
