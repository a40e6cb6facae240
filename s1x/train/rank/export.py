"""The trained model as a plain Hugging Face folder, and the record of its training.

Parameters are gathered one at a time and written in shards, so that no rank ever holds the whole
model; adapters are merged on the way.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import jinja2
import lightning.pytorch as pl
import torch
from safetensors.torch import save_file
from transformers import GenerationConfig, PreTrainedTokenizerBase

from s1x.artifact import file_hash, write_json
from s1x.errors import UserError
from s1x.model.load import load_config, plain_name
from s1x.model.model import INDEX, SINGLE
from s1x.train.job import LOG_CSV, MODEL_FOLDER, RESULT, Job, Record, read_log
from s1x.train.rank.memory import peak_memory_bytes
from s1x.train.rank.module import SftModule
from s1x.train.rank.rotary import rotary_is_float32

SHARD_BYTES = 4 << 30
CARD = Path(__file__).with_name("card.md.jinja")
Named = Iterable[tuple[str, torch.Tensor]]


def export(
    trainer: pl.Trainer, module: SftModule, tokenizer: PreTrainedTokenizerBase, result: Record
) -> None:
    """Writes `model/` and `result.json` from rank 0; every rank must call it.

    Args:
        trainer: after its last step.
        module: what it has trained.
        tokenizer: exported as it is.
        result: what else than training itself can tell is to stand in `result.json`.

    Raises:
        UserError: a weight is NaN or infinite.
    """
    job, settings = module.placement.job, module.settings
    own = torch.tensor([peak_memory_bytes(), module.load_peak_bytes])
    of_all = trainer.strategy.all_gather(own.to(trainer.strategy.root_device)).view(-1, 2)
    peaks, load_peaks = of_all.T.tolist()
    partial, place = job.folder / (MODEL_FOLDER + ".partial"), job.folder / MODEL_FOLDER
    parameters = whole_parameters(module)
    if not trainer.is_global_zero:
        for _ in parameters:  # gathering is every rank's work
            pass
        return
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    dtype: torch.dtype = vars(torch)[settings.export_dtype]
    write_weights(((n, whole.to(dtype)) for n, whole in parameters if whole is not None), partial)
    result = {
        **result,
        **_of_the_log(job),
        "num_ranks": job.num_ranks,
        "peak_memory_bytes_by_rank": peaks,
        "load_peak_memory_bytes_by_rank": load_peaks,
        "fit_cpu_seconds": module.fit_cpu_seconds,
        "rotary_float32": rotary_is_float32(module.causal_lm),
    }
    _write_rest(module, tokenizer, partial)
    template = jinja2.Template(CARD.read_text(encoding="utf-8"), keep_trailing_newline=True)
    card = template.render(model=job.model, settings=settings, result=result)
    (partial / "README.md").write_text(card, encoding="utf-8")
    mask = os.umask(0)
    os.umask(mask)
    for file in partial.iterdir():  # safetensors makes its files readable by their owner alone
        file.chmod(0o666 & ~mask)
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)
    write_json(job.folder / RESULT, result)


def whole_parameters(module: SftModule) -> Iterator[tuple[str, torch.Tensor | None]]:
    """(name in the plain model, whole tensor on rank 0 and None elsewhere), in the model's order.

    Adapters of LoRA are added to the weight that they belong to.
    """
    gathered, lora = module.placement.gathered, module.settings.lora
    parameters = dict(module.causal_lm.named_parameters())
    for name, parameter in parameters.items():
        if ".lora_" in name:
            continue
        tensor = gathered(parameter)
        stem = name.removesuffix(".base_layer.weight")
        if stem != name:
            down, up = (gathered(parameters[f"{stem}.lora_{x}.default.weight"]) for x in "AB")
            if tensor is not None and up is not None and down is not None:
                added = (up.float() @ down.float()) * (lora.alpha / lora.rank)
                tensor = (tensor.float() + added).to(tensor.dtype)
        yield plain_name(name), tensor


def write_weights(parameters: Named, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Writes safetensors files of at most `shard_bytes` (more only for one larger tensor).

    Raises:
        UserError: a weight is NaN or infinite, naming it.
    """
    shards: list[list[str]] = []
    total = 0
    for shard in _shards(parameters, shard_bytes):
        save_file(shard, folder / f"shard-{len(shards)}", metadata={"format": "pt"})
        shards.append(list(shard))
        total += sum(tensor.nbytes for tensor in shard.values())
    places: dict[str, str] = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        file = SINGLE if len(shards) == 1 else file
        (folder / f"shard-{number}").rename(folder / file)
        places |= dict.fromkeys(names, file)
    if len(shards) > 1:
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _shards(parameters: Named, shard_bytes: int) -> Iterator[dict[str, torch.Tensor]]:
    held: dict[str, torch.Tensor] = {}
    for name, tensor in parameters:
        if not bool(tensor.isfinite().all()):
            raise UserError(
                f"{name} holds values that are not numbers after the last step; nothing is "
                "exported: lower train.learning_rate, or set train.precision=float32"
            )
        if held and sum(t.nbytes for t in held.values()) + tensor.nbytes > shard_bytes:
            yield held
            held = {}
        held[name] = tensor.contiguous()
    yield held


def _write_rest(module: SftModule, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Configuration, generation configuration, tokenizer with its chat template."""
    model = module.placement.job.model
    config = load_config(model)
    config.dtype = module.settings.export_dtype
    if not config.architectures:
        config.architectures = [type(module.causal_lm).__name__]
    config.save_pretrained(folder)
    end = tokenizer.convert_tokens_to_ids(model.end_of_turn)
    stops = sorted({i for i in (end, tokenizer.eos_token_id) if i is not None})
    GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=stops, pad_token_id=tokenizer.pad_token_id, do_sample=False
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _of_the_log(job: Job) -> Record:
    """Counts, losses and times of all steps, those before a checkpoint too."""
    rows = read_log(job.folder / LOG_CSV)
    tokens = sum(int(row["tokens"]) for row in rows)
    seconds = float(rows[-1]["wall_seconds"]) if rows else None
    losses = [float(row["loss"]) for row in rows]
    return {
        "steps": len(rows),
        "epochs": job.settings.epochs,
        "tokens": tokens,
        "trained_tokens": sum(int(row["trained_tokens"]) for row in rows),
        "first_loss": losses[0] if losses else None,
        "final_loss": _mean(losses[-10:]),
        "training_seconds": seconds,
        "tokens_per_second": tokens / seconds if seconds else None,
        "mfu": _mean([float(row["mfu"]) for row in rows if row["mfu"]]),
        "padding_share": _mean([float(row["padding_share"]) for row in rows]),
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
