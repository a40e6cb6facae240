"""One rank of a training job: `python -m s1x.train.rank.worker <folder>/job.json`.

Its place among the ranks comes from the environment, as torchrun sets it. Why it fails is printed
as one marked line; the launcher shows the failure that explains the others.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path

import lightning.pytorch as pl
import torch
from filelock import FileLock
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from s1x.errors import UserError
from s1x.model.architecture import Architecture
from s1x.model.load import load_config, load_tokenizer
from s1x.train.batches import plan_steps
from s1x.train.job import LOG_CSV, Job
from s1x.train.launch import Failure, end_with_parent
from s1x.train.rank.checkpoints import Checkpoints
from s1x.train.rank.export import export
from s1x.train.rank.log import StepLog, peak_tflops
from s1x.train.rank.memory import watch_memory
from s1x.train.rank.module import SftModule
from s1x.train.rank.passes import Passes
from s1x.train.rank.placement import Placement
from s1x.train.resume import newest, remove_partial
from s1x.train.samples import shared_samples


def train_rank(job: Job) -> None:
    """This rank's part of a job, from the rows to the exported model."""
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    rank = int(os.environ.get("RANK", "0"))
    with FileLock(str(job.folder / f".rank{rank}.lock")):
        _train_rank(job, rank)


def _train_rank(job: Job, rank: int) -> None:
    settings = job.settings
    tokenizer = load_tokenizer(job.model)
    samples = shared_samples(job)
    padded = settings.batching == "padded"
    steps = plan_steps(
        samples.lengths(),
        seed=job.seed,
        epochs=settings.epochs,
        batch_sequences=settings.batch_sequences,
        num_ranks=job.num_ranks,
        pass_tokens=settings.pass_tokens,
        window_batches=settings.length_window_batches,
        padded=padded,
    )[: settings.max_steps]
    if rank == 0:
        remove_partial(job.folder)
    first_step, checkpoint = newest(job.folder) or (0, None)
    pad_id = tokenizer.pad_token_id
    passes = Passes(
        samples.samples, steps, rank, first_step=first_step, padded=padded, pad_id=pad_id
    )
    placement = Placement.of(settings, job.ranks_per_node)
    source = placement.source(job.model)
    module = SftModule(placement, source, len(steps), passes.passes_per_step, job.seed)
    trainer = build_trainer(job, module, first_step, passes.passes_per_step)
    trainer.fit(module, passes, ckpt_path=checkpoint)
    export(job, trainer, module, tokenizer, samples, first_step)


def build_trainer(job: Job, module: SftModule, first_step: int, passes_per_step: int) -> pl.Trainer:
    """Lightning's trainer with our log and checkpoints, silent otherwise."""
    settings, folder = job.settings, job.folder
    architecture = Architecture.of_config(load_config(module.source))
    peak = peak_tflops(settings.peak_tflops)
    placement = module.placement
    every, keep = settings.checkpoint_every_steps, settings.keep_checkpoints
    return pl.Trainer(
        accelerator="cpu" if placement.kind == "cpu" else "gpu",
        devices=job.ranks_per_node,
        num_nodes=settings.nodes,
        strategy=placement.strategy(),
        precision=placement.precision,
        plugins=[LightningEnvironment()],
        max_epochs=1,
        accumulate_grad_batches=passes_per_step,
        gradient_clip_val=settings.gradient_clip_norm or None,
        callbacks=[
            StepLog(folder / LOG_CSV, first_step, architecture, peak),
            Checkpoints(folder, every, keep, module.num_steps),
        ],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


OUT_OF_MEMORY = (
    "out of memory on rank {rank} at a pass of at most {tokens} tokens; lower "
    "train.max_sequence_tokens (with train.overflow=drop) or train.micro_batch_tokens, set "
    "train.activation_checkpointing=true and train.logits=chunked, use more GPUs, "
    "train=deepspeed_zero3_offload, or train.lora.rank=16"
)


DISK_FULL = (
    "the disk is full under {folder}: {message}; free some of it (train.checkpoint_every_steps=0 "
    "writes no checkpoints) and run the same command again: it goes on from the last checkpoint"
)
#: a disk with less room than this is what a failed write is told as
FULL_BYTES = 1 << 20


def failure_of(job: Job, error: BaseException) -> Failure:
    """Why this rank fails, as its user should read it."""
    rank = int(os.environ.get("RANK", "0"))
    message = " ".join(f"{type(error).__name__}: {error}".split())
    kind = "user"
    if isinstance(error, UserError):
        message = str(error)
    elif _is_disk_full(job.folder, error):
        message = DISK_FULL.format(folder=job.folder, message=message)
    elif (
        isinstance(error, (torch.OutOfMemoryError, MemoryError))
        or "not enough memory" in message
        or "out of memory" in message
    ):
        message = OUT_OF_MEMORY.format(rank=rank, tokens=job.settings.pass_tokens)
    else:
        kind = "bug"
    return Failure(rank, kind, message, time.time())


def _is_disk_full(folder: Path, error: BaseException | None) -> bool:
    """Libraries wrap it in errors of their own (torch's zip writer, safetensors)."""
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            return True
        if "PytorchStreamWriter" in str(error) or "file write failed" in str(error):
            return shutil.disk_usage(folder).free < FULL_BYTES
        error = error.__cause__ or error.__context__
    return False


def main() -> int:
    """Runs the rank that the environment names."""
    end_with_parent()
    watch_memory()
    job = Job.read(Path(sys.argv[1]))
    try:
        train_rank(job)
    except BaseException as error:
        traceback.print_exc()
        os.write(1, failure_of(job, error).line().encode())
        os._exit(1)  # without waiting for threads that talk to ranks which are gone
    os._exit(0) if job.num_ranks > 1 else None
    return 0


if __name__ == "__main__":
    sys.exit(main())
