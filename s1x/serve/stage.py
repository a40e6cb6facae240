"""`stages=[serve]`: the gateway, until it is stopped. It makes no artifact."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from hydra import compose
from hydra.core.hydra_config import HydraConfig

from s1x.budget.policy import Policy
from s1x.compose import build, option_names
from s1x.engine.engine import Sampling
from s1x.engine.live import live_engine, run_in_loop
from s1x.errors import UserError
from s1x.evaluate.answers import store_key, store_text
from s1x.evaluate.stage import option_name
from s1x.model.model import Model
from s1x.scorer.none import NoScorer
from s1x.scorer.scorer import Remembered
from s1x.search.search import Search
from s1x.serve.gateway import Gateway
from s1x.serve.policies import Policies
from s1x.serve.prompts import Prompts
from s1x.serve.server import listening_socket, serve
from s1x.stages import Run, Stage
from s1x.traces.store import TraceStore
from s1x.workers.local import Local


class ServeStage(Stage):
    """Serves one model with every policy of `conf/budget`."""

    name = "serve"

    @classmethod
    def check(cls, run: Run) -> None:
        """The model, the key and the address are there."""
        if not isinstance(run.config.workers, Local) and "evaluate" not in run.stages:
            raise UserError(
                "workers does nothing in stages=[serve]: the gateway has one engine; for several "
                "copies start servers, and name them in engine=openai engine.base_urls"
            )
        if isinstance(run.config.budget, Search) and run.config.budget.needs_scorer:
            run.config.scorer.must_score()
        run.config.store.check_folder()
        run.config.serve.api_key()
        listening_socket(run.config.serve).close()
        if "train" not in run.stages:
            _model(run).source()

    @classmethod
    def execute(cls, run: Run) -> None:
        """Serves."""
        config, settings, model = run.config, run.config.serve, _model(run)
        policies = Policies(
            option_name(config.budget), config.budget, dict(presets(run)), settings.efforts
        )
        prompts = Prompts(dataclasses.replace(model, name=settings.name_of(model.name)))
        live = live_engine(config.engine.for_role(settings.model_role), model)
        wanted = config.sampling.confidence or config.budget.reads_confidence
        wanted |= config.scorer.reads_confidence
        end_ids = prompts.format.end_ids if wanted else None
        place, journal = config.store.place(run.output), config.store.journal
        store = TraceStore(
            place if settings.keep_traces else None,
            store_key(model, live, end_ids),
            store_text(model, live),
            num_ids=prompts.num_ids,
            end_ids=end_ids,
            journal=journal,
        )
        sampling = Sampling(config.sampling.temperature, config.sampling.top_p)
        prompts.format.holding("\n")  # takes its time once, and no request shall wait for it

        scorer = None
        if not isinstance(config.scorer, NoScorer):
            scorer = config.scorer.start(model)
            if settings.keep_traces:
                scorer = scorer if scorer.reads_confidence else Remembered(scorer, place, journal)

        async def work() -> None:
            if scorer is not None:
                await scorer.check()
            gateway = Gateway(live, prompts, policies, sampling, store, settings, scorer)
            await serve(gateway, settings)

        with store, contextlib.closing(scorer) if scorer else contextlib.nullcontext():
            run_in_loop(work())


def _model(run: Run) -> Model:
    base = run.config.serve.model_role == "base"
    return run.config.model if base else run.trained_model()


def presets(run: Run) -> Iterator[tuple[str, Policy]]:
    """Every option of the group budget, as this run's other settings have it.

    What the command line sets of all policies (`budget.max_answer_tokens`) holds for each; its
    other settings of the budget belong to the policy that it chose.
    """
    given = HydraConfig.get().overrides.task
    shared = {f"budget.{field.name}" for field in dataclasses.fields(Policy)}
    kept = [
        word
        for word in given
        if not word.lstrip("+~").startswith(("budget=", "budget.", "stages"))
        or word.lstrip("+").partition("=")[0] in shared
    ]
    for name in option_names("budget"):
        with contextlib.suppress(UserError):  # an option that needs a setting of its own
            yield name, build(compose("config", [*kept, f"budget={name}"]).budget, "budget", Policy)
