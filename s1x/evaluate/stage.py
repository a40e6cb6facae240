"""`stages=[evaluate]`: base and fine-tuned model on every benchmark, a whole curve in one pass."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from s1x import costs
from s1x.artifact import Artifact, fingerprint
from s1x.benchmark.benchmark import Benchmark
from s1x.benchmark.grader import Grader, make_grader
from s1x.benchmark.problem import Problem, content_hash
from s1x.budget import Policy, points
from s1x.budget.direct_answer import DirectAnswer
from s1x.console import progress, say_once
from s1x.engine.engine import Engine, LiveEngine
from s1x.engine.engine import Sampling as TokenSampling
from s1x.engine.live import live_engine, run_in_loop
from s1x.errors import SettingError
from s1x.evaluate.findings import findings, share_cut
from s1x.evaluate.schedule import answer_all
from s1x.evaluate.settings import Sampling
from s1x.evaluate.table import Heading, make_rows, write_rows
from s1x.model.chat import direct_prompt_ids, thinking_prompt_ids
from s1x.model.chat_format import Chat, ChatFormat
from s1x.model.load import load_tokenizer
from s1x.model.model import Model
from s1x.option import REGISTRY, result_settings
from s1x.stages import ArtifactStage, Run
from s1x.traces.store import TraceStore
from s1x.traces.streams import Streams

THINKING_FORMAT, DIRECT_FORMAT = "thinking", "direct"


#: grader → packages whose version can change a verdict
GRADERS_LIBRARIES = {"math": ("math-verify", "sympy")}


@dataclass(frozen=True)
class EvaluateStage(ArtifactStage):
    """One model, in one prompt format, on one benchmark."""

    model: Model
    role: str
    prompt_format: str
    benchmark: str

    name = "evaluate"
    version = 2  # rows say whether an answer was cut

    @classmethod
    def check(cls, run: Run) -> None:
        """Questions and references can be read; the server is not asked for two models as one."""
        list(run.problems)  # read now
        run.config.engine.check_roles(run.config.evaluate.models)

    @classmethod
    def of(cls, run: Run) -> Iterator[ArtifactStage]:
        """Every model, format and benchmark."""
        for model, role, prompt_format in _models(run):
            for benchmark in run.config.benchmarks:
                yield cls(run, model, role, prompt_format, benchmark)

    @property
    def label(self) -> str:
        """Benchmark, role and format."""
        direct = ", direct answers" if self.prompt_format == "direct" else ""
        return f"{self.benchmark}, {self.role.replace('_', '-')} model{direct}"

    def inputs(self) -> dict[str, Any]:
        """The model, the questions and how they are asked, answered and graded."""
        config, benchmark = self.run.config, self.run.config.benchmarks[self.benchmark]
        fine_tuned, direct = self.role == "fine_tuned", self.prompt_format == "direct"
        answers = {"max_answer_tokens": config.budget.max_answer_tokens}
        return {
            "model": self.run.one("train").fingerprint if fine_tuned else self.model.fingerprint(),
            "role": self.role,
            "prompt_format": self.prompt_format,
            "budget": answers if direct else result_settings(config.budget),
            "curve": None if direct else config.curve,
            "benchmark": self.benchmark,
            "problems": content_hash(self.run.problems[self.benchmark]),
            "benchmark_info": benchmark.info(),
            "grader": result_settings(benchmark.make_grader()),
            "libraries": [[n, version(n)] for n in GRADERS_LIBRARIES.get(benchmark.grader, ())],
            "engine": result_settings(config.engine.for_role(self.role)),
            "sampling": dataclasses.asdict(benchmark.sampling(config.sampling)),
            "seed": config.root.seed,
        }

    def build(self, folder: Path) -> None:
        """Answers, grades, writes rows."""
        config, benchmark = self.run.config, self.run.config.benchmarks[self.benchmark]
        run(
            model=self.model,
            model_role=self.role,
            prompt_format=self.prompt_format,
            policy=config.budget,
            curve=config.curve,
            benchmark_name=self.benchmark,
            benchmark=benchmark,
            problems=self.run.problems[self.benchmark],
            engine=config.engine,
            sampling=benchmark.sampling(config.sampling),
            trained_format=config.train.format if self.role == "fine_tuned" else "plain",
            seed=config.root.seed,
            store_folder=self.run.output / "traces",
            folder=folder,
        )


def _models(run: Run) -> Iterator[tuple[Model, str, str]]:
    settings, model = run.config.evaluate, run.config.model
    if "fine_tuned" in settings.models:
        trained: Artifact = run.one("train")
        # the folder that training wrote is complete: nothing of the base's files is needed
        yield (
            dataclasses.replace(
                model,
                path=str(trained.folder / "model"),
                gguf_file=None,
                revision=None,
                chat_template=None,
            ),
            "fine_tuned",
            "thinking",
        )
    if "base" in settings.models:
        yield model, "base", "thinking"
        if settings.base_direct:
            yield model, "base", "direct"


def run(
    model: Model,
    model_role: str,
    prompt_format: str,
    policy: Policy,
    curve: Mapping[str, Sequence[Any]] | None,
    benchmark_name: str,
    problems: Sequence[Problem],
    engine: Engine,
    sampling: Sampling,
    seed: int,
    store_folder: Path | None,
    folder: Path,
    benchmark: Benchmark | None = None,
    grader: Grader | None = None,
    trained_format: str = "plain",
) -> dict[str, Any]:
    """Evaluates, writes `rows.parquet`, `evaluation.json` and `costs.json`; returns the second.

    Args:
        model, model_role: what answers; base or fine_tuned.
        prompt_format: "thinking", or "direct": the answer at once, and then one point only.
        policy: the budget policy; its curve is `s1x.budget.points(policy, curve)`.
        curve: setting of the policy → values.
        benchmark_name, problems: the benchmark's.
        engine: settings of the engine; it is started, or found running with this model.
        sampling, seed: how tokens are drawn.
        store_folder, folder: the trace store (None keeps nothing), and where the files go.
        benchmark: makes its grader and describes itself; None: graded exactly.
        grader: used in place of the benchmark's, and not closed.
        trained_format: the `train.format` that the model was trained in.

    Raises:
        UserError: a setting, the model or the engine that cannot be.
    """
    begun = time.perf_counter()
    if prompt_format == DIRECT_FORMAT:
        policy, curve = DirectAnswer(max_answer_tokens=policy.max_answer_tokens), None
    chosen = points(policy, curve)
    _check_sampling(chosen, sampling)
    judge = grader or (benchmark.make_grader() if benchmark else make_grader("exact"))
    prompts = Prompts(model, prompt_format)
    live = live_engine(engine.for_role(model_role), model)
    name, labels = option_name(policy), tuple(point.label() for point in chosen)
    heading = Heading(benchmark_name, model.name, model_role, prompt_format, name, labels)
    work = _Evaluation(heading, chosen, problems, sampling, seed, live, judge, begun)
    try:
        rows, notes = work.rows(prompts, store_folder)
    finally:
        if grader is None:
            judge.close()
    about = work.about(rows, benchmark) | {
        "model_fingerprint": model.fingerprint(),
        "model_notes": list(model.notes),
        "warnings": [*findings(chosen, heading.policy, rows, trained_format), *notes],
    }
    _write(folder, heading, rows, about)
    costs.write(folder, work.costs())
    return about


def _write(
    folder: Path, heading: Heading, rows: list[dict[str, Any]], about: dict[str, Any]
) -> None:
    write_rows(rows, folder)
    for warning in about["warnings"]:
        say_once(f"{heading.title()}: {warning}")
    content = json.dumps(about, indent=1, ensure_ascii=False)
    (folder / "evaluation.json").write_text(content, encoding="utf-8")


@dataclass
class _Evaluation:
    """What is evaluated, and what it took."""

    heading: Heading
    chosen: Sequence[Policy]
    problems: Sequence[Problem]
    sampling: Sampling
    seed: int
    live: LiveEngine
    grader: Grader
    begun: float

    def rows(
        self, prompts: Prompts, store_folder: Path | None
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Every point of every problem, answered and graded; and what the trace store notes."""
        model, samples = prompts.model, self.sampling.samples_per_problem
        drawn = TokenSampling(self.sampling.temperature, self.sampling.top_p)
        key, text = store_key(model, self.live), store_text(model, self.live)
        total = len(self.problems) * len(self.chosen) * samples
        with TraceStore(store_folder, key, text, prompts.num_ids) as store:
            streams = Streams(self.live, store, drawn, self.seed)
            with progress(self.heading.title(), total, "answers") as advance:
                everything = answer_all(
                    self.problems, self.chosen, samples, prompts.chat, streams, advance
                )
                answered = run_in_loop(everything)
            rows = make_rows(answered, self.heading, prompts.format, self.grader)
        self.counts, self.wall_seconds = streams.counts, time.perf_counter() - self.begun
        return rows, store.notes()

    def about(
        self, rows: Sequence[Mapping[str, Any]], benchmark: Benchmark | None
    ) -> dict[str, Any]:
        """What `evaluation.json` says."""
        head, first = self.heading, self.chosen[0]
        domains = sorted({problem.domain for problem in self.problems})
        described = {"source": None, "in_domain": None, "answer_format": None}
        return {
            "benchmark": head.benchmark,
            "model": head.model,
            "model_role": head.model_role,
            "prompt_format": head.prompt_format,
            "policy": head.policy,
            "policy_settings": dataclasses.asdict(first),
            "points": [_point(index, point) for index, point in enumerate(self.chosen)],
            "num_problems": len(self.problems),
            "samples_per_problem": self.sampling.samples_per_problem,
            "sampling": {
                "temperature": first.temperature(self.sampling.temperature),
                "top_p": self.sampling.top_p,
                "samples_survive_cuts": self.live.keeps_samples,
            },
            "engine": self.live.identity,
            "seed": self.seed,
            "benchmark_info": {"domain_names": domains, **described}
            | (benchmark.info() if benchmark else {}),
            "wall_seconds": self.wall_seconds,
            "generated_tokens": self.counts.generated_tokens,
            "stored_tokens": self.counts.stored_tokens,
            "prompt_tokens": self.counts.prompt_tokens,
            "separate_runs_tokens": self.counts.read_tokens,
            "share_answers_cut": share_cut(rows),
        }

    def costs(self) -> list[dict[str, Any]]:
        """What the model took, and its judge if there was one."""
        head, counts, judged = self.heading, self.counts, self.grader.spent
        what = f"{head.benchmark}, {head.model} ({head.model_role}, {head.prompt_format})"
        own = costs.entry(
            "evaluate",
            what,
            self.wall_seconds - (judged.wall_seconds if judged else 0.0),
            self.live.identity.get("device"),
            int(self.live.identity.get("num_devices", 1)),
            model_calls=counts.requests,
            prompt_tokens=counts.prompt_tokens,
            generated_tokens=counts.generated_tokens,
        )
        if judged is None:
            return [own]
        return [own, costs.entry("evaluate", f"judge of {what}", **vars(judged))]


