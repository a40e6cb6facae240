"""s1x in a notebook: a model that is asked and evaluated under budgets, without configuration.

Everything runs in one thread of its own, one thing after another: an engine belongs to one event
loop, and a notebook has its own. Each method has a twin that is awaited (`ask_async`).
"""

from __future__ import annotations

import asyncio
import html
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import polars as pl
import yaml

from s1x.benchmark.benchmark import checked
from s1x.benchmark.grader import Grade, Grader, make_grader, ungraded
from s1x.benchmark.problem import Problem
from s1x.budget import Policy
from s1x.classes import nearest
from s1x.compose import conf_folders, made, typed
from s1x.curve import Curve
from s1x.engine.engine import Engine
from s1x.errors import UserError
from s1x.evaluate.settings import Sampling
from s1x.evaluate.stage import Evaluation, format_of
from s1x.model.load import load_tokenizer
from s1x.model.model import Model
from s1x.option import option_class
from s1x.report.segments import Decoder

if TYPE_CHECKING:
    import altair as alt

P = ParamSpec("P")
T = TypeVar("T")
Question = Problem | tuple[str, str] | Mapping[str, str]
"""What is asked: a problem, (question, reference answer), or a mapping with these two keys."""

_worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="s1x")


def load(
    model: str | Model, engine: str | Engine = "transformers", **settings: object
) -> LoadedModel:
    """A model that can be asked; its weights are loaded with the first question.

    Args:
        model: a name of `conf/model` ("puzzle_base"), a folder, a hub id, or a `Model`.
        engine: a name of `conf/engine` with its `settings`, or an `Engine`.
        settings: of the engine (`batch_size=32`).

    Raises:
        UserError: no such engine or setting, a value that cannot be, a folder that is no model.
    """
    found = model if isinstance(model, Model) else _model(model)
    found.source()
    return LoadedModel(found, _option(Engine, "engine", engine, settings))


@dataclass(frozen=True)
class ReadTrace:
    """What a model wrote under a budget, and what the budget put there.

    Attributes:
        setting: the budget's label ("max 64", "Wait x 1").
        thinking, answer: texts and whether each was forced, in their order.
        thinking_tokens, answer_tokens, forced_tokens: forced ones count as thinking too.
        end_reason: how thinking ended: natural, cut, truncated or loop.
        extracted_answer: what a grader finds in the answer.
        verdict: correct, wrong, unanswered, or ungraded where no reference was given.
    """

    question: str
    setting: str
    thinking: tuple[tuple[str, bool], ...]
    answer: tuple[tuple[str, bool], ...]
    thinking_tokens: int
    answer_tokens: int
    forced_tokens: int
    end_reason: str
    extracted_answer: str | None
    verdict: str

    def __str__(self) -> str:
        pieces = (*self.thinking, *self.answer)
        text = "".join(f"⟦{text}⟧" if forced else text for text, forced in pieces)
        return f"{text}\n[{self._facts()}]"

    def _repr_html_(self) -> str:
        mark = '<mark style="background:#ffe8d9">{}</mark>'
        texts = ((html.escape(text), forced) for text, forced in (*self.thinking, *self.answer))
        body = "".join(mark.format(text) if forced else text for text, forced in texts)
        return f"<pre style='white-space:pre-wrap'>{body}</pre><p>{html.escape(self._facts())}</p>"

    def _facts(self) -> str:
        counts = f"{self.thinking_tokens} thinking tokens, {self.forced_tokens} tokens forced"
        return f"{self.setting}: {counts}, thinking ended: {self.end_reason}, {self.verdict}"


def _awaited(method: Callable[P, T]) -> Callable[P, Coroutine[None, None, T]]:
    """The same method, awaited."""

    async def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(method, *args, **kwargs)

    return twin


