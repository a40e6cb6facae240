"""Pretrains the embedded base model of the laptop scale from scratch: a plain torch loop.

    python run.py +experiment=puzzle_base            # about three quarters of an hour on one core

The model is a Llama of 0.84M parameters, so that transformers and vLLM load it like its big
relatives. Muon updates the matrices, AdamW the rest. Batches are a function of (seed, step): a run
that was killed goes on from its last checkpoint and ends with the model that an uninterrupted run
gives.

Shapes: B documents of a batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from s1x.errors import SettingError
from s1x.option import Option, setting
from s1x_puzzles.corpus import Document, draw_document
from s1x_puzzles.puzzles_59k import VERDICTS_FILE
from s1x_puzzles.solvers import write_verdicts
from s1x_puzzles.tokenizer import END_OF_TEXT, build_tokenizer

Progress = Callable[[str], None]
Encoded = tuple[list[int], list[bool]]
"""Token ids of a text, and for each whether the loss counts there."""

CHECKPOINT = "checkpoint.pt"
SMALL_SOLVER = "solver_small"
BATCHES_PER_BUNDLE = 32
"""Batches drawn together."""
NUM_DOCUMENTS_TO_FIND_UNSEEN = 10_000
"""A token that is in none of N documents counts as not in the corpus."""
TOKENS_PER_ROW = 256
"""Documents are joined into rows of at most this length."""


@dataclass(frozen=True)
class PretrainSettings(Option):
    """Settings of the pretraining of ``puzzle_base``."""

    seed: int = setting(0, "of the weights and of the corpus", at_least=0)
    num_steps: int = setting(6000, "optimizer steps", at_least=1)
    documents_per_batch: int = setting(64, "documents a step, about 2,700 tokens", at_least=1)
    matrix_learning_rate: float = setting(
        6e-3, "of Muon, for the blocks' matrices (update RMS matched to AdamW's)", above=0
    )
    learning_rate: float = setting(3e-3, "of AdamW, for embeddings, norms and biases", above=0)
    warmup_steps: int = setting(100, "linear warm-up; then linear decay to zero", at_least=1)
    checkpoint_every_steps: int = setting(250, "a killed run loses at most these", at_least=1)
    small_solver_fraction: float = setting(
        0.7, "share of the steps after which solver_small is kept", above=0, at_most=1
    )
    hidden_size: int = setting(128, "width of the model", at_least=8)
    intermediate_size: int = setting(384, "width of the feed-forward layers", at_least=8)
    num_layers: int = setting(4, "number of blocks", at_least=1)
    num_heads: int = setting(4, "query heads; half as many key-value heads", at_least=2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_heads % 2 or self.hidden_size % (2 * self.num_heads):
            must = "even, and a divisor of half of hidden_size"
            raise SettingError("num_heads", must, self.num_heads)

    def run(self, folder: Path, progress: Progress | None = None) -> Path:
        """The stage `pretrain`: see `pretrain`."""
        return pretrain(self, folder, progress)


def pretrain(settings: PretrainSettings, folder: Path, progress: Progress | None = None) -> Path:
    """Trains the model, then asks it the pool's questions; resumes a run that was killed.

    The folder, which is returned, receives the model's Hugging Face files, ``solver_small/`` (the
    weights at an earlier step) and the verdicts of both on the pool's questions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    say = progress or (lambda _: None)
    tokenizer = build_tokenizer()
    torch.manual_seed(settings.seed)
    model = build_model(settings, len(tokenizer))
    optimizers = _optimizers(model, settings)
    first_step = _resume(folder, settings, model, optimizers)
    start = time.monotonic()
    smooth: float | None = None
    for step, (ids_BT, counts_BT) in _batches(settings, tokenizer, first_step):
        _set_learning_rates(optimizers, settings, step)
        hidden = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
        logits_NV = model.lm_head(hidden[:, :-1][counts_BT[:, 1:]])
        loss = cross_entropy(logits_NV.float(), ids_BT[:, 1:][counts_BT[:, 1:]])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        done = step + 1
        value = float(loss.detach())
        smooth = value if smooth is None else 0.95 * smooth + 0.05 * value
        if done % 50 == 0:
            minutes_per_step = (time.monotonic() - start) / (done - first_step) / 60
            left = minutes_per_step * (settings.num_steps - done)
            say(f"step {done}/{settings.num_steps}, loss {smooth:.3f}, {left:.1f} min left")
        if done == int(settings.num_steps * settings.small_solver_fraction):
            _save_model(model, tokenizer, folder / SMALL_SOLVER)
        if done % settings.checkpoint_every_steps == 0 and done < settings.num_steps:
            _save_checkpoint(folder, settings, done, model, optimizers)
    _settle_unseen_tokens(model, tokenizer)
    _save_model(model, tokenizer, folder)
    write_verdicts(folder / SMALL_SOLVER, folder, folder / VERDICTS_FILE.name, progress=progress)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return folder


