"""The model card of a trained model: recipe, data, losses and cost, and what it is not."""

from __future__ import annotations

from typing import Any

from s1x.train.job import Job

CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [s1x, test-time-scaling, sft]
---

# {name}, fine-tuned to think

Supervised fine-tuning on reasoning traces with the recipe of s1 (arXiv 2501.19393). The assistant's
turn opens with `{start}`; the model ends its thinking by
`{end}`, and the answer follows `{answer}`.

| | |
|---|---|
{table}

Its abilities are those of the base model, brought out by few samples of narrow domains; evaluate it
on your own problems before you rely on it. The licences of the base model and of the rows apply.
"""


def model_card(job: Job, result: dict[str, Any]) -> str:
    """The README.md of the exported folder, in Markdown with the hub's metadata."""
    settings, model = job.settings, job.model
    counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in result["samples"].items())
    seconds = result["training_seconds"]
    cost = "unknown" if seconds is None else f"{seconds:.0f} s on {result['num_ranks']} rank(s)"
    numbers = {
        "base model": f"`{model.name}` ({model.path})",
        "samples": counts,
        "rows": f"SHA-256 `{result['rows_sha256']}`",
        "format": settings.format,
        "steps": f"{result['steps']} of {settings.batch_sequences} samples, "
        f"{settings.epochs} epochs",
        "optimizer": f"AdamW ({settings.beta1}, {settings.beta2}), learning rate "
        f"{settings.learning_rate:g}, {settings.warmup_fraction:.0%} warm-up, cosine to 0, weight "
        f"decay {settings.weight_decay:g} (not on norms and biases), "
        f"clipped at {settings.gradient_clip_norm:g}",
        "precision": f"{settings.precision}, exported as {settings.export_dtype}",
        "longest sample": f"{settings.max_sequence_tokens} tokens, overflow={settings.overflow}",
        "tokens": f"{result['tokens']:,}, of them {result['trained_tokens']:,} trained on",
        "loss": f"{_number(result['first_loss'])} at first, "
        f"{_number(result['final_loss'])} over the last ten steps",
        "cost": cost,
        "seed": str(result["seed"]),
    }
    if settings.lora.rank:
        numbers["LoRA"] = f"rank {settings.lora.rank}, merged into the weights"
    start, end, answer = (
        text.replace("\n", "\\n")
        for text in (model.thinking_start, model.thinking_end, model.answer_start)
    )
    table = "\n".join(f"| {name} | {value} |" for name, value in numbers.items())
    return CARD.format(name=model.name, start=start, end=end, answer=answer, table=table)


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
