"""The plan of a whole run: what training, evaluation and the pool need, and what is missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x.hub import cached_commit
from s1x.plan.machine import Machine
from s1x.plan.make import Evaluation, Plan, Work, make_plan, missing

if TYPE_CHECKING:
    from s1x.config import Config

#: problems of the published benchmarks, so that a plan needs no hub
POOL_ROWS = 59_029
NUM_PROBLEMS = {"aime24": 30, "aime25": 30, "math500": 500, "gpqa_diamond": 198}


def plan_run(config: Config, stages: Collection[str], machine: Machine | None = None) -> Plan:
    """The plan of a composed configuration, with the problems of the stages that will run.

    Args:
        config: the checked configuration.
        stages: stages that will run; with only "plan", all problems are told.
        machine: None: this one.
    """
    root, model = config.root, config.model
    running = set(stages) - {"plan"} or {"select", "train", "evaluate"}
    pool_on_hub = _on_hub(config.pool)
    on_hub = not model.is_local() or pool_on_hub
    if machine is None:
        machine = Machine.here(Path(root.output).expanduser(), ask_hub=on_hub)
    rows = config.selection.size or getattr(config.pool, "rows", POOL_ROWS)
    work = Work(rows, root.mean_sample_tokens)
    evaluations = [_evaluation(config, name, option) for name, option in config.benchmarks.items()]
    plan = _make_plan(config, work, evaluations, machine if "train" in running else None)
    problems = list(plan.problems) if "train" in running else []
    if "evaluate" in running:
        problems += missing(machine, getattr(config.engine, "needs", ()), ())
    if running & {"select", "annotate"} and pool_on_hub and not machine.hub_reachable:
        problems.append(
            f"pool.dataset {config.pool.dataset} is on the hub, which cannot be reached from here; "
            "use pool=parquet or pool=jsonl with pool.path, or connect this machine"
        )
    return dataclasses.replace(plan, problems=problems)


def check_samples(config: Config, lengths: Sequence[int]) -> None:
    """The plan of the training again, once the samples' lengths in tokens are known.

    Raises:
        UserError: it does not fit.
    """
    work = Work(len(lengths), sum(lengths) / len(lengths), max(lengths))
    machine = Machine.here(Path(config.root.output).expanduser(), ask_hub=False)
    _make_plan(config, work, [], machine).refuse()


def _make_plan(
    config: Config, work: Work, evaluations: Sequence[Evaluation], machine: Machine | None
) -> Plan:
    return make_plan(
        config.train,
        config.model,
        work,
        evaluations,
        gpu_name=config.root.gpu,
        usd_per_gpu_hour=config.prices.usd_per_gpu_hour,
        engine_gpus=getattr(config.engine, "num_gpus", 1),
        machine=machine,
    )


def _on_hub(pool: Any) -> bool:
    dataset = getattr(pool, "dataset", None)
    if dataset is None or Path(str(dataset)).expanduser().exists():
        return False
    return cached_commit(str(dataset), getattr(pool, "revision", None)) is None


def _evaluation(config: Config, name: str, benchmark: Any) -> Evaluation:
    from s1x.budget import points

    curve = config.root.curve if config.root.one_pass else {}
    known = getattr(benchmark, "num_problems", NUM_PROBLEMS.get(name))
    counts = [n for n in (known, getattr(benchmark, "limit", None)) if n is not None]
    chosen = points(config.budget, curve)
    limits = [limit for point in chosen if (limit := point.limits()[1])]
    laptop = config.root.gpu == "cpu"
    return Evaluation(
        name,
        min(counts) if counts else None,
        config.sampling.samples_per_problem,
        float(max(limits)) if limits else (100.0 if laptop else 8000.0),
        len(chosen),
        len(config.evaluate.models),
        10.0 if laptop else 500.0,
    )