def _point(index: int, point: Policy) -> dict[str, Any]:
    least, most = point.limits()
    return {
        "point": index,
        "label": point.label(),
        "settings": dataclasses.asdict(point),
        "limit_min_tokens": least,
        "limit_max_tokens": most,
    }


class Prompts:
    """Prompts of a model in one format, each text tokenized once."""

    def __init__(self, model: Model, prompt_format: str) -> None:
        if prompt_format not in (THINKING_FORMAT, DIRECT_FORMAT):
            raise SettingError("prompt_format", "thinking or direct", prompt_format)
        self.model, self.prompt_format = model, prompt_format
        self.tokenizer = load_tokenizer(model)
        self.num_ids = 1 + max(self.tokenizer.get_vocab().values())
        self.format = ChatFormat.of(model, self.tokenizer)
        if prompt_format == DIRECT_FORMAT and model.direct_prompt is not None:
            self.format = self.format.plain_completion(self.tokenizer.all_special_ids)
        self._chats: dict[str, Chat] = {}

    def chat(self, policy: Policy, problem: Problem) -> Chat:
        """The prompt of a problem as the policy words it."""
        text = policy.user_turn(problem.question)
        if text not in self._chats:
            thinking = self.prompt_format == THINKING_FORMAT
            ids_of = thinking_prompt_ids if thinking else direct_prompt_ids
            self._chats[text] = Chat(self.format, tuple(ids_of(self.tokenizer, self.model, text)))
        return self._chats[text]


