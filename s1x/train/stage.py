"""`stages=[train]`: the fine-tuned model; `stages=[pretrain]`: a base model from scratch."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from s1x import console, costs
from s1x.artifact import Artifact, read_json, write_json
from s1x.compose import build
from s1x.errors import UserError
from s1x.model.load import checkpoint_files
from s1x.model.model import Model
from s1x.option import Option, result_settings
from s1x.stages import ArtifactStage, Run, stage_class
from s1x.train.job import CHECKPOINTS, LOG_CSV, RESULT, SAMPLES, Job, Record, read_log
from s1x.train.launch import train_in_processes
from s1x.train.samples import shared_samples
from s1x.train.settings import TrainSettings

OnStep = Callable[[dict[str, str]], None]
Check = Callable[[Sequence[int]], None]


class TrainStage(ArtifactStage):
    """The fine-tuned model, as a Hugging Face folder."""

    name = "train"
    label = "fine-tuned model"
    version = 2  # texts are stripped as s1's, and never control tokens

    @property
    def measured(self) -> bool:
        """Other nodes' energy is not seen."""
        return self.run.config.train.nodes == 1

    def inputs(self) -> dict[str, Any]:
        """The chosen rows, the base model, the recipe, the seed."""
        config = self.run.config
        return {
            "selection": self.run.one("select").fingerprint,
            "model": config.model.fingerprint(),
            "train": result_settings(config.train),
            "seed": config.root.seed,
        }

    def build(self, folder: Path) -> None:
        """Trains, from the last checkpoint on if there is one."""
        config = self.run.config
        chosen, seed = self.run.one("select").folder / "chosen.parquet", config.root.seed
        on_step = config.tracker.log_step
        run(config.train, config.model, chosen, seed, folder, on_step, self._check_lengths)

    def _check_lengths(self, lengths: Sequence[int]) -> None:
        self.run.sample_lengths = lengths
        stage_class("plan").check(self.run)

    def finish(self, artifact: Artifact) -> None:
        """A tracker gets the log of a training of before."""
        if artifact.reused:
            self.run.config.tracker.log_training(artifact.folder)


def run(
    settings: TrainSettings,
    model: Model,
    chosen: Path,
    seed: int,
    folder: Path,
    on_step: OnStep = lambda row: None,
    check: Check = lambda lengths: None,
) -> Record:
    """Trains in processes of its own, and goes on from the last checkpoint found in the folder.

    Args:
        settings, model, seed: the recipe and its strategy, the base model, the order of samples.
        chosen: Parquet file with columns question, reasoning_trace, attempt.
        folder: gets model/, train.json, log.csv, costs.json, logs/; checkpoints/ while it runs.
            Checkpoints and logs of a run that fails stay.
        on_step: called with each new row of the log, for trackers.
        check: called with the samples' lengths in tokens before processes start; may refuse.

    Returns:
        What `train.json` holds.

    Raises:
        UserError: settings, rows or model that cannot work; a loss that is not a number; no memory.
        RankError: a training process died.
    """
    settings.check()
    chosen, folder = chosen.resolve(), folder.resolve()
    if model.is_local():
        model.source()
    elif not model.gguf_file:  # once, before ranks wait for each other
        console.say(f"train: {model.path} from the hub")
        checkpoint_files(model)
    start = time.perf_counter()
    if not (folder / RESULT).exists():
        job = Job(settings, model, chosen, seed, folder, settings.ranks_per_node())
        samples = shared_samples(job)  # what is wrong with them is told now
        _tell_counts(samples.counts, settings.max_sequence_tokens)
        check(samples.lengths)
        _find_checkpoint(job)
        steps_of_epoch = -(-len(samples) // settings.batch_sequences)
        num_steps = min(steps_of_epoch * settings.epochs, settings.max_steps or 10**12)
        with console.progress("train", num_steps, "steps") as advance:
            train_in_processes(job, _follower(folder / LOG_CSV, advance, on_step))
    return _finish(folder, model, time.perf_counter() - start)


def _tell_counts(counts: dict[str, int], max_tokens: int) -> None:
    told = [f"{counts[word]} {word}" for word in ("dropped", "truncated") if counts.get(word)]
    if told:
        console.say(
            f"train: {' and '.join(told)} of {counts['rows']} samples, which are longer than "
            f"train.max_sequence_tokens ({max_tokens})"
        )


def _find_checkpoint(job: Job) -> None:
    """Says where a run goes on that was stopped; a damaged checkpoint is passed over."""
    for name in job.put_damaged_aside():
        console.say(f"train: checkpoint {name} is damaged, and is put aside")
    if steps := job.steps_saved():
        job.check_ranks(steps[-1])
        console.say(f"train: goes on from the checkpoint of step {steps[-1]}")


def _follower(path: Path, advance: Callable[[int], None], on_step: OnStep) -> Callable[[], None]:
    """Reads the log as it grows: moves the progress bar and feeds the tracker."""
    seen, size = 0, 0

    def look() -> None:
        nonlocal seen, size
        before, size = size, path.stat().st_size if path.exists() else 0
        if size == before:
            return
        new = read_log(path)[seen:]
        for row in new:
            on_step(row)
        advance(len(new))
        seen += len(new)

    return look


def _finish(folder: Path, model: Model, wall_seconds: float) -> Record:
    """Writes `train.json` and `costs.json`, and removes what only a resumed run needs."""
    result = read_json(folder / RESULT) | {"wall_seconds": wall_seconds}
    write_json(folder / "train.json", result)
    cost = costs.entry(
        "train",
        f"SFT of {model.name}",
        wall_seconds,
        result["device"],
        result["num_ranks"],
        model_calls=None,
        prompt_tokens=None,
        generated_tokens=None,
        trained_tokens=result["tokens"],
    )
    costs.write(folder, [cost])
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    for file in (folder / SAMPLES, *folder.glob(".*.lock")):
        file.unlink(missing_ok=True)
    return result


@runtime_checkable
class Pretraining(Protocol):
    """What an option `pretrain` can do."""

    def run(self, folder: Path, say: Callable[[str], None]) -> object:
        """Trains into the folder."""


class PretrainStage(ArtifactStage):
    """A base model from scratch, as the option `pretrain` of an experiment makes it."""

    name = "pretrain"
    label = "base model"

    @classmethod
    def check(cls, run: Run) -> None:
        _pretraining(run)

    def inputs(self) -> dict[str, Any]:
        return result_settings(_settings(self.run))

    def build(self, folder: Path) -> None:
        _pretraining(self.run).run(folder, console.say)


def _settings(run: Run) -> Option:
    if "pretrain" not in run.cfg:
        raise UserError("stages=[pretrain] needs an experiment that has an option pretrain")
    return build(run.cfg.pretrain, "pretrain", Option)


def _pretraining(run: Run) -> Pretraining:
    settings = _settings(run)
    if not isinstance(settings, Pretraining):
        raise UserError("pretrain._target_ must name a class with a method run(folder, say)")
    return settings
