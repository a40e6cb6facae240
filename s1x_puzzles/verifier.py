"""Trains `puzzle_verifier`, a process reward model of the puzzle world, from the embedded base.

    python run.py +experiment=puzzle_verifier pretrain.policy_path=outputs/train/<fingerprint>/model

A fine-tuned model writes traces at temperature 1 on questions of the pool's kind (never those held
out for benchmarks); whether a trace ended right is the label of each of its prefixes (one Monte
Carlo sample, as in Math-Shepherd). The base, with two classes for a head, learns to tell. Half of
the questions at the end are kept apart, to say how good it is.

Shapes: B traces of a batch, T tokens.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForTokenClassification,
    PreTrainedTokenizerBase,
)

from s1x.errors import UserError
from s1x.model.chat import thinking_prompt_ids
from s1x.model.model import Model
from s1x.option import Option, setting
from s1x_puzzles.families import LEVELS, TRAINED_FAMILIES, Puzzle, draw_puzzle
from s1x_puzzles.pretrain import Progress

BASE = "package:s1x_puzzles/puzzle_base"
TRACES_WRITTEN_AT_ONCE, TRACES_PER_BATCH = 512, 64
MAX_NEW_TOKENS = 256
NUM_CHECKED = 2_000
"""Traces on questions of their own, for the figures of the card."""
PAD_LABEL = -100


@dataclass(frozen=True)
class Written:
    """A trace: the prompt's and the model's tokens, and whether its answer was right."""

    prompt_ids: list[int]
    ids: list[int]
    right: bool
    level: str


@dataclass(frozen=True)
class VerifierSettings(Option):
    """Settings of the training of ``puzzle_verifier``."""

    policy_path: str = setting(
        "???", "folder of the model that writes the traces: outputs/train/<fingerprint>/model"
    )
    seed: int = setting(0, "of questions, samples and batches", at_least=0)
    num_traces: int = setting(10_000, "traces learnt from", at_least=100)
    epochs: int = setting(4, "passes over them", at_least=1)
    learning_rate: float = setting(1e-3, "peak, of AdamW; linear decay to zero", above=0)

    def run(self, folder: Path, progress: Progress | None = None) -> Path:
        """The stage `pretrain`: writes the model, its tokenizer and `quality.json`."""
        say = progress or (lambda _: None)
        torch.manual_seed(self.seed)
        policy = Model(path=self.policy_path, dtype="float32")
        written = write_traces(policy, self.num_traces + NUM_CHECKED, self.seed, say)
        learnt, checked = written[:-NUM_CHECKED], written[-NUM_CHECKED:]
        base = Model(path=BASE, dtype="float32")
        net = LlamaForTokenClassification.from_pretrained(
            base.source(), num_labels=2, dtype=torch.float32
        )
        _train(net, learnt, self, say)
        quality = {**quality_of(net, checked), "traces_learnt_from": len(learnt)}
        net.save_pretrained(str(folder))
        AutoTokenizer.from_pretrained(base.source()).save_pretrained(str(folder))
        (folder / "quality.json").write_text(json.dumps(quality, indent=1), encoding="utf-8")
        say(json.dumps(quality))
        return folder


def write_traces(policy: Model, count: int, seed: int, say: Progress) -> list[Written]:
    """Traces of a fine-tuned model at temperature 1, each on a question of its own."""
    tokenizer = AutoTokenizer.from_pretrained(policy.source())
    try:
        net = AutoModelForCausalLM.from_pretrained(policy.source(), dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise UserError(f"pretrain.policy_path {policy.path} holds no model ({error})") from error
    rng = random.Random(f"verifier:{seed}")
    puzzles = list(_puzzles(rng, count).values())
    found: list[Written] = []
    begun = time.monotonic()
    for start in range(0, count, TRACES_WRITTEN_AT_ONCE):
        batch = puzzles[start : start + TRACES_WRITTEN_AT_ONCE]
        found += _written(net, tokenizer, policy, batch)
        left = (time.monotonic() - begun) / len(found) * (count - len(found)) / 60
        if start // TRACES_WRITTEN_AT_ONCE % 4 == 0:
            say(f"{len(found):,} of {count:,} traces, {left:.1f} min left")
    return found


def _puzzles(rng: random.Random, count: int) -> dict[str, Puzzle]:
    found: dict[str, Puzzle] = {}
    while len(found) < count:
        puzzle = draw_puzzle(rng.choice(TRAINED_FAMILIES), rng.choice(LEVELS), rng)
        found.setdefault(puzzle.question, puzzle)
    return found


@torch.inference_mode()
def _written(
    net: Any, tokenizer: PreTrainedTokenizerBase, policy: Model, puzzles: Sequence[Puzzle]
) -> list[Written]:
    prompts = [thinking_prompt_ids(tokenizer, policy, puzzle.question) for puzzle in puzzles]
    width = max(map(len, prompts))
    pad = int(tokenizer.pad_token_id or 0)
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    out = net.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        max_new_tokens=MAX_NEW_TOKENS,
    )[:, width:].tolist()
    end = tokenizer.get_vocab()["<|im_end|>"]
    found = []
    for puzzle, prompt, row in zip(puzzles, prompts, out, strict=True):
        own = row[: row.index(end)] if end in row else row
        answer = str(tokenizer.decode(own)).rpartition("Answer:")[2].split()
        right = end in row and answer[:1] == [str(puzzle.answer)]
        found.append(Written(prompt, own, right, puzzle.level))
    return found


def _train(
    net: LlamaForTokenClassification,
    written: Sequence[Written],
    settings: VerifierSettings,
    say: Progress,
) -> None:
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, betas=(0.9, 0.95))
    rng = random.Random(settings.seed)
    steps = -(-len(written) // TRACES_PER_BATCH) * settings.epochs
    done = 0
    for _ in range(settings.epochs):
        # traces of like length share a batch; the order of batches is at random
        order = sorted(range(len(written)), key=lambda i: (len(written[i].ids), i))
        batches = [order[i : i + TRACES_PER_BATCH] for i in range(0, len(order), TRACES_PER_BATCH)]
        rng.shuffle(batches)
        for batch in batches:
            ids_BT, labels_BT = _padded([written[i] for i in batch])
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * (1 - done / steps)
            logits = net(input_ids=ids_BT).logits
            loss = cross_entropy(logits.flatten(0, 1), labels_BT.flatten(), ignore_index=PAD_LABEL)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            done += 1
            if done % 20 == 0:
                say(f"step {done} of {steps}, loss {float(loss.detach()):.3f}")


def _padded(written: Sequence[Written]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids, and the label at each token of a trace; causal attention never sees the padding."""
    width = max(len(w.prompt_ids) + len(w.ids) for w in written)
    ids, labels = [], []
    for w in written:
        rest = width - len(w.prompt_ids) - len(w.ids)
        ids.append([*w.prompt_ids, *w.ids, *[0] * rest])
        own = [int(w.right)] * len(w.ids)
        labels.append([*[PAD_LABEL] * len(w.prompt_ids), *own, *[PAD_LABEL] * rest])
    return torch.tensor(ids), torch.tensor(labels)


