"""`stages=[evaluate]`: base and fine-tuned model on every benchmark, a whole curve in one pass."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from s1x import costs
from s1x.artifact import write_json
from s1x.benchmark.benchmark import Benchmark
from s1x.benchmark.grader import Grader, make_grader
from s1x.benchmark.problem import Problem, content_hash
from s1x.budget import Policy, points
from s1x.budget.direct_answer import DirectAnswer
from s1x.console import progress, say_once
from s1x.engine.engine import Engine
from s1x.engine.engine import Sampling as TokenSampling
from s1x.engine.live import run_in_loop, together
from s1x.evaluate.answers import (
    DIRECT_FORMAT,
    THINKING_FORMAT,
    Answering,
    Answers,
    Item,
    Prompts,
)
from s1x.evaluate.findings import findings, share_cut
from s1x.evaluate.schedule import Answered, expected_length
from s1x.evaluate.settings import Sampling, check_samples
from s1x.evaluate.table import Row, make_rows, write_rows
from s1x.model.model import Model
from s1x.option import REGISTRY, result_settings
from s1x.scorer.none import NoScorer
from s1x.scorer.scorer import Scorer
from s1x.search.search import Search
from s1x.stages import ArtifactStage, Run
from s1x.traces.streams import StreamCounts
from s1x.workers.local import Local
from s1x.workers.workers import Pool, Workers

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
    version = 5  # a loop is an end reason

    @classmethod
    def check(cls, run: Run) -> None:
        """Questions and references can be read; the server is not asked for two models as one."""
        list(run.problems)  # read now
        run.config.engine.check_roles(run.config.evaluate.models)
        budget = run.config.budget
        if isinstance(budget, Search) and budget.needs_scorer:
            run.config.scorer.must_score()
        run.config.workers.check(run.config.engine)
        run.config.store.check_folder()

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

    def inputs(self) -> dict[str, object]:
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
            "scorer": (
                result_settings(config.scorer) if isinstance(config.budget, Search) else None
            ),
        }

    def build(self, folder: Path) -> None:
        """Answers, grades, writes rows."""
        config, benchmark = self.run.config, self.run.config.benchmarks[self.benchmark]
        Evaluation(
            self.model,
            self.role,
            self.prompt_format,
            config.budget,
            config.curve,
            self.benchmark,
            self.run.problems[self.benchmark],
            config.engine,
            benchmark.sampling(config.sampling),
            config.root.seed,
            config.store.place(self.run.output),
            benchmark,
            trained_format=config.train.format if self.role == "fine_tuned" else "plain",
            workers=config.workers,
            scorer=config.scorer,
            journal=config.store.journal,
        ).run(folder)


def _models(run: Run) -> Iterator[tuple[Model, str, str]]:
    settings, model = run.config.evaluate, run.config.model
    prompt_format = format_of(run.config.budget)
    if "fine_tuned" in settings.models:
        yield run.trained_model(), "fine_tuned", prompt_format
    if "base" in settings.models:
        yield model, "base", prompt_format
        if settings.base_direct and prompt_format != DIRECT_FORMAT:
            yield model, "base", DIRECT_FORMAT


def format_of(policy: Policy) -> str:
    """The prompts that a policy asks with: none that opens thinking for an answer at once."""
    return DIRECT_FORMAT if isinstance(policy, DirectAnswer) else THINKING_FORMAT


@dataclass
class Evaluation:
    """One evaluation, and the counts of what it took.

    Attributes:
        model, model_role: what answers; base or fine_tuned.
        prompt_format: "thinking", or "direct": the answer at once, and then one point only.
        policy: the budget policy; its curve is `s1x.budget.points(policy, curve)`.
        curve: setting of the policy → values.
        benchmark_name, problems: the benchmark's.
        engine: settings of the engine; it is started, or found running with this model.
        sampling, seed: how tokens are drawn.
        store_folder, journal: of the trace store, and its files'; None keeps nothing.
        benchmark: makes its grader and describes itself; None: graded exactly.
        grader: used in place of the benchmark's, and not closed.
        trained_format: the `train.format` that the model was trained in.
    """

    model: Model
    model_role: str
    prompt_format: str
    policy: Policy
    curve: Mapping[str, Sequence[object]] | None
    benchmark_name: str
    problems: Sequence[Problem]
    engine: Engine
    sampling: Sampling
    seed: int
    store_folder: Path | None
    benchmark: Benchmark | None = None
    grader: Grader | None = None
    trained_format: str = "plain"
    workers: Workers = field(default_factory=Local)
    scorer: Scorer = field(default_factory=NoScorer)
    journal: str = "auto"

    def run(self, folder: Path) -> dict[str, object]:
        """Writes `rows.parquet`, `evaluation.json` and `costs.json`; returns the second.

        Raises:
            UserError: a setting, the model or the engine that cannot be.
        """
        begun = time.perf_counter()
        if self.prompt_format == DIRECT_FORMAT:
            answer = DirectAnswer(max_answer_tokens=self.policy.max_answer_tokens)
            self.policy, self.curve = answer, None
        self.points = points(self.policy, self.curve)
        coldest = min(point.temperature(self.sampling.temperature) for point in self.points)
        check_samples(coldest, self.sampling.samples_per_problem)
        grader = self.grader or (
            self.benchmark.make_grader() if self.benchmark else make_grader("exact")
        )
        prompts = Prompts(self.model, self.prompt_format)
        self.shared = {
            "benchmark": self.benchmark_name,
            "model": self.model.name,
            "model_role": self.model_role,
            "prompt_format": self.prompt_format,
            "policy": option_name(self.policy),
        }
        title = f"{self.benchmark_name}, {self.model_role.replace('_', '-')} model"
        try:
            answered, notes = self._answered(title, grader)
            rows = make_rows(answered, self.shared, self.points, prompts.format, grader)
            self.wall_seconds = time.perf_counter() - begun
        finally:
            if self.grader is None:
                grader.close()
        warned = findings(self.points, self.shared["policy"], rows, self.trained_format)
        warned += notes
        about = self._about(rows) | {"warnings": warned}
        write_rows(rows, folder)
        for warning in warned:
            say_once(f"{title}: {warning}")
        write_json(folder / "evaluation.json", about)
        costs.write(folder, self._costs(grader))
        return about

    def _answered(self, title: str, grader: Grader) -> tuple[list[Answered], list[str]]:
        """Every point of every problem, by problem, point and sample; and what the stores note."""
        work = Answering(
            self.model,
            self.prompt_format,
            self.points,
            self.problems,
            self.sampling.samples_per_problem,
            TokenSampling(self.sampling.temperature, self.sampling.top_p),
            self.seed,
            self.store_folder and self.store_folder.absolute(),
            grader,
            self.scorer,
            self.sampling.confidence or any(map(self._reads_confidence, self.points)),
            self.journal,
        )
        found, pool = run_in_loop(self._all(work, title))
        self.about, self.replicas = pool.about, [r.described() for r in pool.replicas]
        self.counts = StreamCounts()
        for answers in found:
            self.counts.add(answers.counts)
        rows = [row for answers in found for row in answers.answered]
        place = {problem.problem_id: i for i, problem in enumerate(self.problems)}
        rows.sort(key=lambda row: (place[row.problem.problem_id], row.point, row.sample))
        return rows, pool.notes

    def _reads_confidence(self, point: Policy) -> bool:
        scored = isinstance(point, Search) and point.needs_scorer
        return point.reads_confidence or (scored and self.scorer.reads_confidence)

    async def _all(self, work: Answering, title: str) -> tuple[list[Answers], Pool[Item, Answers]]:
        samples = range(work.samples_per_problem)
        items = [Item(i, sample) for i in range(len(self.problems)) for sample in samples]
        engine = self.engine.for_role(self.model_role)
        async with self.workers.open(engine, self.model, work) as pool:
            with progress(title, len(items) * len(self.points), "answers") as advance:

                async def done(item: Item) -> Answers:
                    problem = self.problems[item.problem]
                    expected = expected_length(problem)
                    answers = await pool.do(item, problem.problem_id, expected)
                    advance(len(answers.answered))
                    return answers

                return await together(map(done, items)), pool

    def _about(self, rows: Sequence[Row]) -> dict[str, object]:
        first, counts = self.points[0], self.counts
        domains = sorted({problem.domain for problem in self.problems})
        described = {"source": None, "in_domain": None, "answer_format": None}
        return {
            **self.shared,
            "policy_settings": dataclasses.asdict(first),
            "points": [_point(index, point) for index, point in enumerate(self.points)],
            "num_problems": len(self.problems),
            "samples_per_problem": self.sampling.samples_per_problem,
            "sampling": {
                "temperature": first.temperature(self.sampling.temperature),
                "top_p": self.sampling.top_p,
                "samples_survive_cuts": self.about.keeps_samples,
                "confidence_group_tokens": self.sampling.confidence_group_tokens,
            },
            "engine": self.about.identity,
            "replicas": self.replicas,
            "seed": self.seed,
            "benchmark_info": {"domain_names": domains, **described}
            | (self.benchmark.info() if self.benchmark else {}),
            "wall_seconds": self.wall_seconds,
            "generated_tokens": counts.generated_tokens,
            "stored_tokens": counts.stored_tokens,
            "prompt_tokens": counts.prompt_tokens,
            "separate_runs_tokens": counts.read_tokens,
            "share_answers_cut": share_cut(rows),
            "model_fingerprint": self.model.fingerprint(),
            "model_notes": list(self.model.notes),
        }

    def _speeds(self) -> str:
        """Of each of several replicas, for the ledger."""
        if len(self.replicas) < 2:
            return ""
        speeds = ", ".join(map(_speed, self.replicas))
        return f", {len(self.replicas)} engines, {speeds} tokens/s"

    def _costs(self, grader: Grader) -> list[dict[str, object]]:
        """What the model took, and its judge if there was one."""
        counts, judged = self.counts, grader.spent
        about = f"{self.model_role}, {self.prompt_format}"
        what = f"{self.benchmark_name}, {self.model.name} ({about})"
        own = costs.entry(
            "evaluate",
            what + self._speeds(),
            self.wall_seconds - (judged.wall_seconds if judged else 0.0),
            self.about.identity.get("device"),
            len(self.replicas) * int(self.about.identity.get("num_devices", 1)),
            model_calls=counts.requests,
            prompt_tokens=counts.prompt_tokens,
            generated_tokens=counts.generated_tokens,
        )
        if judged is None:
            return [own]
        return [own, costs.entry("evaluate", f"judge of {what}", **vars(judged))]


def _speed(replica: Mapping[str, object]) -> str:
    speed = replica["tokens_per_second"]
    return f"{speed:,.0f}" if isinstance(speed, float) else "0"


def _point(index: int, point: Policy) -> dict[str, object]:
    least, most = point.limits()
    return {
        "point": index,
        "label": point.label(),
        "settings": dataclasses.asdict(point),
        "limit_min_tokens": least,
        "limit_max_tokens": most,
    }


def option_name(policy: Policy) -> str:
    """The name a policy is registered under; a user's own class goes by its class name."""
    names = (name for name, cls in REGISTRY.get("budget", {}).items() if cls is type(policy))
    return next(names, type(policy).__name__)
