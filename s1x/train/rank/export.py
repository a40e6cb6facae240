"""The trained model as a plain Hugging Face folder, and the record of its training.

Parameters are gathered one at a time and written in shards, so that no rank ever holds the whole
model; adapters are merged on the way.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x.artifact import file_hash, write_json
from s1x.errors import UserError
from s1x.model.load import plain_name
from s1x.train.job import LOG_CSV, MODEL_FOLDER, RESULT, Job, read_log, settings_values
from s1x.train.rank.card import model_card
from s1x.train.rank.memory import peak_memory_bytes
from s1x.train.rank.rotary import rotary_is_float32

if TYPE_CHECKING:
    import lightning.pytorch as pl
    import torch
    from transformers import PreTrainedTokenizerBase

    from s1x.train.rank.module import SftModule
    from s1x.train.samples import SampleSet

SHARD_BYTES = 4 << 30


def export(
    job: Job,
    trainer: pl.Trainer,
    module: SftModule,
    tokenizer: PreTrainedTokenizerBase,
    samples: SampleSet,
    first_step: int,
) -> None:
    """Writes `model/` and `result.json` from rank 0; every rank must call it."""
    import torch

    peaks = {
        "peak_memory_bytes_by_rank": _of_all_ranks(trainer, peak_memory_bytes()),
        "load_peak_memory_bytes_by_rank": _of_all_ranks(trainer, module.load_peak_bytes),
    }
    partial = job.folder / (MODEL_FOLDER + ".partial")
    if trainer.is_global_zero:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
    dtype = getattr(torch, job.settings.export_dtype)
    write_shards(whole_parameters(job, module.causal_lm), partial, dtype, trainer.is_global_zero)
    if not trainer.is_global_zero:
        return
    result = _result(job, samples, module.fit_cpu_seconds, first_step, peaks)
    result["rotary_float32"] = rotary_is_float32(module.causal_lm)
    _write_rest(job, module, tokenizer, partial, result)
    for file in partial.iterdir():  # safetensors makes its files readable by their owner alone
        file.chmod(0o666 & ~_umask())
    shutil.rmtree(job.folder / MODEL_FOLDER, ignore_errors=True)
    partial.rename(job.folder / MODEL_FOLDER)
    write_json(job.folder / RESULT, result)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _of_all_ranks(trainer: pl.Trainer, value: int) -> list[int]:
    """The number of every rank, on every rank."""
    import torch

    if trainer.world_size == 1:
        return [value]
    mine = torch.tensor([value], device=trainer.strategy.root_device)
    parts = [torch.empty_like(mine) for _ in range(trainer.world_size)]
    torch.distributed.all_gather(parts, mine)
    return [int(part) for part in parts]


def whole_parameters(job: Job, causal_lm: Any) -> Iterator[tuple[str, torch.Tensor | None]]:
    """(name in the plain model, whole tensor on rank 0 and None elsewhere), in the model's order.

    Adapters of LoRA are added to the weight that they belong to.
    """
    gathered = job.settings.gathered
    parameters = dict(causal_lm.named_parameters())
    lora = job.settings.lora
    for name, parameter in parameters.items():
        if ".lora_" in name:
            continue
        tensor = gathered(parameter)
        stem = name.removesuffix(".base_layer.weight")
        if stem != name and f"{stem}.lora_A.default.weight" in parameters:
            down = gathered(parameters[f"{stem}.lora_A.default.weight"])
            up = gathered(parameters[f"{stem}.lora_B.default.weight"])
            if tensor is not None and up is not None and down is not None:
                added = (up.float() @ down.float()) * (lora.alpha / lora.rank)
                tensor = (tensor.float() + added).to(tensor.dtype)
        yield plain_name(name), tensor


def write_shards(
    parameters: Iterator[tuple[str, torch.Tensor | None]],
    folder: Path,
    dtype: torch.dtype,
    writes: bool,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes safetensors files of at most `shard_bytes` (more only for one larger tensor).

    Raises:
        UserError: a weight is NaN or infinite, naming it.
    """
    from safetensors.torch import save_file

    shards: list[list[str]] = []
    held: dict[str, torch.Tensor] = {}
    size = total = 0

    def flush() -> None:
        nonlocal held, size
        save_file(held, folder / f"shard-{len(shards)}.safetensors", metadata={"format": "pt"})
        shards.append(list(held))
        held, size = {}, 0

    for name, tensor in parameters:
        if not writes:
            continue
        assert tensor is not None
        tensor = tensor.to(dtype).contiguous().clone()
        if not bool(tensor.isfinite().all()):
            raise UserError(
                f"{name} holds values that are not numbers after the last step; nothing is "
                "exported: lower train.learning_rate, or set train.precision=float32"
            )
        if held and size + tensor.nbytes > shard_bytes:
            flush()
        held[name] = tensor
        size += tensor.nbytes
        total += tensor.nbytes
    if writes:
        flush()
        _name_shards(folder, shards, total)