def build_model(settings: PretrainSettings, vocab_size: int) -> LlamaForCausalLM:
    """The untrained model: Llama with tied embeddings."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=settings.hidden_size,
        intermediate_size=settings.intermediate_size,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        num_key_value_heads=settings.num_heads // 2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)  # type: ignore[no-untyped-call]


def encode_documents(
    documents: list[Document], tokenizer: PreTrainedTokenizerFast
) -> list[Encoded]:
    """The documents in tokens, segment by segment."""
    texts = [text for document in documents for text, _ in document]
    encoded = iter(tokenizer(texts, add_special_tokens=False)["input_ids"])
    rows = []
    for document in documents:
        tokens = [(token, counts) for _, counts in document for token in next(encoded)]
        rows.append(([token for token, _ in tokens], [counts for _, counts in tokens]))
    return rows


def _batches(
    settings: PretrainSettings, tokenizer: PreTrainedTokenizerFast, first_step: int
) -> Iterator[tuple[int, tuple[torch.Tensor, torch.Tensor]]]:
    """Yields (step, batch) from ``first_step`` on; a batch depends on seed and step alone."""
    num_bundles = math.ceil(settings.num_steps / BATCHES_PER_BUNDLE)
    for bundle in range(first_step // BATCHES_PER_BUNDLE, num_bundles):
        rng = random.Random(f"{settings.seed}:{bundle}")
        size = settings.documents_per_batch
        documents = [draw_document(rng) for _ in range(BATCHES_PER_BUNDLE * size)]
        rows = _pack(encode_documents(documents, tokenizer))
        per_batch = math.ceil(len(rows) / BATCHES_PER_BUNDLE)
        for offset in range(BATCHES_PER_BUNDLE):
            step = bundle * BATCHES_PER_BUNDLE + offset
            batch = rows[offset * per_batch : (offset + 1) * per_batch] or rows[-per_batch:]
            if first_step <= step < settings.num_steps:
                yield step, _pad(batch, tokenizer.pad_token_id)


def _pack(documents: list[Encoded]) -> list[Encoded]:
    """Joins documents into rows, so that what is asked stands at any place and not only first.

    A model that has seen questions only at the start of a text is lost in a chat template.
    """
    rows: list[Encoded] = [([], [])]
    for ids, counts in documents:
        if len(rows[-1][0]) + len(ids) > TOKENS_PER_ROW:
            rows.append(([], []))
        rows[-1][0].extend(ids)
        rows[-1][1].extend(counts)
    return rows


def _pad(batch: list[Encoded], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and loss mask; with causal attention no real token sees the padding."""
    width = max(len(ids) for ids, _ in batch)
    ids_BT = torch.tensor([ids + [pad_id] * (width - len(ids)) for ids, _ in batch])
    counts_BT = torch.tensor([counts + [False] * (width - len(counts)) for _, counts in batch])
    return ids_BT, counts_BT


def _optimizers(model: LlamaForCausalLM, settings: PretrainSettings) -> list[torch.optim.Optimizer]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    chosen = set(map(id, matrices))
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(
            matrices,
            lr=settings.matrix_learning_rate,
            weight_decay=0.0,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(others, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def _set_learning_rates(
    optimizers: list[torch.optim.Optimizer], settings: PretrainSettings, step: int
) -> None:
    """Linear warm-up, then linear decay to zero."""
    share = min((step + 1) / settings.warmup_steps, 1.0) * (1 - step / settings.num_steps)
    peaks = (settings.matrix_learning_rate, settings.learning_rate)
    for optimizer, peak in zip(optimizers, peaks, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = peak * share


def _settle_unseen_tokens(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Gives tokens that are not in the corpus the mean embedding and a little noise.

    With tied embeddings the softmax pushes all of them to one and the same long vector, and SFT
    would have to tell "user" from "think" first.
    """
    rng = random.Random(0)
    documents = [draw_document(rng) for _ in range(NUM_DOCUMENTS_TO_FIND_UNSEEN)]
    seen = {token for ids, _ in encode_documents(documents, tokenizer) for token in ids}
    embedding: torch.Tensor = model.model.embed_tokens.weight
    unseen = [token for token in range(embedding.shape[0]) if token not in seen]
    noise = torch.randn(len(unseen), embedding.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embedding[unseen] = embedding[sorted(seen)].mean(0) + 0.02 * noise


def _save_model(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes the Hugging Face folder; generation ends at the end of a turn or of a text."""
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(END_OF_TEXT)]
    for config in (model.config, model.generation_config):
        config.eos_token_id, config.pad_token_id = ends, tokenizer.pad_token_id
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def _save_checkpoint(
    folder: Path,
    settings: PretrainSettings,
    step: int,
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
) -> None:
    """Writes beside, then renames: a checkpoint that exists is whole."""
    state = {
        "settings": asdict(settings),
        "step": step,
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    beside = folder / f"{CHECKPOINT}.part"
    torch.save(state, beside)
    os.replace(beside, folder / CHECKPOINT)


def _resume(
    folder: Path,
    settings: PretrainSettings,
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
) -> int:
    """Loads the checkpoint of a killed run with these settings; returns the step to go on from."""
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    if state["settings"] != asdict(settings):
        return 0
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["step"])