class LoadedModel:
    """A model with an engine. Models take turns: asking one frees the memory of another."""

    def __init__(self, model: Model, engine: Engine) -> None:
        self.model, self.engine = model, engine

    def ask(
        self,
        question: str,
        budget: str | Policy = "budget_forcing",
        *,
        reference: str | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        **settings: object,
    ) -> ReadTrace:
        """One question under one budget policy.

        Args:
            question: the user's turn.
            budget: a name of `conf/budget` with its `settings`, or a policy.
            reference: the right answer, for a verdict (graded exactly).
            temperature: 0 is greedy.
            seed: of the sampling.
            settings: of the policy (`max_thinking_tokens=64`, `num_waits=1`).
        """
        policy = _option(Policy, "budget", budget, settings)
        if not isinstance(question, str) or not question.strip():
            raise UserError(f"question must be a text, got {question!r:.100}")
        problem = Problem("0", question, "" if reference is None else str(reference), "unknown")
        grader = make_grader("exact") if reference is not None else _NoReference()
        drawn = Sampling(temperature)
        row = _rows(self, policy, None, [problem], drawn, seed, grader).row(0, named=True)
        cut = Decoder(load_tokenizer(self.model)).cut(row)
        return ReadTrace(
            question=row["question"],
            setting=row["setting"],
            thinking=_marked(cut.thinking),
            answer=_marked(cut.answer),
            **{name: row[name] for name in ("thinking_tokens", "answer_tokens", "forced_tokens")},
            **{name: row[name] for name in ("end_reason", "extracted_answer", "verdict")},
        )

    def evaluate(
        self,
        questions: Sequence[Question],
        budget: str | Policy = "budget_forcing",
        *,
        curve: Mapping[str, Sequence[object]] | None = None,
        grader: str | Grader = "exact",
        samples_per_problem: int = 1,
        temperature: float = 0.0,
        seed: int = 0,
        folder: Path | None = None,
        traces: Path | None = None,
        **settings: object,
    ) -> pl.DataFrame:
        """A whole curve over a list of questions, as rows (docs/library.md names the columns).

        Args:
            questions: see `Question`.
            budget: a name of `conf/budget` with its `settings`, or a policy.
            curve: {setting of the policy: values}, one point each.
            grader: exact, choice, math, the dotted path of a class, or a grader.
            samples_per_problem: more than one needs a temperature.
            temperature: 0 is greedy.
            seed: of the sampling.
            folder: keeps `rows.parquet` and `evaluation.json`, as the evaluate stage does.
            traces: folder of the trace store, from which larger budgets go on.
            settings: of the policy.

        Raises:
            UserError: a setting, a question or a reference answer that cannot be.
        """
        policy = _option(Policy, "budget", budget, settings)
        swept = _swept(policy, curve)
        sampling = Sampling(temperature, samples_per_problem=samples_per_problem)
        judge = make_grader(grader) if isinstance(grader, str) else grader
        if not questions:
            raise UserError("questions is empty; give (question, reference answer) pairs")
        try:
            problems = checked([_problem(i, q) for i, q in enumerate(questions, 1)], judge)
            return _rows(self, policy, swept, problems, sampling, seed, judge, traces, folder)
        finally:
            judge.close()

    ask_async = _awaited(ask)
    evaluate_async = _awaited(evaluate)


def _rows(
    loaded: LoadedModel,
    policy: Policy,
    curve: Mapping[str, Sequence[object]] | None,
    problems: Sequence[Problem],
    sampling: Sampling,
    seed: int,
    grader: Grader,
    traces: Path | None = None,
    folder: Path | None = None,
) -> pl.DataFrame:
    """Evaluates in the worker's thread; the files stay where a folder is given."""
    work = Evaluation(
        loaded.model,
        model_role="base",
        prompt_format=format_of(policy),
        policy=policy,
        curve=curve,
        benchmark_name="questions",
        problems=problems,
        engine=loaded.engine,
        sampling=sampling,
        seed=seed,
        store_folder=traces,
        grader=grader,
    )
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(folder or scratch)
        place.mkdir(parents=True, exist_ok=True)
        _worker.submit(work.run, place).result()
        return pl.read_parquet(place / "rows.parquet", glob=False)


