"""What the annotation stage makes, with which models, and how much it may cost.

    python run.py stages=[annotate,select] pool=jsonl pool.path=questions.jsonl \\
        annotate.tasks=[trace,judge,domain] annotate.teacher.model=deepseek-r1 \\
        'annotate.teacher.base_urls=[http://node1:8000/v1,http://node2:8000/v1]'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from s1x.engine.servers import Patience, Servers
from s1x.errors import SettingError
from s1x.option import option, result_settings, setting

#: who does which task, in the order in which a row's columns are made
ROLES = {"teacher": "trace", "solvers": "solve", "judge": "judge", "classifier": "domain"}
TASKS = tuple(ROLES.values())


@dataclass(frozen=True)
class Endpoint(Servers):
    """A model behind one or more OpenAI-compatible servers; none given: the run's own engine."""

    model: str = setting(
        "",
        "name that the servers know the model by; without servers an option of the group model, "
        "empty: the run's own model",
    )
    temperature: float = setting(0.0, "0 is greedy", at_least=0)
    top_p: float = setting(1.0, "nucleus sampling: probability mass kept", above=0, at_most=1)
    max_tokens: int = setting(8192, "longest reply, in tokens", at_least=1)
    prompt: str | None = setting(
        None, "in place of the task's own; {question} and so on stand in it"
    )
    usd_per_million_prompt_tokens: float | None = setting(
        None, "price; unknown if null", at_least=0, affects_result=False
    )
    usd_per_million_generated_tokens: float | None = setting(
        None, "price; unknown if null", at_least=0, affects_result=False
    )

    def usd(self, prompt_tokens: int | None, generated_tokens: int | None) -> float | None:
        """What a call costs, as far as prices and counts are known."""
        prices = (self.usd_per_million_prompt_tokens, self.usd_per_million_generated_tokens)
        if None in prices or prompt_tokens is None or generated_tokens is None:
            return None
        return (prompt_tokens * (prices[0] or 0) + generated_tokens * (prices[1] or 0)) / 1e6


@option("annotate", "annotate")
@dataclass(frozen=True)
class Annotate(Patience):
    """Which columns are made, by which models, within which limits."""

    tasks: list[str] = setting(factory=lambda: list(TASKS), doc="of " + ", ".join(TASKS))
    teacher: Endpoint = setting(factory=Endpoint, doc="writes reasoning traces and attempts")
    solvers: dict[str, Any] = setting(
        factory=dict, doc="{name: endpoint}: attempts whose verdicts tell difficulty"
    )
    judge: Endpoint = setting(factory=Endpoint, doc="compares attempts with solutions")
    classifier: Endpoint = setting(factory=Endpoint, doc="names the domain of a question")
    replace: bool = setting(False, "also make values that the pool has already")
    max_replies: int = setting(3, "replies asked for until one can be read", at_least=1)
    max_total_tokens: int | None = setting(
        None,
        "tokens (prompt and reply) that new calls of a run may use",
        at_least=1,
        affects_result=False,
    )
    max_usd: float | None = setting(
        None, "US dollars that new calls of a run may cost", above=0, affects_result=False
    )

    def __post_init__(self) -> None:
        for role in ROLES:
            given = vars(self)[role]
            if role == "solvers":
                made: object = {str(k): _endpoint(v, f"solvers.{k}") for k, v in given.items()}
            else:
                made = _endpoint(given, role)
            object.__setattr__(self, role, made)
        super().__post_init__()
        for task in self.tasks:
            if task not in TASKS:
                raise SettingError("tasks", "of " + ", ".join(TASKS), task)

    def check(self) -> None:
        """Refuses tasks without a model, and a money cap without prices.

        Raises:
            SettingError: naming the setting that is missing.
        """
        if "solve" in self.tasks and not self.solvers:
            remedy = "set +annotate.solvers.<name>.model=..., or leave solve out of annotate.tasks"
            raise SettingError("annotate.solvers", "named for the task solve", {}, remedy)
        for role, endpoint in self.used():
            if endpoint.base_urls and not endpoint.model:
                task, key = ROLES[role.partition(".")[0]], f"annotate.{role}.model"
                must = f"set for the task {task}, as its servers know it"
                raise SettingError(
                    key, must, "", f"set {key}=..., or leave {task} out of annotate.tasks"
                )
            if self.max_usd is not None and endpoint.usd(1, 1) is None:
                key = f"annotate.{role}.usd_per_million_prompt_tokens"
                remedy = "prices are needed for annotate.max_usd"
                raise SettingError(key, "set (and that of generated tokens)", None, remedy)

    def used(self) -> list[tuple[str, Endpoint]]:
        """(role, endpoint) of every model that the tasks call."""
        solvers = [(f"solvers.{name}", endpoint) for name, endpoint in self.solvers.items()]
        found = {
            "trace": [("teacher", self.teacher)],
            "solve": solvers,
            "judge": [("judge", self.judge)],
            "domain": [("classifier", self.classifier)],
        }
        return [pair for task, pairs in found.items() if task in self.tasks for pair in pairs]

    def described(self) -> dict[str, object]:
        """What the result depends on, for fingerprints: no addresses, prices, pauses or caps."""
        return {
            "tasks": list(self.tasks),
            "models": {role: result_settings(endpoint) for role, endpoint in self.used()},
            "replace": self.replace,
            "max_replies": self.max_replies,
        }


def _endpoint(given: Endpoint | Mapping[str, Any], role: str) -> Endpoint:
    if isinstance(given, Endpoint):
        return given
    try:
        return Endpoint(**given)
    except SettingError as error:
        raise error.under(role) from None
    except TypeError as error:
        raise SettingError(role, "an endpoint", given, str(error)) from None
