"""The embedded base model: it loads as any Hugging Face model, and knows what it should."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from s1x_puzzles import pretrain as module
from s1x_puzzles.corpus import draw_document, search_prompt
from s1x_puzzles.pretrain import CHECKPOINT, PretrainSettings, pretrain
from s1x_puzzles.puzzles import held_out_puzzles
from s1x_puzzles.puzzles_59k import Puzzles59k
from s1x_puzzles.solvers import answer_directly, write_verdicts
from s1x_puzzles.teacher import attempt_line
from s1x_puzzles.tokenizer import vocabulary

SHIPPED = Path(__file__).parents[2] / "s1x_puzzles" / "puzzle_base"
TINY = PretrainSettings(
    num_steps=6,
    documents_per_batch=4,
    checkpoint_every_steps=2,
    hidden_size=16,
    intermediate_size=16,
    num_layers=1,
    num_heads=2,
)


def test_the_model_is_a_llama_of_about_a_million_parameters() -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(SHIPPED))
    assert type(model).__name__ == "LlamaForCausalLM"
    assert 0.8e6 < sum(p.numel() for p in model.parameters()) < 1.2e6
    config = json.loads((SHIPPED / "config.json").read_text())
    assert config["vocab_size"] == len(vocabulary())


def test_it_calculates_held_out_searches() -> None:
    """Next-token accuracy over the attempts of held-out hard questions."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(SHIPPED))
    model = AutoModelForCausalLM.from_pretrained(str(SHIPPED)).eval()
    right = total = 0
    for puzzle in held_out_puzzles("hard", 60):
        prompt = tokenizer(search_prompt(puzzle.question))["input_ids"]
        lines = "\n".join(attempt_line(attempt, puzzle.target) for attempt in puzzle.attempts)
        search = tokenizer(lines)["input_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + search])).logits[0]
        guesses = logits[len(prompt) - 1 : -1].argmax(-1).tolist()
        right += sum(guess == token for guess, token in zip(guesses, search, strict=True))
        total += len(search)
    assert right / total > 0.95


@pytest.mark.parametrize(("split", "low", "high"), [("easy", 0.15, 0.4), ("hard", 0.0, 0.2)])
def test_it_seldom_answers_directly(split: str, low: float, high: float) -> None:
    puzzles = held_out_puzzles(split, 300)
    answers = answer_directly(SHIPPED, [puzzle.question for puzzle in puzzles])
    right = sum(answers[puzzle.question] == str(puzzle.answer) for puzzle in puzzles)
    assert low <= right / 300 <= high


def test_the_corpus_has_no_chat_format_and_no_held_out_question() -> None:
    rng = random.Random(0)
    documents = [draw_document(rng) for _ in range(3000)]
    text = "".join(piece for document in documents for piece, _ in document)
    assert "<|im_start|>" not in text
    learnt = "".join(piece for document in documents for piece, has_loss in document if has_loss)
    assert "Wait" in text
    assert "Wait" not in learnt
    held_out = {p.question for split in ("easy", "hard") for p in held_out_puzzles(split, 300)}
    assert not held_out & set(text.split("\n"))


def test_a_killed_pretraining_ends_as_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    monkeypatch.setattr("s1x_puzzles.solvers.Puzzles59k", lambda: Puzzles59k(rows=1000))
    monkeypatch.setattr(module, "NUM_DOCUMENTS_TO_FIND_UNSEEN", 200)
    monkeypatch.setattr(module, "BATCHES_PER_BUNDLE", 4)
    pretrain(TINY, tmp_path / "whole")

    class KilledError(Exception):
        pass

    save = module._save_checkpoint

    def save_then_die(folder: Path, settings: PretrainSettings, step: int, *rest: object) -> None:
        save(folder, settings, step, *rest)  # type: ignore[arg-type]
        if step == 4:
            raise KilledError

    monkeypatch.setattr(module, "_save_checkpoint", save_then_die)
    with pytest.raises(KilledError):
        pretrain(TINY, tmp_path / "resumed")
    assert (tmp_path / "resumed" / CHECKPOINT).exists()
    monkeypatch.setattr(module, "_save_checkpoint", save)
    pretrain(TINY, tmp_path / "resumed")
    whole, resumed = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "resumed"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert (tmp_path / "resumed" / "solver_verdicts.parquet").exists()
    assert not (tmp_path / "resumed" / CHECKPOINT).exists()


def test_verdicts_are_a_models_own_answers(tmp_path: Path) -> None:
    import pyarrow.parquet

    pool = Puzzles59k(rows=1000, seed=9)
    write_verdicts(SHIPPED, SHIPPED, tmp_path / "verdicts.parquet", pool)
    columns = pyarrow.parquet.read_table(tmp_path / "verdicts.parquet").to_pydict()
    questions = {str(row["question"]) for row, _ in pool.generate()}
    assert len(columns["small"]) == len(questions)
    assert columns["small"] == columns["large"]
