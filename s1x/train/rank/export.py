"""The trained model as a plain Hugging Face folder, and the record of its training.

Parameters are gathered one at a time and written in shards, so that no rank ever holds the whole
model; adapters are merged on the way.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from safetensors.torch import save_file
from transformers import GenerationConfig, PreTrainedTokenizerBase

from s1x.artifact import file_hash, write_json
from s1x.errors import UserError
from s1x.model.load import load_config, plain_name
from s1x.model.model import INDEX, SINGLE
from s1x.train.job import LOG_CSV, MODEL_FOLDER, RESULT, Job, read_log
from s1x.train.rank.card import model_card
from s1x.train.rank.memory import peak_memory_bytes
from s1x.train.rank.module import SftModule
from s1x.train.rank.rotary import rotary_is_float32
from s1x.train.samples import SampleSet

SHARD_BYTES = 4 << 30
Named = Iterator[tuple[str, torch.Tensor | None]]


def export(
    job: Job,
    trainer: pl.Trainer,
    module: SftModule,
    tokenizer: PreTrainedTokenizerBase,
    samples: SampleSet,
    first_step: int,
) -> None:
    """Writes `model/` and `result.json` from rank 0; every rank must call it.

    Raises:
        UserError: a weight is NaN or infinite.
    """
    peaks = {
        "peak_memory_bytes_by_rank": _of_all_ranks(trainer, peak_memory_bytes()),
        "load_peak_memory_bytes_by_rank": _of_all_ranks(trainer, module.load_peak_bytes),
    }
    partial, place = job.folder / (MODEL_FOLDER + ".partial"), job.folder / MODEL_FOLDER
    parameters = whole_parameters(module)
    if not trainer.is_global_zero:
        for _ in parameters:  # gathering is every rank's work
            pass
        return
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    write_shards(parameters, partial, getattr(torch, job.settings.export_dtype))
    result = {
        **_result(job, samples.counts, first_step),
        **peaks,
        "fit_cpu_seconds": module.fit_cpu_seconds,
        "rotary_float32": rotary_is_float32(module.causal_lm),
    }
    _write_rest(job, module, tokenizer, partial)
    (partial / "README.md").write_text(model_card(job, result), encoding="utf-8")
    mask = os.umask(0)
    os.umask(mask)
    for file in partial.iterdir():  # safetensors makes its files readable by their owner alone
        file.chmod(0o666 & ~mask)
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)
    write_json(job.folder / RESULT, result)


def _of_all_ranks(trainer: pl.Trainer, value: int) -> list[int]:
    """The number of every rank, on every rank."""
    if trainer.world_size == 1:
        return [value]
    mine = torch.tensor([value], device=trainer.strategy.root_device)
    parts = [torch.empty_like(mine) for _ in range(trainer.world_size)]
    torch.distributed.all_gather(parts, mine)
    return [int(part) for part in parts]


def whole_parameters(module: SftModule) -> Named:
    """(name in the plain model, whole tensor on rank 0 and None elsewhere), in the model's order.

    Adapters of LoRA are added to the weight that they belong to.
    """
    gathered = module.placement.gathered
    parameters = dict(module.causal_lm.named_parameters())
    lora = module.settings.lora
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
    parameters: Named, folder: Path, dtype: torch.dtype, shard_bytes: int = SHARD_BYTES
) -> None:
    """Writes safetensors files of at most `shard_bytes` (more only for one larger tensor).

    Raises:
        UserError: a weight is NaN or infinite, naming it.
    """
    files: list[tuple[Path, list[str]]] = []
    total = 0
    for number, shard in enumerate(_shards(parameters, dtype, shard_bytes)):
        path = folder / f"shard-{number}"
        save_file(shard, path, metadata={"format": "pt"})
        files.append((path, list(shard)))
        total += sum(tensor.nbytes for tensor in shard.values())
    if len(files) == 1:
        files[0][0].rename(folder / SINGLE)
        return
    places: dict[str, str] = {}
    for number, (path, names) in enumerate(files):
        file = f"model-{number + 1:05d}-of-{len(files):05d}.safetensors"
        path.rename(folder / file)
        places |= dict.fromkeys(names, file)
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _shards(
    parameters: Named, dtype: torch.dtype, shard_bytes: int
) -> Iterator[dict[str, torch.Tensor]]:
    held: dict[str, torch.Tensor] = {}
    size = 0
    for name, gathered in parameters:
        assert gathered is not None
        tensor = gathered.to(dtype).contiguous().clone()
        if not bool(tensor.isfinite().all()):
            raise UserError(
                f"{name} holds values that are not numbers after the last step; nothing is "
                "exported: lower train.learning_rate, or set train.precision=float32"
            )
        if held and size + tensor.nbytes > shard_bytes:
            yield held
            held, size = {}, 0
        held[name] = tensor
        size += tensor.nbytes
    yield held


def _write_rest(
    job: Job, module: SftModule, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> None:
    """Configuration, generation configuration, tokenizer with its chat template."""
    config = load_config(module.source)
    config.dtype = job.settings.export_dtype
    if not config.architectures:
        config.architectures = [type(module.plain_lm).__name__]
    config.save_pretrained(folder)
    end = tokenizer.convert_tokens_to_ids(job.model.end_of_turn)
    stops = sorted({i for i in (end, tokenizer.eos_token_id) if i is not None})
    generation: Any = GenerationConfig
    generation(
        eos_token_id=stops, pad_token_id=tokenizer.pad_token_id, do_sample=False
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _result(job: Job, counts: dict[str, int], first_step: int) -> dict[str, Any]:
    """What training was: counts, losses, times. Losses and tokens from the whole log."""
    rows = read_log(job.folder / LOG_CSV)
    tokens = sum(int(row["tokens"]) for row in rows)
    seconds = float(rows[-1]["wall_seconds"]) if rows else None
    losses = [float(row["loss"]) for row in rows]
    return {
        "steps": len(rows),
        "resumed_at_step": first_step or None,
        "epochs": job.settings.epochs,
        "samples": counts,
        "tokens": tokens,
        "trained_tokens": sum(int(row["trained_tokens"]) for row in rows),
        "first_loss": losses[0] if losses else None,
        "final_loss": _mean(losses[-10:]),
        "training_seconds": seconds,
        "tokens_per_second": tokens / seconds if seconds else None,
        "mfu": _mean([float(row["mfu"]) for row in rows if row["mfu"]]),
        "padding_share": _mean([float(row["padding_share"]) for row in rows]),
        "num_ranks": job.num_ranks,
        "rows_sha256": file_hash(job.chosen),
        "seed": job.seed,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "option": type(job.settings).__name__,
        "settings": dataclasses.asdict(job.settings),
        "base_model": job.model.name,
        "base_model_path": job.model.path,
    }


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
