"""Requests whose policy runs many traces (`s1x.search`): the one that is chosen is the reply."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from s1x.benchmark.extraction import DEFAULT_RULES, WHOLE_TEXT, extract
from s1x.benchmark.forms import normal_form
from s1x.budget.policy import Policy
from s1x.budget.rollout import Trace
from s1x.model.chat_format import Chat
from s1x.scorer.scorer import LiveScorer
from s1x.search.group import Books, CountingReader, Group
from s1x.search.search import Search, run_search
from s1x.serve.body import Ask
from s1x.serve.refusal import RefusedError
from s1x.traces.request import Reader


class Searches:
    """Runs the searches of one model.

    Args:
        scorer: None where the gateway has none; then there is the majority, no more.
        max_traces: of a request.
    """

    def __init__(self, scorer: LiveScorer | None, max_traces: int) -> None:
        self.scorer, self.max_traces = scorer, max_traces

    def serves(self, policy: Policy) -> bool:
        """Whether there is what a policy needs."""
        return not (isinstance(policy, Search) and policy.needs_scorer and self.scorer is None)

    def check(self, policy: Search, ask: Ask) -> None:
        """Refuses what cannot be searched for.

        Raises:
            RefusedError: no scorer, a request without a user's turn for it, tools, too many traces.
        """
        if not self.serves(policy):
            raise RefusedError(
                f"budget policy {policy.title} needs scores, and this gateway was started without "
                "scorer=...; majority_vote does without",
                "budget",
            )
        if policy.needs_scorer and not all(map(question_of, ask.prompts)):
            raise RefusedError(
                "the scorer reads the last user's turn, and there is none; ask "
                "/v1/chat/completions as a user, or choose another policy",
                "budget",
            )
        if ask.tools:
            raise RefusedError(
                f"tools are not served with budget policy {policy.title}, of many traces", "tools"
            )
        asked = policy.num_traces * ask.num_samples
        if asked > self.max_traces:
            raise RefusedError(
                f"num_traces ({policy.num_traces}) for each of {ask.num_samples} answers are "
                f"{asked}; serve.max_samples allows {self.max_traces}",
                "budget.num_traces",
            )

    async def run(
        self, policy: Search, chat: Chat, prompt: object, reader: Reader, sample: int
    ) -> tuple[Trace, Books]:
        """The trace that answers a prompt, and what all of them took."""
        group = Group(
            policy,
            chat,
            CountingReader(reader),
            question_of(prompt),
            sample,
            _key,
            self.scorer,
            await asyncio.to_thread(chat.format.holding, policy.step_end),
        )
        return await run_search(policy, group)


def question_of(prompt: object) -> str:
    """The last user's turn of a conversation; empty where there is none."""
    turns = prompt if isinstance(prompt, Sequence) and not isinstance(prompt, str) else ()
    said = [turn["content"] for turn in turns if isinstance(turn, dict) and turn["role"] == "user"]
    return str(said[-1]) if said else ""


def _key(answer: str) -> str | None:
    """The form in which answers are compared for votes."""
    found = extract(answer, (*DEFAULT_RULES, WHOLE_TEXT))
    return normal_form(found.text) if found is not None else None
