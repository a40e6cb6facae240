"""One evaluation: a model, a prompt format, a policy's curve, a benchmark → rows and costs."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s1x import costs
from s1x.benchmark.problem import Problem
from s1x.budget import Policy, points
from s1x.budget.chat import Chat, ChatFormat
from s1x.budget.direct_answer import DirectAnswer
from s1x.console import progress, say_once
from s1x.engine.engine import Engine, LiveEngine, Sampling
from s1x.engine.live import live_engine, run_in_loop
from s1x.engine.streams import StreamCounts, Streams
from s1x.errors import SettingError
from s1x.evaluate.schedule import answer_all
from s1x.evaluate.table import Grading, Heading, make_rows, write_rows
from s1x.model.chat import direct_prompt_ids, thinking_prompt_ids
from s1x.model.model import Model
from s1x.rows import CUT, TRUNCATED, UNGRADED
from s1x.traces.store import TraceStore

if TYPE_CHECKING:
    from s1x.benchmark.judge import Spent

THINKING_FORMAT, DIRECT_FORMAT = "thinking", "direct"


def run(
    model: Model,
    model_role: str,
    prompt_format: str,
    policy: Policy,
    curve: Mapping[str, Sequence[Any]] | None,
    benchmark_name: str,
    problems: Sequence[Problem],
    engine: Engine,
    sampling: Any,
    seed: int,
    store_folder: Path | None,
    folder: Path,
    benchmark: Any = None,
    grader: Grading | None = None,
    trained_format: str = "plain",
) -> dict[str, Any]:
    """Evaluates and writes `rows.parquet`, `evaluation.json` and `costs.json` into `folder`.

    Args:
        model: what answers.
        model_role: base or fine_tuned.
        prompt_format: "thinking", or "direct": the answer at once, and then one point only.
        policy: the budget policy; its curve is `s1x.budget.points(policy, curve)`.
        curve: dial → values.
        benchmark_name: name of the benchmark.
        problems: its problems.
        engine: settings of the engine; it is started, or found running with this model.
        sampling: temperature, top_p and samples_per_problem, as attributes.
        seed: of the sampling.
        store_folder: the trace store; None keeps nothing.
        folder: where the files go.
        benchmark: names its grader (`grader`, `grader_settings`) and describes itself.
        grader: used in place of the benchmark's.
        trained_format: the `train.format` that the model was trained in.

    Returns:
        The content of `evaluation.json`.

    Raises:
        UserError: a setting, the model or the engine that cannot be.
    """
    begun = time.perf_counter()
    if prompt_format == DIRECT_FORMAT:
        policy, curve = DirectAnswer(max_answer_tokens=policy.max_answer_tokens), None
    chosen = points(policy, curve)
    _check_sampling(chosen, sampling)
    own_grader = grader is None
    grader = grader or make_grader_of(benchmark)
    prompts = Prompts(model, prompt_format)
    live = live_engine(engine, model)
    heading = Heading(
        benchmark_name,
        model.name,
        model_role,
        prompt_format,
        option_name(policy),
        tuple(point.label() for point in chosen),
    )
    store = TraceStore(
        store_folder, store_key(model, live), _store_text(model, live), prompts.num_ids
    )
    with store:
        streams = Streams(live, store, Sampling(sampling.temperature, sampling.top_p), seed)
        total = len(problems) * len(chosen) * sampling.samples_per_problem
        title = f"{benchmark_name}, {model_role.replace('_', '-')} model"
        with progress(title, total, "answers") as advance:
            answered = run_in_loop(
                answer_all(
                    problems,
                    chosen,
                    sampling.samples_per_problem,
                    prompts.chat,
                    streams,
                    advance,
                )
            )
    try:
        rows = make_rows(answered, heading, prompts.format, grader)
    finally:
        if own_grader and hasattr(grader, "close"):
            grader.close()
    write_rows(rows, folder)
    wall_seconds = time.perf_counter() - begun
    about = _about(heading, chosen, problems, sampling, live, seed, benchmark)
    about |= _counted(streams.counts, wall_seconds)
    about |= {"model_fingerprint": model.fingerprint(), "model_notes": list(model.notes)}
    about["warnings"] = [
        *_warnings(rows),
        *policy_warnings(chosen, option_name(policy), rows, trained_format),
        *store.notes(),
    ]
    for warning in about["warnings"]:
        say_once(f"{title}: {warning}")
    about["share_answers_cut"] = _share_cut(rows)
    _write(folder / "evaluation.json", about)
    judged = getattr(grader, "spent", None)
    own_seconds = wall_seconds - (judged.wall_seconds if judged else 0.0)
    costs.write(folder, _costs(heading, streams.counts, own_seconds, live, judged))
    return about


class Prompts:
    """Prompts of a model in one format, each text tokenized once."""

    def __init__(self, model: Model, prompt_format: str) -> None:
        from s1x.model.load import load_tokenizer

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
            self._chats[text] = Chat(self.format, tuple(self._ids(text)))
        return self._chats[text]

    def _ids(self, text: str) -> list[int]:
        if self.prompt_format == THINKING_FORMAT:
            return thinking_prompt_ids(self.tokenizer, self.model, text)
        return direct_prompt_ids(self.tokenizer, self.model, text)


def make_grader_of(benchmark: Any) -> Grading:
    """The grader that a benchmark names, with its settings; `exact` where it names none."""
    from s1x.benchmark.grader import make_grader

    if hasattr(benchmark, "make_grader"):
        made: Grading = benchmark.make_grader()
        return made
    name = getattr(benchmark, "grader", "exact")
    return make_grader(name, getattr(benchmark, "grader_settings", None))


def option_name(policy: Policy) -> str:
    """The name a policy is registered under; a user's own class goes by its class name."""
    from s1x.option import REGISTRY

    for name, cls in REGISTRY.get("budget", {}).items():
        if cls is type(policy):
            return name
    return type(policy).__name__


