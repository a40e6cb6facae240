"""A random two-layer model with the puzzle world's tokenizer, as a folder."""

from __future__ import annotations

import json
from pathlib import Path

from s1x.model.model import Model


def write_tiny_model(folder: Path, seed: int = 0) -> Model:
    """Saves the model; its greedy traces do not repeat themselves at once."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from s1x_puzzles.tokenizer import save_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(folder)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary) + 3,  # padded, as real ones are
        hidden_size=64,
        num_hidden_layers=2,
        intermediate_size=64,
        num_attention_heads=2,  # of size 32, the smallest that vLLM's CPU build takes
        num_key_value_heads=1,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.25,
    )
    network = LlamaForCausalLM(config)
    with torch.no_grad():
        network.lm_head.weight[-3:] *= 9  # ids that are no tokens, and tempting
    network.save_pretrained(folder)
    return Model(
        name="tiny", path=str(folder), dtype="float32", context_tokens=256, pad_token="<|fim_pad|>"
    )
