"""`stages=[plan]`, and the check before every run: what its stages need, what is missing here."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from s1x.benchmark.benchmark import Benchmark
from s1x.benchmark.hub import Hub as HubBenchmark
from s1x.budget import points
from s1x.engine.servers import Servers
from s1x.engine.vllm import Vllm
from s1x.errors import UserError
from s1x.gpus import gpu
from s1x.hub import cached_commit, cached_folder
from s1x.model.architecture import Architecture, architecture_numbers
from s1x.model.model import Model, local_config, weight_files
from s1x.plan.generation import WAIT_SHARE, Deployment, Evaluation
from s1x.plan.machine import Machine
from s1x.plan.make import Plan, Work, make_plan, missing
from s1x.pool.hub import Hub as HubPool
from s1x.pool.s1_59k import S159K
from s1x.stages import Run, Stage
from s1x.workers.ray import Ray

if TYPE_CHECKING:
    from s1x.config import Config

#: rows of s1's pool, for a recipe that keeps all
POOL_ROWS = 59_029


class PlanStage(Stage):
    """Tells what a run takes and refuses what cannot work; it runs nothing."""

    name = "plan"

    @classmethod
    def check(cls, run: Run) -> None:
        """The whole run before it starts, the training again once its samples are known."""
        if run.sample_lengths:
            check_samples(run.config, run.sample_lengths)
            return
        if _base_readers(run.config).intersection(run.stages):
            run.config.model.source()
        plan = plan_run(run.config, run.stages)
        if "plan" in run.stages:
            print("\n".join(plan.table()))
        if run.stages == ["plan"] and plan.problems:
            raise UserError(f"the run cannot work here: {len(plan.problems)} problem(s), see above")
        plan.refuse()

    @classmethod
    def execute(cls, run: Run) -> None:
        """Nothing: the check before the run has told it."""


def plan_run(config: Config, stages: Collection[str], machine: Machine | None = None) -> Plan:
    """The plan of a composed configuration, with the problems of the stages that will run.

    Args:
        config: the checked configuration.
        stages: stages that will run; with only "plan", all problems are told.
        machine: None: this one.
    """
    running = set(stages) - {"plan"} or _usual(config)
    away = dict(_on_hub(config, running))
    if machine is None:
        machine = Machine.here(Path(config.root.output).expanduser(), ask_hub=bool(away))
    rows: int = config.selection.size or vars(config.pool).get("rows") or POOL_ROWS
    work = Work(rows, config.root.mean_sample_tokens)
    evaluations = [_evaluation(config, name, option) for name, option in config.benchmarks.items()]
    deployment = Deployment.of(config.engine, _num_engines(config, machine))
    plan = _make_plan(
        config, work, evaluations, machine if "train" in running else None, deployment
    )
    problems = list(plan.problems) if "train" in running else []
    if running & {"evaluate", "serve"}:
        problems += _engine_problems(config, machine)
    if "evaluate" in running:
        problems += _grader_problems(config)
    if not machine.hub_reachable:
        problems += away.values()
    problems = list(dict.fromkeys(problems))
    return dataclasses.replace(plan, problems=problems, trains="train" in running)


def _base_readers(config: Config) -> set[str]:
    """The stages that read the base model."""
    serves = {"serve"} if config.serve.model_role == "base" else set()
    return {"select", "train", "evaluate", *serves}


def _usual(config: Config) -> set[str]:
    """The stages that a plan alone is about: training too, where a fine-tuned model answers."""
    training = {"select", "train"} if "fine_tuned" in config.evaluate.models else set()
    return {"evaluate", *training}


def check_samples(config: Config, lengths: Sequence[int]) -> None:
    """The plan of the training again, once the samples' lengths in tokens are known.

    Raises:
        UserError: it does not fit.
    """
    work = Work(len(lengths), sum(lengths) / len(lengths), max(lengths))
    machine = Machine.here(Path(config.root.output).expanduser(), ask_hub=False)
    _make_plan(config, work, [], machine).refuse()


def _num_engines(config: Config, machine: Machine) -> int | None:
    """That Ray will place: on the allocation's nodes, else on as many as train; None: no Ray.

    Ray itself is asked only once the run starts: nodes may join it until then, and after.
    """
    if not isinstance(config.workers, Ray):
        return None
    engine, train = config.engine, config.train
    here = len(machine.gpu_memory_bytes) or train.devices_per_node or 1
    nodes = int(machine.environment.get("SLURM_NNODES", train.nodes))
    most = nodes * max(1, here // max(1, engine.num_gpus))
    return min(most, config.workers.num_replicas or most)


def _make_plan(
    config: Config,
    work: Work,
    evaluations: Sequence[Evaluation],
    machine: Machine | None,
    deployment: Deployment | None = None,
) -> Plan:
    return make_plan(
        config.train,
        _with_numbers(config.model),
        work,
        evaluations,
        gpu_name=config.root.gpu,
        usd_per_gpu_hour=config.prices.usd_per_gpu_hour,
        deployment=deployment,
        machine=machine,
    )


def _with_numbers(model: Model) -> Model:
    """The model with the numbers of its downloaded config.json, where the option has none."""
    folder = None if model.architecture or model.is_local() else _cached(model)
    if folder is None:
        return model
    return dataclasses.replace(model, architecture=architecture_numbers(local_config(folder)))


def _engine_problems(config: Config, machine: Machine) -> list[str]:
    """What the engine lacks, so that nobody finds out after training."""
    engine, device = config.engine, gpu(config.root.gpu)
    if isinstance(engine, Servers):
        if any(machine.reaches(url.rstrip("/") + "/models") for url in engine.base_urls):
            return []
        return [
            f"engine.base_urls {', '.join(engine.base_urls)} does not answer; start the server, "
            "or set engine.base_urls to where it is"
        ]
    found = missing(machine, engine.needs)
    deployment = Deployment.of(engine)
    if deployment is None:
        return found
    shape = Architecture.of(_with_numbers(config.model).architecture, config.model.name)
    found += deployment.problems(shape, device, config.model.context_tokens)
    if device.name != "cpu" and not config.workers.is_elsewhere:
        found += machine.lacks_gpus(deployment.num_gpus, "the engine", device)
        if isinstance(engine, Vllm) and machine.gpu_memory_bytes and not machine.can_compile:
            found.append(
                "vLLM's kernels (Triton) need a C compiler and Python's headers on this machine; "
                "install gcc and python3-dev, set CC, or use the Dockerfile"
            )
    return found


def _grader_problems(config: Config) -> list[str]:
    found = []
    for name, benchmark in config.benchmarks.items():
        try:
            benchmark.make_grader().close()
        except UserError as error:
            found.append(f"benchmark {name}: {error}")
    return found


def _on_hub(config: Config, running: Set[str]) -> Iterator[tuple[str, str]]:
    """What must be fetched from the hub: its id, and the problem where that cannot be reached."""
    model, pool = config.model, config.pool
    if running & _base_readers(config) and not model.is_local() and not _cached(model):
        yield (
            model.path,
            f"model.path {model.path} is no folder here and not whole in the hub's cache, and the "
            "hub cannot be reached from here; set model.path to a local folder, connect this "
            "machine or unset HF_HUB_OFFLINE",
        )
    reads_pool = bool(running & {"select", "annotate"})
    if reads_pool and isinstance(pool, HubPool | S159K) and not _here(pool.dataset, pool.revision):
        yield (
            pool.dataset,
            f"pool.dataset {pool.dataset} is on the hub, which cannot be reached from here; use "
            "pool=parquet or pool=jsonl with pool.path, or connect this machine",
        )
    for name, option in config.benchmarks.items() if "evaluate" in running else ():
        if isinstance(option, HubBenchmark) and not _here(option.repository, option.revision):
            yield (
                option.repository,
                f"benchmark {name} ({option.repository}) is on the hub, which cannot be reached "
                "from here; use a file of its questions (benchmark=jsonl "
                "benchmark.path=<file>.jsonl), or connect this machine",
            )


def _here(dataset: str, revision: str | None) -> bool:
    """Whether a data set is a folder on this machine or was downloaded before."""
    return Path(dataset).expanduser().exists() or cached_commit(dataset, revision) is not None


def _cached(model: Model) -> Path | None:
    """The folder of a model in the hub's cache if all of it is there."""
    folder = cached_folder(model.path, model.revision)
    if folder is None:
        return None
    files = [folder / model.gguf_file] if model.gguf_file else weight_files(folder)
    here = [*files, *([] if model.gguf_file else [folder / "config.json"])]
    return folder if all(file.is_file() for file in here) else None


def _evaluation(config: Config, name: str, benchmark: Benchmark) -> Evaluation:
    """What a benchmark asks for; traces are as long as the samples that are trained on."""
    root = config.root
    chosen = points(config.budget, config.curve)
    limits = [point.limits()[1] for point in chosen]
    limit = None if None in limits else float(max(n for n in limits if n is not None))
    waits = max((int(vars(point).get("num_waits") or 0) for point in chosen), default=0)
    natural = root.mean_sample_tokens * (1 + WAIT_SHARE * waits)
    counts = [benchmark.num_problems, benchmark.limit, root.max_problems]
    known = [count for count in counts if count is not None]
    return Evaluation(
        name,
        min(known) if counts[0] is not None else None,
        benchmark.samples_per_problem or config.sampling.samples_per_problem,
        natural if limit is None else min(natural, limit),
        len(chosen),
        len(config.evaluate.models),
        10.0 if root.gpu == "cpu" else 500.0,
        config.evaluate.base_direct and "base" in config.evaluate.models,
        limit or max((n for n in limits if n is not None), default=None),
    )