def _name_shards(folder: Path, shards: list[list[str]], total: int) -> None:
    if len(shards) == 1:
        (folder / "shard-0.safetensors").rename(folder / "model.safetensors")
        return
    places: dict[str, str] = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        (folder / f"shard-{number}.safetensors").rename(folder / file)
        places |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": places}
    write_json(folder / "model.safetensors.index.json", index)


def _write_rest(
    job: Job,
    module: SftModule,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    result: dict[str, Any],
) -> None:
    """Configuration, generation configuration, tokenizer with its chat template, model card."""
    from transformers import GenerationConfig

    from s1x.model.load import load_config

    config = load_config(module.source)
    config.dtype = job.settings.export_dtype
    if not getattr(config, "architectures", None):
        base = module.causal_lm
        base = base.get_base_model() if hasattr(base, "get_base_model") else base
        config.architectures = [type(base).__name__]
    config.save_pretrained(folder)
    end = tokenizer.convert_tokens_to_ids(job.model.end_of_turn)
    stops = sorted({i for i in (end, tokenizer.eos_token_id) if i is not None})
    generation: Any = GenerationConfig
    generation(
        eos_token_id=stops, pad_token_id=tokenizer.pad_token_id, do_sample=False
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(model_card(job, result), encoding="utf-8")


def _result(
    job: Job, samples: SampleSet, cpu_seconds: float, first_step: int, peaks: dict[str, list[int]]
) -> dict[str, Any]:
    """What training was: counts, losses, times, memory. Losses and tokens from the whole log."""
    rows = read_log(job.folder / LOG_CSV)
    tokens = sum(int(row["tokens"]) for row in rows)
    seconds = float(rows[-1]["wall_seconds"]) if rows else None
    losses = [float(row["loss"]) for row in rows]
    tail = losses[-10:]
    return {
        "steps": len(rows),
        "resumed_at_step": first_step or None,
        "epochs": job.settings.epochs,
        "samples": samples.counts,
        "tokens": tokens,
        "trained_tokens": sum(int(row["trained_tokens"]) for row in rows),
        "first_loss": losses[0] if losses else None,
        "final_loss": sum(tail) / len(tail) if tail else None,
        "training_seconds": seconds,
        "fit_cpu_seconds": cpu_seconds,
        "tokens_per_second": tokens / seconds if seconds else None,
        "mfu": _mean([float(row["mfu"]) for row in rows if row["mfu"]]),
        "padding_share": _mean([float(row["padding_share"]) for row in rows]),
        "num_ranks": job.num_ranks,
        **peaks,
        "rows_sha256": file_hash(job.chosen),
        "seed": job.seed,
        "device": _device(),
        "option": type(job.settings).__name__,
        "settings": settings_values(job.settings),
        "base_model": job.model.name,
        "base_model_path": job.model.path,
    }


def _device() -> str:
    import torch

    used = torch.cuda.is_available()
    return torch.cuda.get_device_name() if used else "cpu"


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