@torch.inference_mode()
def quality_of(net: LlamaForTokenClassification, written: Sequence[Written]) -> dict[str, object]:
    """How well prefixes of a quarter, a half, three quarters and the whole tell right from wrong.

    AUC: how often a right trace scores higher than a wrong one.
    """
    shares = (0.25, 0.5, 0.75, 1.0)
    scores: dict[float, list[float]] = {share: [] for share in shares}
    for start in range(0, len(written), TRACES_PER_BATCH):
        batch = written[start : start + TRACES_PER_BATCH]
        out = torch.softmax(net(input_ids=_padded(batch)[0]).logits, dim=-1)[:, :, 1]
        for row, w in zip(out, batch, strict=True):
            for share in shares:
                place = len(w.prompt_ids) + max(1, round(share * len(w.ids))) - 1
                scores[share].append(float(row[place]))
    right = [w.right for w in written]
    hard = [i for i, w in enumerate(written) if w.level == "hard"]
    return {
        "num_traces": len(written),
        "share_right": sum(right) / len(right),
        "auc": {f"{s:.0%}": round(_auc(scores[s], right), 4) for s in shares},
        "auc_hard_whole": round(_auc([scores[1.0][i] for i in hard], [right[i] for i in hard]), 4),
    }


def _auc(scores: Sequence[float], right: Sequence[bool]) -> float:
    """Area under the ROC curve by ranks; ties count half."""
    ranks = torch.tensor(scores, dtype=torch.float64)
    good = ranks[torch.tensor(right)]
    bad = ranks[~torch.tensor(right)]
    higher = (good[:, None] > bad[None, :]).double().mean()
    equal = (good[:, None] == bad[None, :]).double().mean()
    return float(higher + equal / 2)
