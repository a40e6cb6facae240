r"""A whole curve against lm-evaluation-harness as its users run it: one run a budget (Speed 5).

    pip install --target /tmp/lm-eval --no-deps lm-eval==0.4.13 evaluate pytablewriter sacrebleu \
        DataProperty mbstrdecoder pathvalidate tabledata tcolorpy typepy rouge-score lxml nltk \
        scikit-learn scipy threadpoolctl narwhals sqlitedict word2number more_itertools tabulate \
        portalocker colorama
    PYTHONPATH=/tmp/lm-eval python benchmarks/lm_eval_peer.py --model FOLDER [--prompts 128]

FOLDER is a fine-tuned model (outputs/train/... of the main job). Same weights, float32, threads,
puzzles, prompts and limits, greedy, in one process; loading is counted for neither. The harness
cannot force the end of thinking: its limit is the budget and the answer's tokens together, and a
trace that reaches it has no answer. Its batch size is tried at several values, the best counts.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import workload

from s1x.benchmark.problem import Problem
from s1x.budget.budget_forcing import BudgetForcing
from s1x.console import say
from s1x.evaluate.answers import Prompts
from s1x.model.chat_format import Chat
from s1x.model.model import Model
from s1x_puzzles.puzzles import Puzzles

LIMITS = tuple(range(32, 257, 32))
ANSWER_TOKENS = 16


def task_of(questions: Sequence[Problem], chats: Sequence[Chat], stop: str) -> dict[str, Any]:
    """The harness's description of the same questions in the same format."""
    file = Path(tempfile.mkdtemp(prefix="s1x-lm-eval-")) / "questions.jsonl"
    rows = [
        {"prompt": chat.decode(chat.prompt_ids), "answer": question.answer}
        for question, chat in zip(questions, chats, strict=True)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {
        "task": "puzzles",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(file)}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": [stop], "do_sample": False},
        "filter_list": [
            {
                "name": "answer",
                "filter": [
                    {"function": "regex", "regex_pattern": r"Answer: *(-?\d+)"},
                    {"function": "take_first"},
                ],
            }
        ],
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "num_fewshot": 0,
    }


@dataclass
class Curve:
    """What the harness took for all budgets.

    Attributes:
        wall_seconds: of its runs.
        writing_seconds: of it, inside the model's `generate_until`; the rest is tasks, metrics and
            what it notes of the machine.
        accuracies: of each budget in %.
    """

    wall_seconds: float = 0.0
    writing_seconds: float = 0.0
    accuracies: list[float] = field(default_factory=list)


def curve_by_harness(path: Path, task: dict[str, Any], batch: int) -> Curve:
    """One run a budget."""
    import torch
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    curve = Curve()

    class Timed(HFLM):
        def generate_until(self, *arguments: Any, **options: Any) -> list[str]:
            begun = time.perf_counter()
            texts: list[str] = super().generate_until(*arguments, **options)
            curve.writing_seconds += time.perf_counter() - begun
            return texts

    network = Timed(
        str(path), device="cpu", dtype=torch.float32, batch_size=batch, add_bos_token=False
    )
    for limit in LIMITS:
        begun = time.perf_counter()
        found = simple_evaluate(
            network,
            tasks=[task],
            gen_kwargs={"max_gen_toks": limit + ANSWER_TOKENS},
            bootstrap_iters=0,
        )
        curve.wall_seconds += time.perf_counter() - begun
        curve.accuracies.append(100 * found["results"]["puzzles"]["exact_match,answer"])
    return curve


def main() -> None:
    """Measures and tells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of a fine-tuned model")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128])
    options = parser.parse_args()
    model = Model(name="m", path=str(options.model), dtype="float32", context_tokens=512)
    questions = Puzzles(split="hard", num_problems=options.prompts).load()
    prompts = Prompts(model, "thinking")
    points = [
        BudgetForcing(
            max_thinking_tokens=limit,
            max_answer_tokens=ANSWER_TOKENS,
            answer_reserve_tokens=ANSWER_TOKENS,
        )
        for limit in LIMITS
    ]
    chats = [prompts.chat(points[0], question) for question in questions]

    live = workload.start(argparse.Namespace(engine="transformers", batch=None), model)
    ours = workload.evaluate(live, model, questions, points, chats=chats)
    workload.finish()
    task = task_of(questions, chats, model.end_of_turn)
    theirs = {batch: curve_by_harness(options.model, task, batch) for batch in options.batches}

    texts = [prompts.format.decode(trace) for trace in ours.traces]
    right = [
        re.findall(r"Answer: *(-?\d+)", text)[-1:] == [question.answer]
        for text, question in zip(texts, (q for q in questions for _ in points), strict=True)
    ]
    shown = [100 * sum(right[i :: len(LIMITS)]) / len(questions) for i in range(len(LIMITS))]
    say(f"{len(questions)} puzzles, limits {LIMITS}, greedy, float32")
    say(f"s1x, one pass: {ours.wall_seconds:.1f} s, {ours.generated_tokens} tokens")
    say("  accuracy % " + ", ".join(f"{value:.0f}" for value in shown))
    for batch, curve in theirs.items():
        say(
            f"lm-evaluation-harness, {len(LIMITS)} runs, batch {batch}: {curve.wall_seconds:.1f} s,"
        )
        say(f"  {curve.writing_seconds:.1f} s of it writing")
        say("  accuracy % " + ", ".join(f"{value:.0f}" for value in curve.accuracies))
    wall = min(curve.wall_seconds for curve in theirs.values())
    writing = min(curve.writing_seconds for curve in theirs.values())
    say(f"wall time {wall / ours.wall_seconds:.2f} times less")
    say(f"against its writing alone {writing / ours.wall_seconds:.2f} times less")


if __name__ == "__main__":
    main()
