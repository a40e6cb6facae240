"""The model card of a trained model: recipe, data, losses and cost, and what it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from s1x.train.job import Job


def model_card(job: Job, result: dict[str, Any]) -> str:
    """The README.md of the exported folder, in Markdown with the hub's metadata."""
    settings, model = job.settings, job.model
    numbers = [
        ("base model", f"`{model.name}` ({model.path})"),
        ("samples", _counts(result["samples"])),
        ("rows", f"SHA-256 `{result['rows_sha256']}`"),
        ("format", settings.format),
        (
            "steps",
            f"{result['steps']} of {settings.batch_sequences} samples, {settings.epochs} epochs",
        ),
        ("optimizer", _optimizer(job)),
        ("precision", f"{settings.precision}, exported as {settings.export_dtype}"),
        ("longest sample", f"{settings.max_sequence_tokens} tokens, overflow={settings.overflow}"),
        ("tokens", f"{result['tokens']:,}, of them {result['trained_tokens']:,} trained on"),
        (
            "loss",
            f"{_number(result['first_loss'])} at first, "
            f"{_number(result['final_loss'])} over the last ten steps",
        ),
        ("cost", _cost(result)),
        ("seed", str(result["seed"])),
    ]
    if settings.lora.rank:
        numbers.append(("LoRA", f"rank {settings.lora.rank}, merged into the weights"))
    table = "\n".join(f"| {name} | {value} |" for name, value in numbers)
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [s1x, test-time-scaling, sft]
---

# {model.name}, fine-tuned to think

Supervised fine-tuning on reasoning traces with the recipe of s1 (arXiv 2501.19393). The assistant's
turn opens with {_quoted(model.thinking_start)}; the model ends its thinking by
{_quoted(model.thinking_end)}, and the answer follows {_quoted(model.answer_start)}.

| | |
|---|---|
{table}

Its abilities are those of the base model, brought out by few samples of narrow domains; evaluate it
on your own problems before you rely on it. The licences of the base model and of the rows apply.
"""


def _quoted(text: str) -> str:
    return "`" + text.replace("\n", "\\n") + "`"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())


def _optimizer(job: Job) -> str:
    settings = job.settings
    return (
        f"AdamW ({settings.beta1}, {settings.beta2}), learning rate {settings.learning_rate:g}, "
        f"{settings.warmup_fraction:.0%} warm-up, cosine to 0, weight decay "
        f"{settings.weight_decay:g} (not on norms and biases), "
        f"clipped at {settings.gradient_clip_norm:g}"
    )


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def _cost(result: dict[str, Any]) -> str:
    seconds = result["training_seconds"]
    if seconds is None:
        return "unknown"
    return f"{seconds:.0f} s on {result['num_ranks']} rank(s)"
