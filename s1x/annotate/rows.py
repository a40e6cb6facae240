"""The columns of one row, made one after another: trace, attempts of solvers, verdicts, domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s1x.annotate import tasks
from s1x.annotate.asker import Asker
from s1x.annotate.settings import Annotate

if TYPE_CHECKING:
    from s1x.selection.table import PoolTable


def made_columns(settings: Annotate) -> list[str]:
    """The columns that these tasks make."""
    made: list[str] = []
    if "trace" in settings.tasks:
        made += ["reasoning_trace", "attempt"]
    if "solve" in settings.tasks:
        made += [f"answer_{name}" for name in settings.solvers]
    if "judge" in settings.tasks:
        made += ["attempt_is_correct", *(f"is_correct_{name}" for name in settings.solvers)]
    if "domain" in settings.tasks:
        made.append("domain")
    return made


@dataclass
class Annotator:
    """Annotates rows by the models of the tasks."""

    settings: Annotate
    askers: Mapping[str, Asker]

    def reads(self, table: PoolTable) -> list[str]:
        """The columns of the pool that the tasks look at."""
        wanted = ["question", "solution", *made_columns(self.settings)]
        wanted += ["attempt", *(f"answer_{name}" for name in self.settings.solvers)]
        return [name for name in dict.fromkeys(wanted) if name in table.schema.names]

    async def annotate(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The made columns of one row; a value that no reply gives stays None."""
        made = made_columns(self.settings)
        values = {name: None if self.settings.replace else row.get(name) for name in made}
        question = row["question"]
        if values.get("reasoning_trace", "") is None or values.get("attempt", "") is None:
            await self._trace(question, values)
        attempts = {name: row.get(f"answer_{name}") for name in self.settings.solvers}
        if "solve" in self.settings.tasks:
            for name in self.settings.solvers:
                if values[f"answer_{name}"] is None:
                    values[f"answer_{name}"] = await self._attempt(question, name)
                attempts[name] = values[f"answer_{name}"]
        if "judge" in self.settings.tasks:
            own = values["attempt"] if "attempt" in values else row.get("attempt")
            verdicts = {"attempt_is_correct": own}
            verdicts.update({f"is_correct_{name}": text for name, text in attempts.items()})
            for column, attempt in verdicts.items():
                if values[column] is None:
                    values[column] = await self._verdict(question, attempt, row.get("solution"))
        if "domain" in values and values["domain"] is None:
            values["domain"] = await self._domain(question)
        return values

    async def _trace(self, question: str, values: dict[str, Any]) -> None:
        asker = self.askers["teacher"]
        messages = tasks.teacher_messages(question, asker.endpoint.prompt)
        reply = await asker.value(messages, tasks.read_trace)
        values["reasoning_trace"] = reply.reasoning_trace if reply else None
        values["attempt"] = reply.attempt if reply else None

    async def _attempt(self, question: str, solver: str) -> str | None:
        asker = self.askers[f"solvers.{solver}"]
        messages = tasks.solver_messages(question, asker.endpoint.prompt)
        return await asker.value(messages, tasks.read_attempt)

    async def _verdict(
        self, question: str, attempt: str | None, solution: str | None
    ) -> bool | None:
        if not attempt or not solution:
            return None
        asker = self.askers["judge"]
        messages = tasks.judge_messages(question, attempt, solution, asker.endpoint.prompt)
        return await asker.value(messages, tasks.read_verdict)

    async def _domain(self, question: str) -> str | None:
        asker = self.askers["classifier"]
        messages = tasks.classifier_messages(question, asker.endpoint.prompt)
        return await asker.value(messages, tasks.read_domain)
