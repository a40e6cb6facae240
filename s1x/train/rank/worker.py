"""One rank of a training job: `python -m s1x.train.rank.worker <folder>/job.json`.

Its place among the ranks comes from the environment, as torchrun sets it. Why it fails is printed
as one marked line; the launcher shows the failure that explains the others.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
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
from s1x.train.job import CHECKPOINTS, STATE, Job
from s1x.train.launch import Failure, end_with_parent
from s1x.train.rank.callbacks import Checkpoints, StepLog, StoppedError
from s1x.train.rank.export import export
from s1x.train.rank.memory import watch_memory
from s1x.train.rank.module import SftModule
from s1x.train.rank.passes import Passes
from s1x.train.rank.placement import Placement
from s1x.train.samples import shared_samples


def train_rank(job: Job) -> None:
    """This rank's part of a job, from the rows to the exported model."""
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with FileLock(str(job.folder / f".rank{_rank()}.lock")):
        _train_rank(job)


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _train_rank(job: Job) -> None:
    tokenizer = load_tokenizer(job.model)
    samples = shared_samples(job)
    steps = plan_steps(samples.lengths, job.settings, job.seed, job.num_ranks)
    if _rank() == 0:  # what a killed run left half-written
        for place in (job.folder / CHECKPOINTS).glob("*.partial"):
            shutil.rmtree(place, ignore_errors=True)
    first_step = max(job.steps_saved(), default=0)
    pad_id = tokenizer.pad_token_id if job.settings.padded else None
    passes = Passes(samples, steps[: job.settings.max_steps], _rank(), first_step, pad_id)
    module = SftModule(Placement.of(job), passes)
    trainer = build_trainer(module, first_step)
    checkpoint = job.checkpoint(first_step) / STATE if first_step else None
    trainer.fit(module, passes, ckpt_path=checkpoint)
    told = {"samples": samples.counts, "resumed_at_step": first_step or None}
    export(trainer, module, tokenizer, told)


def build_trainer(module: SftModule, first_step: int) -> pl.Trainer:
    """Lightning's trainer with our log and checkpoints, silent otherwise."""
    placement, settings = module.placement, module.settings
    job, num_steps = placement.job, len(module.passes.steps)
    architecture = Architecture.of_config(load_config(job.model))
    return pl.Trainer(
        accelerator="cpu" if placement.kind == "cpu" else "gpu",
        devices=job.ranks_per_node,
        num_nodes=settings.nodes,
        strategy=placement.strategy(),
        precision=placement.precisions[settings.precision],
        plugins=[LightningEnvironment()],
        max_epochs=1,
        accumulate_grad_batches=module.passes.per_step,
        gradient_clip_val=settings.gradient_clip_norm or None,
        callbacks=[StepLog(job, first_step, architecture), Checkpoints(job, num_steps)],
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
    message = " ".join(f"{type(error).__name__}: {error}".split())
    kind = "user"
    if isinstance(error, UserError):
        message = str(error)
    elif isinstance(error, StoppedError):
        kind, message = "stopped", str(error)
    elif _is_disk_full(job.folder, error):
        message = DISK_FULL.format(folder=job.folder, message=message)
    elif (
        isinstance(error, (torch.OutOfMemoryError, MemoryError))
        or "not enough memory" in message
        or "out of memory" in message
    ):
        message = OUT_OF_MEMORY.format(rank=_rank(), tokens=job.settings.pass_tokens)
    else:
        kind = "bug"
    return Failure(_rank(), kind, message, time.time())


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
    signal.signal(signal.SIGTERM, lambda *_: job.ask_to_stop())
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