def store_key(model: Model, live: LiveEngine) -> str:
    """The trace store's folder of a model: its weights and all that the numbers depend on."""
    from s1x.artifact import fingerprint

    # delimiters and limits are the reader's affair: the same weights write the same tokens
    return fingerprint({"weights": weights_mark(model), "engine": live.identity})


def weights_mark(model: Model) -> str:
    """What tells a model's weights from others, whatever chat format it is used with."""
    plain = Model(name="", path=model.path, revision=model.revision, gguf_file=model.gguf_file)
    return plain.fingerprint()


def _store_text(model: Model, live: LiveEngine) -> dict[str, Any]:
    """What stands beside the streams: for people, and for `s1x.evaluate.check`."""
    names = ("path", "revision", "gguf_file", "dtype", "context_tokens")
    settings = {name: value for name, value in dataclasses.asdict(model).items() if name in names}
    return {
        "name": model.name,
        "path": model.path,
        "engine": live.identity,
        "settings": settings,
    }


def _check_sampling(chosen: Sequence[Policy], sampling: Any) -> None:
    greedy = any(point.temperature(sampling.temperature) <= 0 for point in chosen)
    if greedy and sampling.samples_per_problem > 1:
        raise SettingError(
            "sampling.samples_per_problem",
            "1 when sampling.temperature is 0 (greedy samples are all the same)",
            sampling.samples_per_problem,
            "set sampling.temperature=1.0",
        )


def _about(
    heading: Heading,
    chosen: Sequence[Policy],
    problems: Sequence[Problem],
    sampling: Any,
    live: LiveEngine,
    seed: int,
    benchmark: Any,
) -> dict[str, Any]:
    return {
        "benchmark": heading.benchmark,
        "model": heading.model,
        "model_role": heading.model_role,
        "prompt_format": heading.prompt_format,
        "policy": heading.policy,
        "policy_settings": dataclasses.asdict(chosen[0]),
        "points": [
            {
                "point": index,
                "label": point.label(),
                "settings": dataclasses.asdict(point),
                "limit_min_tokens": point.limits()[0],
                "limit_max_tokens": point.limits()[1],
            }
            for index, point in enumerate(chosen)
        ],
        "num_problems": len(problems),
        "samples_per_problem": sampling.samples_per_problem,
        "sampling": {
            "temperature": chosen[0].temperature(sampling.temperature),
            "top_p": sampling.top_p,
            "samples_survive_cuts": live.keeps_samples,
        },
        "engine": live.identity,
        "seed": seed,
        "benchmark_info": _benchmark_info(benchmark, problems),
    }