def option_name(policy: Policy) -> str:
    """The name a policy is registered under; a user's own class goes by its class name."""
    names = (name for name, cls in REGISTRY.get("budget", {}).items() if cls is type(policy))
    return next(names, type(policy).__name__)


def store_key(model: Model, live: LiveEngine) -> str:
    """The trace store's folder of a model: its weights and all that the numbers depend on."""
    # delimiters and limits are the reader's affair: the same weights write the same tokens
    plain = Model(name="", path=model.path, revision=model.revision, gguf_file=model.gguf_file)
    return fingerprint({"weights": plain.fingerprint(), "engine": live.identity})


def store_text(model: Model, live: LiveEngine) -> dict[str, Any]:
    """What stands beside the streams: for people, and for `s1x.evaluate.check`."""
    names = ("path", "revision", "gguf_file", "dtype", "context_tokens")
    settings = {name: value for name, value in dataclasses.asdict(model).items() if name in names}
    return {
        "name": model.name,
        "path": model.path,
        "engine": live.identity,
        "settings": settings,
    }


def _check_sampling(chosen: Sequence[Policy], sampling: Sampling) -> None:
    greedy = any(point.temperature(sampling.temperature) <= 0 for point in chosen)
    if greedy and sampling.samples_per_problem > 1:
        raise SettingError(
            "sampling.samples_per_problem",
            "1 when sampling.temperature is 0 (greedy samples are all the same)",
            sampling.samples_per_problem,
            "set sampling.temperature=1.0",
        )