@dataclass(frozen=True)
class _NoReference(Grader):
    """Finds the answer and judges nothing."""

    def grade(self, problem: Problem, answer_text: str) -> Grade:
        return ungraded(self.extract(problem, answer_text), "no reference answer was given")


def plot(curves: Curve | Sequence[Curve], width: int = 480) -> alt.LayerChart | alt.FacetChart:
    """The curves over thinking tokens (log scale) with their 95% intervals, as an altair chart."""
    from s1x.report.charts import RUN_HUES
    from s1x.report.lines import Line, lines
    from s1x.report.sections.curves import mark

    found = [curves] if isinstance(curves, Curve) else curves
    shown = [
        Line(
            f"{curve.model}, {curve.benchmark}",
            RUN_HUES[i % len(RUN_HUES)],
            tuple(mark(point) for point in curve.points if point.mean_thinking_tokens),
            labelled=len(found) == 1,
        )
        for i, curve in enumerate(found)
    ]
    x_title, y_title = "mean thinking tokens (log scale)", "accuracy (%)"
    return lines("curve", "", x_title, y_title, shown).draw(width)


def _model(name: str) -> Model:
    for folder in conf_folders():
        file = folder / "model" / f"{name}.yaml"
        if file.is_file():
            values = yaml.safe_load(file.read_text(encoding="utf-8"))
            return Model(**{key: value for key, value in values.items() if key != "defaults"})
    return Model(path=name)


def _option(base: type[T], group: str, given: str | T, settings: Mapping[str, object]) -> T:
    """The option itself, or the one of that name with these settings."""
    if not isinstance(given, str):
        if settings:
            raise UserError(f"{group} is an object already; put {', '.join(settings)} into it")
        return given
    option = made(option_class(group, given, group), settings, group)
    assert isinstance(option, base)
    return option


def _swept(
    policy: Policy, curve: Mapping[str, Sequence[object]] | None
) -> dict[str, list[object]] | None:
    """The curve's values, as the policy's settings are typed.

    Raises:
        UserError: a setting that the policy does not sweep or that was given by hand, or no list.
    """
    if curve is None:
        return None
    swept, cls = policy.swept_settings, type(policy)
    by_hand = [
        f.name for f in fields(policy) if f.name in swept and getattr(policy, f.name) != f.default
    ]
    for name, values in curve.items():
        if name not in swept:
            hint = nearest(name, swept, f"it sweeps {', '.join(swept) or 'nothing'}")
            raise UserError(f"curve has {name}, which {cls.__name__} does not sweep; {hint}")
        if by_hand:
            raise UserError(
                f"curve would do nothing beside {by_hand[0]}, which means one point; give one"
            )
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise UserError(f"curve: {name} must be a list of values, got {values!r}")
    return {
        name: [typed(cls, name, value, f"curve: {name}") for value in values]
        for name, values in curve.items()
    }


def _problem(index: int, question: Question) -> Problem:
    if isinstance(question, Problem):
        return question
    form = "(question, reference answer), or a mapping with the keys question and answer"
    must = f"question {index} must be {form}"
    if isinstance(question, Mapping):
        question = (question.get("question"), question.get("answer"))  # type: ignore[assignment]
    if isinstance(question, str) or not isinstance(question, Sequence) or len(question) != 2:
        raise UserError(f"{must}; got {question!r:.100}")
    text, answer = question
    if not isinstance(text, str) or not text.strip() or answer is None:
        raise UserError(f"{must}; got {question!r:.100}")
    return Problem(
        str(index), text, str(answer), "unknown", metadata={"place": f"question {index}"}
    )


def _marked(texts: Sequence[str]) -> tuple[tuple[str, bool], ...]:
    return tuple((text, index % 2 == 1) for index, text in enumerate(texts) if text)