def _benchmark_info(benchmark: Any, problems: Sequence[Problem]) -> dict[str, Any]:
    info: Callable[[], Mapping[str, Any]] | None = getattr(benchmark, "info", None)
    found = dict(info()) if callable(info) else {}
    domains = sorted({problem.domain for problem in problems})
    base = {"source": None, "in_domain": None, "answer_format": None}
    return {"domain_names": domains, **base, **found}


def _counted(counts: StreamCounts, wall_seconds: float) -> dict[str, Any]:
    return {
        "wall_seconds": wall_seconds,
        "generated_tokens": counts.generated_tokens,
        "stored_tokens": counts.stored_tokens,
        "prompt_tokens": counts.prompt_tokens,
        "separate_runs_tokens": counts.read_tokens,
    }


def _share_cut(rows: Sequence[Mapping[str, Any]]) -> float | None:
    return sum(row["answer_cut"] for row in rows) / len(rows) if rows else None


def _warnings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader of the numbers must know."""
    found = []
    cut = sum(row["answer_cut"] for row in rows)
    if cut:
        found.append(
            f"{cut} of {len(rows)} answers came to budget.max_answer_tokens, or to the end of the "
            "context, before their end; raise it (null: what the context holds)"
        )
    truncated = sum(row["end_reason"] == TRUNCATED for row in rows)
    if truncated:
        found.append(
            f"{truncated} of {len(rows)} traces ended with the model's context, not by budget"
        )
    ungraded = [row["ungraded_reason"] for row in rows if row["verdict"] == UNGRADED]
    if ungraded:
        found.append(f"{len(ungraded)} of {len(rows)} answers are ungraded: {ungraded[0]}")
    return found


def policy_warnings(
    chosen: Sequence[Policy], name: str, rows: Sequence[Mapping[str, Any]], trained_format: str
) -> list[str]:
    """What is odd about a policy on these traces: it never did anything, or was not understood."""
    tells = any(point.user_turn("?") != "?" for point in chosen)
    if tells and chosen[0].train_format not in ("plain", trained_format):
        return [
            f"budget={name} tells its limits in a format that the model was not trained in; set "
            f"train.format={chosen[0].train_format} (+sweep=budget_policy does)"
        ]
    if tells or not rows or all(point.label() in ("natural", "direct") for point in chosen):
        return []
    if any(_acted(row) for row in rows):
        return []
    lengths = sorted(row["thinking_tokens"] for row in rows)
    return [
        f"budget={name} never acted: in none of the traces was a token forced, thinking ended or a "
        f"sample drawn again; they have {lengths[len(lengths) // 2]} thinking tokens (median; the "
        f"longest {lengths[-1]}), to which its settings must fit"
    ]


def _acted(row: Mapping[str, Any]) -> bool:
    forced = any(row["forced_mask"][: row["thinking_tokens"]])
    return forced or row["end_reason"] == CUT or row["num_waits"] > 0 or row["num_tries"] > 1


def _costs(
    heading: Heading,
    counts: StreamCounts,
    wall_seconds: float,
    live: LiveEngine,
    judged: Spent | None,
) -> list[dict[str, Any]]:
    """What the model took, and its judge if there was one."""
    what = f"{heading.benchmark}, {heading.model} ({heading.model_role}, {heading.prompt_format})"
    own = costs.entry(
        "evaluate",
        what,
        wall_seconds,
        live.identity.get("device"),
        int(live.identity.get("num_devices", 1)),
        model_calls=counts.requests,
        prompt_tokens=counts.prompt_tokens,
        generated_tokens=counts.generated_tokens,
    )
    if judged is None:
        return [own]
    judge = costs.entry(
        "evaluate",
        f"judge of {what}",
        judged.wall_seconds,
        judged.device,
        judged.num_devices,
        model_calls=judged.model_calls,
        prompt_tokens=judged.prompt_tokens,
        generated_tokens=judged.generated_tokens,
    )
    return [own, judge]


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
