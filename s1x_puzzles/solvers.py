"""The two solver models of the laptop world and their verdicts on the pool's questions.

s1 drops what Qwen2.5-7B or -32B answers right (section 2.2 of the paper). Here the solvers are two
checkpoints of ``puzzle_base``, an earlier one (small) and the last one (large). Each is asked every
question of the pool once, in raw form and for the answer directly, and answers greedily. The
verdicts are shipped, since asking takes about a minute; this module makes them anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from s1x_puzzles.corpus import direct_prompt
from s1x_puzzles.puzzles_59k import Puzzles59k, question_hash, store_verdicts

MAX_PROMPTS_PER_BATCH = 256


def write_verdicts(
    small_folder: Path,
    large_folder: Path,
    path: Path,
    pool: Puzzles59k | None = None,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Asks both solvers all questions of a pool (by default the seed-0 pool) and stores the
    verdicts."""
    say = progress or (lambda _: None)
    solutions = {
        str(row["question"]): str(row["solution"]) for row, _ in (pool or Puzzles59k()).generate()
    }
    questions = list(solutions)
    right = []
    for name, folder in (("solver_small", small_folder), ("solver_large", large_folder)):
        answers = answer_directly(folder, questions)
        right.append([answers[question] == solutions[question] for question in questions])
        say(f"{name} answers {sum(right[-1])} of {len(questions)} questions right")
    small, large = right
    store_verdicts({question_hash(q): (small[i], large[i]) for i, q in enumerate(questions)}, path)
    return path


def answer_directly(folder: Path, questions: list[str]) -> dict[str, str]:
    """The model's greedy answer to each question, without a search; an answer is one token.

    Prompts of one length share a batch, so nothing is padded.
    """
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    model = AutoModelForCausalLM.from_pretrained(str(folder))  # in evaluation mode
    prompts = tokenizer([direct_prompt(question) for question in questions])["input_ids"]
    by_length: dict[int, list[int]] = defaultdict(list)
    for place, ids in enumerate(prompts):
        by_length[len(ids)].append(place)
    answers: dict[str, str] = {}
    with torch.inference_mode():
        for places in by_length.values():
            for start in range(0, len(places), MAX_PROMPTS_PER_BATCH):
                batch = places[start : start + MAX_PROMPTS_PER_BATCH]
                ids_BT = torch.tensor([prompts[place] for place in batch])
                logits_BV = model(input_ids=ids_BT, logits_to_keep=1).logits[:, -1]
                for place, token_id in zip(batch, logits_BV.argmax(-1).tolist(), strict=True):
                    answers[questions[place]] = str(tokenizer.decode(token_id))
    return answers
