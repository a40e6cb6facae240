"""Tokens/s through policy, scheduler and store against the bare engine's own batch (Speed 3).

    python benchmarks/engine_overhead.py [--engine vllm] [--prompts 64] [--batch 64]

The bare engine is transformers' `generate` on the same batch, left padded, or vLLM's own
`AsyncLLM.generate` on the same prompts, each answered once at its end, as `LLM.generate` does;
greedy, the same number of tokens for each. Seconds are of wall time.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import workload

from s1x.budget.budget_forcing import BudgetForcing
from s1x.console import say
from s1x.engine.live import run_in_loop
from s1x.model.load import load_tokenizer
from s1x.model.model import Model

TOKENS = 256


def bare_transformers(model: Model, prompts: list[list[int]]) -> float:
    """Tokens/s of `generate`."""
    import torch
    from transformers import AutoModelForCausalLM

    network: Any = AutoModelForCausalLM.from_pretrained(model.path).eval()
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    settings = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    network.generate(ids[:2], attention_mask=mask[:2], max_new_tokens=4, **settings)
    begun = time.perf_counter()
    network.generate(ids, attention_mask=mask, max_new_tokens=TOKENS, **settings)
    return len(prompts) * TOKENS / (time.perf_counter() - begun)


def bare_vllm(live: Any, prompts: list[list[int]]) -> float:
    """Tokens/s of `AsyncLLM.generate`."""
    from vllm import SamplingParams
    from vllm.inputs import tokens_input
    from vllm.sampling_params import RequestOutputKind

    parameters = SamplingParams(
        temperature=0,
        max_tokens=TOKENS,
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    workload.forget(live)

    async def one(index: int, ids: list[int]) -> None:
        prompt = tokens_input(prompt_token_ids=ids)
        async for _ in live.engine.generate(prompt, parameters, f"bare-{index}"):
            pass

    async def everything() -> None:
        await asyncio.gather(*(one(i, ids) for i, ids in enumerate(prompts)))

    begun = time.perf_counter()
    run_in_loop(everything())
    return len(prompts) * TOKENS / (time.perf_counter() - begun)


def main() -> None:
    """Measures and tells."""
    options = workload.arguments(__doc__.splitlines()[0]).parse_args()
    model = workload.make_model(options)
    live = workload.start(options, model)
    questions = workload.problems(options.prompts)
    tokenizer = load_tokenizer(model)
    prompts = [tokenizer(p.question, add_special_tokens=False)["input_ids"] for p in questions]
    point = BudgetForcing(
        max_thinking_tokens=TOKENS - 1, max_answer_tokens=1, answer_reserve_tokens=1
    )
    ours, bare = [], []
    for _ in range(options.rounds):
        with TemporaryDirectory() as folder:
            run = workload.evaluate(live, model, questions, [point], Path(folder), endless=True)
        ours.append(run.generated_tokens / run.wall_seconds)
        bare.append(
            bare_vllm(live, prompts)
            if options.engine == "vllm"
            else bare_transformers(model, prompts)
        )
    say(f"engine {options.engine}, {options.prompts} prompts x {TOKENS} tokens")
    say(f"bare engine:              {max(bare):.0f} tokens/s")
    say(f"policy, scheduler, store: {max(ours):.0f} tokens/s")
    say(f"share {max(ours) / max(bare):.3f}")
    workload.finish()


if __name__ == "__main__":
    main()
