"""What a search is: a budget policy over many traces of one question, and how one is chosen."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from s1x.budget.policy import LimitedPolicy, Steps
from s1x.budget.rollout import Trace
from s1x.errors import UserError
from s1x.model.chat_format import Chat
from s1x.option import setting
from s1x.search.group import Books, Branch, Group

#: of a trace's weight from the scores of its steps
AGGREGATES = ("last", "min", "product", "mean")


@dataclass(frozen=True)
class Search(LimitedPolicy):
    """Base of the policies over many traces.

    `max_thinking_tokens` limits each trace. `needs_scorer` says whether it wants scores.
    """

    swept_settings = ("num_traces",)
    swept_values: ClassVar = {"num_traces": [1, 2, 4, 8]}
    needs_scorer: ClassVar[bool] = True
    #: names the point
    title: ClassVar[str] = "search"

    num_traces: int = setting(4, "traces at once", at_least=1, at_most=4096)
    aggregate: str = setting(
        "last", "a trace's weight from its steps' scores", choices=[*AGGREGATES]
    )
    step_end: str = setting("\n", "text in a token that ends a step")
    sampling_temperature: float = setting(1.0, "used where sampling.temperature is 0", above=0)

    @abstractmethod
    async def search(self, group: Group) -> Branch:
        """Runs the traces; returns the one that answers."""

    def run(self, chat: Chat) -> Steps:
        raise UserError(f"{self.title} runs many traces, and here only one can be run")

    def temperature(self, configured: float) -> float:
        return configured or (self.sampling_temperature if self.num_traces > 1 else 0.0)

    def label(self) -> str:
        return f"{self.title} of {self.num_traces}"

    def weigh(self, branches: Sequence[Branch]) -> None:
        """Sets each one's weight by the scores of its steps; 0 without any."""
        for branch in branches:
            branch.weight = aggregated(branch.scores, self.aggregate) if branch.scores else 0.0


@dataclass(frozen=True)
class StepSearch(Search):
    """Base of the searches that look at their traces after each step."""

    step_tokens: int = setting(256, "tokens of a step at most", at_least=1)
    max_steps: int = setting(40, "steps of a trace at most; then it is cut", at_least=1)

    async def finished(self, group: Group, branches: Sequence[Branch]) -> Branch:
        """All answer, all are scored, and the answer with the most weight is taken."""
        await group.finish(branches)
        if len(branches) == 1:
            return branches[0]
        await group.score(branches)
        self.weigh(branches)
        return most_voted(branches)


async def run_search(policy: Search, group: Group) -> tuple[Trace, Books]:
    """The trace that a search chooses, and what the search took."""
    chosen = await policy.search(group)
    assert chosen.trace is not None, "a search returns a trace that has answered"
    for branch in group.branches:
        if branch.trace is None and branch.fate == "finished":
            branch.fate = "dropped"
    chosen.fate = "chosen"
    tree = tuple(branch.tree_row() for branch in group.branches)
    return chosen.trace, Books(
        group.reader.num_tokens,
        group.num_scorer_tokens,
        group.scorer_weighed_tokens,
        len(group.branches),
        tree,
    )


def aggregated(scores: Sequence[float], how: str) -> float:
    """One weight from the scores of a trace's steps."""
    if how == "last":
        return scores[-1]
    if how == "min":
        return min(scores)
    return math.prod(scores) if how == "product" else sum(scores) / len(scores)


def best(branches: Sequence[Branch]) -> Branch:
    """The one with the most weight; the first of equals, those with an answer before the others."""
    return max(branches, key=lambda one: (one.answer is not None, one.weight or 0.0, -one.index))


def most_voted(branches: Sequence[Branch]) -> Branch:
    """The heaviest trace of the answer with the most weight in all; ties go to the first answer."""
    votes: dict[str, float] = defaultdict(float)
    for branch in branches:
        if branch.answer is not None:
            votes[branch.answer] += 1.0 if branch.weight is None else branch.weight
    if not votes:
        return best(branches)
    winner = max(votes, key=lambda answer: votes[answer])  # the first of equals
    return best([branch for branch in branches if branch.answer == winner])


def shares(scores: Sequence[float], temperature: float) -> list[float]:
    """Softmax of scores at a temperature."""
    top = max(scores)
    parts = [math.exp((score - top) / temperature) for score in scores]
    return [part / sum(parts) for part in parts]


def dealt(total: int, parts: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to shares that sum to 1, by largest remainders."""
    exact = [total * part for part in parts]
    counts = [math.floor(value + 1e-9) for value in exact]
    by_rest = sorted(range(len(parts)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_rest[: total - sum(counts)]:
        counts[i] += 1
    return counts
