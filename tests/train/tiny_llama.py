"""A tiny Llama with a byte-level tokenizer, and rows to train it on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SPECIAL = ["<|im_start|>", "<|im_end|>", "<|fim_pad|>", "<|endoftext|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_tokenizer() -> Any:
    """One token a byte, and the special tokens of Qwen's format."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: index for index, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|fim_pad|>",
        additional_special_tokens=SPECIAL,
    )
    fast.chat_template = TEMPLATE
    return fast


def tiny_config(**changes: Any) -> Any:
    from transformers import LlamaConfig

    numbers = {
        "vocab_size": 264,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "attention_bias": True,
    }
    return LlamaConfig(**{**numbers, **changes})


def write_model(folder: Path, **changes: Any) -> Path:
    """A random model with these changes to the configuration, as a folder."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config(**changes)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def rows(count: int) -> list[dict[str, str]]:
    """Questions with traces of different lengths."""
    made = []
    for n in range(count):
        trace = "\n".join(f"{k} > {(k * n) % 7}" for k in range(1 + n % 6))
        made.append(
            {"question": f"what is {n} times 3", "reasoning_trace": trace, "attempt": str(n * 3)}
        )
    return made


def puzzle_rows(count: int) -> list[dict[str, str]]:
    """Questions of the puzzle world with their teacher's traces."""
    import random

    from s1x_puzzles.families import LEVELS, TRAINED_FAMILIES, draw_puzzle
    from s1x_puzzles.teacher import write_trace

    rng = random.Random(0)
    made = []
    for _ in range(count):
        puzzle = draw_puzzle(rng.choice(TRAINED_FAMILIES), rng.choice(LEVELS), rng)
        trace = write_trace(puzzle, rng)
        made.append(
            {
                "question": puzzle.question,
                "reasoning_trace": trace.text,
                "attempt": f"Answer: {trace.answer}",
            }
        )
    return made


def write_rows(path: Path, made: list[dict[str, str]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(made), path)
    return path


def sentencepiece_tokenizer() -> Any:
    """A Llama-like tokenizer: SentencePiece's leading space, control tokens among the words."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    words += [chr(code) for code in range(33, 127)]
    vocab = {word: index for index, word in enumerate(words)}
    model = models.BPE(vocab=vocab, merges=[], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    tokenizer.add_tokens([AddedToken("</think>", special=False, normalized=False)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}<s>[SYS] {{ m['content'] | trim }}"
        "{% elif m['role'] == 'user' %}[INST] {{ m['content'] | trim }} [/INST]"
        "{% else %}{{ m['content'] | trim }}</s>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<think>\n{% endif %}"
    )
    return fast
