"""Policies over many traces, on the scripted engine and made-up scores."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_bench import ANSWER, NEWLINE, Bench, chat_format

from s1x.budget.budget_forcing import BudgetForcing
from s1x.budget.rollout import Trace
from s1x.budget.thinking import CLOSINGS
from s1x.curve.cells import cells
from s1x.curve.replays import replays
from s1x.engine.engine import Sampling
from s1x.engine.scripted import ScriptedEngine, hashed_confidence, random_tokens
from s1x.errors import SettingError, UserError
from s1x.evaluate.table import confidence_columns
from s1x.model.chat_format import Chat
from s1x.model.model import Model
from s1x.scorer.scorer import LiveScorer, Scored
from s1x.scorer.self_certainty import SelfCertainty
from s1x.search.adaptive_consistency import AdaptiveConsistency
from s1x.search.beam_search import BeamSearch
from s1x.search.best_of_n import BestOfN
from s1x.search.deepconf import DeepConf
from s1x.search.dvts import Dvts
from s1x.search.group import Books, Branch, CountingReader, Group
from s1x.search.majority_vote import MajorityVote
from s1x.search.particle_filter import ParticleFilter, systematic
from s1x.search.rebase import Rebase
from s1x.search.search import Search, aggregated, dealt, most_voted, run_search, shares
from s1x.search.short_m_at_k import ShortMAtK
from s1x.search.weighted_vote import WeightedVote
from s1x.traces.confidence import confidence_measures
from s1x.traces.store import TraceStore
from s1x.traces.streams import Streams
from tests.curve.rows_of import table_of

CHAT = Chat(chat_format(), (50, 51))
COMMON: dict[str, Any] = {"max_thinking_tokens": 60, "max_answer_tokens": 5}
STEPS: dict[str, Any] = {**COMMON, "step_tokens": 8}
SEARCHES: dict[str, Callable[[int], Search]] = {
    "best_of_n": lambda n: BestOfN(num_traces=n, **COMMON),
    "weighted_vote": lambda n: WeightedVote(num_traces=n, **COMMON),
    "majority_vote": lambda n: MajorityVote(num_traces=n, **COMMON),
    "adaptive_consistency": lambda n: AdaptiveConsistency(num_traces=n, **COMMON),
    "short_m_at_k": lambda n: ShortMAtK(num_traces=n, num_finished=2, **COMMON),
    "rebase": lambda n: Rebase(num_traces=n, step_tokens=8, **COMMON),
    "beam_search": lambda n: BeamSearch(
        num_traces=n, beam_width=min(2, n), step_tokens=8, **COMMON
    ),
    "dvts": lambda n: Dvts(num_traces=n, beam_width=min(2, n), step_tokens=8, **COMMON),
    "particle_filter": lambda n: ParticleFilter(num_traces=n, step_tokens=8, **COMMON),
    "deepconf": lambda n: DeepConf(
        num_traces=n, num_warmup=2, keep_percent=50, group_tokens=6, **COMMON
    ),
}


#: they may begin fewer traces than N, or stop some (tests/budget/test_stopping.py)
STOPPING = ("adaptive_consistency", "short_m_at_k")


class Hashed(LiveScorer):
    """Scores drawn from a hash of the tokens, or all the same."""

    num_parameters = 1000

    def __init__(self, same: bool = False) -> None:
        self.same, self.num_tokens = same, 0

    async def score(self, question: str, ids: Sequence[int], ends: Sequence[int]) -> Scored:
        self.num_tokens += len(ids)
        digests = (hashlib.blake2b(array("i", ids[:end]).tobytes()).digest()[0] for end in ends)
        return Scored(tuple(0.5 if self.same else d / 255 for d in digests), len(ids))


class Run:
    """One search, and everything it touched."""

    def __init__(
        self,
        policy: Search,
        store: TraceStore | None = None,
        scorer: LiveScorer | None = None,
        vocabulary_size: int = 12,
        problem: str = "p",
        confidence: bool = False,
    ) -> None:
        self.engine = ScriptedEngine(random_tokens(vocabulary_size))
        temperature = policy.temperature(0.0)
        ends = CHAT.format.end_ids if policy.reads_confidence or confidence else None
        store = store or TraceStore(None, "m", end_ids=ends)
        self.streams = Streams(self.engine, store, Sampling(temperature))
        reader = CountingReader(self.streams.of(problem))
        self.scorer = scorer or Hashed()
        steps = ((NEWLINE,),)
        self.group = Group(policy, CHAT, reader, "q", 0, key_of, self.scorer, steps)
        self.trace, self.books = asyncio.run(self._run(policy))

    async def _run(self, policy: Search) -> tuple[Trace, Books]:
        return await run_search(policy, self.group)


def key_of(text: str) -> str | None:
    """The first token of the answer, some of which are no answer."""
    first = text.partition(">")[0]
    return None if first in ("", "<1", "\n") else first


@pytest.mark.parametrize("name", [name for name in SEARCHES if name not in STOPPING])
@pytest.mark.parametrize("num_traces", [1, 4, 8])
def test_counts_add_up_to_what_the_engine_wrote(name: str, num_traces: int) -> None:
    """No token of a stored or shared prefix is generated again."""
    run = Run(SEARCHES[name](num_traces))
    assert run.books.total_tokens == run.engine.usage.generated_tokens
    assert run.books.total_tokens == run.streams.counts.generated_tokens
    scored = run.scorer.num_tokens  # type: ignore[attr-defined]
    assert run.books.scorer_tokens == scored
    assert run.books.num_traces == len(run.books.tree) >= num_traces
    assert [row["fate"] for row in run.books.tree].count("chosen") == 1
    assert len(run.trace.thinking_ids) <= 60
    assert list(CHAT.format.answer_start) == [
        token
        for token, part in zip(run.trace.token_ids, _parts(run.trace), strict=True)
        if part == "delimiter" and token != NEWLINE
    ]


def _parts(trace: Trace) -> list[str]:
    return [part for part, count in trace.part_tokens.items() for _ in range(count)]


@pytest.mark.parametrize("name", list(SEARCHES))
def test_a_search_that_was_killed_goes_on_from_the_store(name: str, tmp_path: Path) -> None:
    policy = SEARCHES[name](4)
    ends = CHAT.format.end_ids
    with TraceStore(tmp_path, "m", end_ids=ends) as store:
        first = Run(policy, store)
    with TraceStore(tmp_path, "m", end_ids=ends) as store:
        second = Run(policy, store)
    assert second.engine.usage.generated_tokens == 0
    assert second.trace == first.trace
    assert second.books == first.books, "what it took does not depend on what was stored"


@pytest.mark.parametrize("closing", CLOSINGS)
@pytest.mark.parametrize("name", ["beam_search", "dvts", "best_of_n", "majority_vote", *STOPPING])
def test_one_trace_is_budget_forcing_under_greedy(name: str, closing: str) -> None:
    found = Run(replace(SEARCHES[name](1), closing=closing)).trace
    plain = Bench.random().run([BudgetForcing(closing=closing, **COMMON)], CHAT)[0]
    assert found.token_ids == plain.token_ids
    assert found.forced == plain.forced
    assert found.outcome == plain.outcome


def test_sizes_read_the_same_samples() -> None:
    store = TraceStore(None, "m")
    engine = ScriptedEngine(random_tokens(12))
    streams = Streams(engine, store, Sampling(1.0))
    generated = []
    for num_traces in (8, 4, 2):
        policy = BestOfN(num_traces=num_traces, **COMMON)
        reader = CountingReader(streams.of("p"))
        group = Group(policy, CHAT, reader, "q", 0, key_of, Hashed(), ((NEWLINE,),))
        asyncio.run(run_search(policy, group))
        generated.append(engine.usage.generated_tokens)
    assert generated[0] == generated[1] == generated[2]


def test_rebase_deals_its_width_at_each_depth() -> None:
    """Traces alive and done are N after every step; a trace of no width is dropped."""
    widths: list[int] = []

    class Watched(Rebase):
        def _next(self, group: Group, live: list[Branch], width: int) -> list[Branch]:
            found = super()._next(group, live, width)
            assert len(found) == width
            scores = [branch.scores[-1] for branch in live]
            assert [found.count(one) > 0 for one in live] == [
                n > 0 for n in dealt(width, shares(scores, 0.2))
            ]
            widths.append(width)
            return found

    run = Run(Watched(num_traces=8, step_tokens=4, **COMMON), vocabulary_size=30)
    assert len(widths) > 2
    assert all(a >= b for a, b in itertools.pairwise(widths)), "who is done takes a place along"
    assert any(row["fate"] == "dropped" for row in run.books.tree)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 64), st.lists(st.floats(0, 1), min_size=1, max_size=16))
def test_widths_sum_to_the_budget(total: int, scores: list[float]) -> None:
    parts = shares(scores, 0.2)
    assert sum(parts) == pytest.approx(1)
    counts = dealt(total, parts)
    assert sum(counts) == total
    assert all(abs(n - total * part) < 1 for n, part in zip(counts, parts, strict=True))


@pytest.mark.parametrize("closing", CLOSINGS)
def test_equal_scores_leave_particles_as_they_are(closing: str) -> None:
    """Particle filtering is then plain sampling, with the same traces as majority voting."""
    limits = {**COMMON, "closing": closing, "max_thinking_tokens": 20}
    filtered = Run(
        ParticleFilter(num_traces=6, step_tokens=8, **limits),
        scorer=Hashed(same=True),
        vocabulary_size=30,
    )
    voted = Run(MajorityVote(num_traces=6, **limits), vocabulary_size=30)
    assert filtered.books.num_traces == 6
    ours, theirs = ([b.ids for b in run.group.branches] for run in (filtered, voted))
    assert ours == theirs
    assert filtered.trace.token_ids == voted.trace.token_ids


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=12), st.floats(0, 0.999))
def test_systematic_draws_are_in_proportion(weights: list[float], offset: float) -> None:
    parts = [weight / sum(weights) for weight in weights]
    counts = systematic(parts, offset)
    assert sum(counts) == len(parts)
    for count, part in zip(counts, parts, strict=True):
        assert abs(count - part * len(parts)) < 1 + 1e-6


def test_forks_share_what_stands_before_them() -> None:
    run = Run(BeamSearch(num_traces=4, beam_width=4, step_tokens=6, **COMMON), vocabulary_size=40)
    forks = [b for b in run.group.branches if b.parent is not None]
    assert forks
    for fork in forks:
        shared = list(fork.root[len(CHAT.prompt_ids) :])
        parent = run.group.branches[fork.parent or 0]
        assert parent.ids[: len(shared)] == shared == fork.ids[: len(shared)]
    samples = [b.sample for b in run.group.branches]
    assert len(set(samples)) == len(samples)


def test_votes_and_weights() -> None:
    def branch(index: int, answer: str | None, weight: float | None) -> Branch:
        return Branch(index, None, index, (), answer=answer, weight=weight)

    alike = [branch(0, "a", None), branch(1, "b", None), branch(2, "b", None)]
    assert most_voted(alike).index == 1, "the majority's first"
    weighed = [branch(0, "a", 0.9), branch(1, "b", 0.3), branch(2, "b", 0.4)]
    assert most_voted(weighed).index == 0
    weighed[1].weight = 0.6
    assert most_voted(weighed).index == 1, "the heaviest of the winner's"
    assert most_voted([branch(0, None, 0.9), branch(1, "b", 0.1)]).index == 1
    assert most_voted([branch(0, None, 0.2), branch(1, None, 0.4)]).index == 1
    scores = (0.5, 0.8, 0.4)
    wanted = {"last": 0.4, "min": 0.4, "product": 0.16, "mean": 1.7 / 3}
    assert {how: aggregated(scores, how) for how in wanted} == pytest.approx(wanted)


def test_mistakes_are_told() -> None:
    with pytest.raises(SettingError, match="a multiple of beam_width"):
        BeamSearch(num_traces=5, beam_width=2)
    with pytest.raises(UserError, match="runs many traces"):
        Bench.random().run([BestOfN(num_traces=2)], CHAT)
    assert BestOfN(num_traces=1).temperature(0.0) == 0.0
    assert BestOfN(num_traces=2).temperature(0.0) == 1.0
    assert ANSWER in CHAT.format.answer_start


def written(trace: Trace) -> list[float]:
    """DeepConf's confidence of each token that the model wrote of thinking and answer."""
    found, parts = [], _parts(trace)
    for place, (forced, part) in enumerate(zip(trace.forced, parts, strict=True)):
        if not forced and part in ("thinking", "answer"):
            ids = [*trace.prompt_ids, *trace.token_ids[: place + 1]]
            found.append(-float(hashed_confidence(ids)[0, 2]))
    return found


def groups(values: Sequence[float], size: int) -> list[float]:
    if len(values) <= size:
        return [sum(values) / max(1, len(values))]
    return [sum(values[i : i + size]) / size for i in range(len(values) - size + 1)]


@pytest.mark.parametrize("keep_percent", [10, 50, 90])
@pytest.mark.parametrize("num_warmup", [2, 5])
def test_deepconf_by_a_computation_of_its_own(keep_percent: float, num_warmup: int) -> None:
    number, size = 16, 6
    policy = DeepConf(
        num_traces=number,
        num_warmup=num_warmup,
        keep_percent=keep_percent,
        group_tokens=size,
        **COMMON,
    )
    run = Run(policy, vocabulary_size=25)
    whole = MajorityVote(num_traces=number, **COMMON)
    traces = [
        branch.trace
        for branch in Run(whole, vocabulary_size=25).group.branches
        if branch.trace is not None
    ]
    values = [written(trace) for trace in traces]
    lowest = [min(groups(v, size)) for v in values]
    bar = float(np.percentile(lowest[:num_warmup], 100 - keep_percent))
    votes: dict[str, float] = {}
    stopped = 0
    for i, (trace, v) in enumerate(zip(traces, values, strict=True)):
        below = [n for n, mean in enumerate(groups(v, size)) if mean < bar]
        branch = run.group.branches[i]
        if i >= num_warmup and below and len(v) >= size:
            stopped += 1
            assert branch.trace is None, "it ends where its group falls below the bar"
            assert branch.fate == "dropped"
            cut = below[0] + size
            assert len(branch.ids) == cut - 1
        elif lowest[i] >= bar and (answer := key_of(CHAT.decode(trace.answer_ids))):
            votes[answer] = votes.get(answer, 0.0) + lowest[i]
    assert stopped or keep_percent == 90
    if votes:
        assert key_of(CHAT.decode(run.trace.answer_ids)) == max(votes, key=lambda a: votes[a])


def test_the_measures_of_a_trace_by_hand() -> None:
    rng = np.random.default_rng(0)
    confidences = rng.uniform(2, 20, 300).astype(np.float16)
    entropies = rng.uniform(0, 3, 300).astype(np.float16)
    for size in (1, 7, 299, 300, 2048):
        found = confidence_measures(confidences, entropies, size)
        means = sorted(groups(confidences.astype(float).tolist(), size))
        tail = entropies.astype(float)[-size:]
        assert found == pytest.approx(
            {
                "mean": float(confidences.astype(float).mean()),
                "tail": float(confidences.astype(float)[-size:].mean()),
                "lowest": means[0],
                "bottom": float(np.mean(means[: max(1, len(means) // 10)])),
                "self_certainty": float(confidences.astype(float).mean()) - math.log(20),
                "tail_certainty": math.exp(-float(tail.mean())),
            }
        )


@pytest.mark.parametrize("keep_percent", [10, 90])
@pytest.mark.parametrize("problem", range(6))
def test_deepconf_live_is_its_replay(keep_percent: int, problem: int) -> None:
    """Answer and tokens, from the samples that the majority reads."""
    number, size, correct = 16, 6, "<20"
    common = {"num_traces": number, **COMMON}
    policy = DeepConf(num_warmup=4, keep_percent=keep_percent, group_tokens=size, **common)
    live = Run(policy, vocabulary_size=25, problem=f"p{problem}")
    found = Run(MajorityVote(**common), vocabulary_size=25, problem=f"p{problem}", confidence=True)
    rows = []
    for sample, branch in enumerate(found.group.branches):
        trace = branch.trace
        assert trace is not None
        rows.append(
            {
                "problem_id": "p",
                "sample": sample,
                "extracted_answer": branch.answer,
                "verdict": "correct" if branch.answer == correct else "wrong",
                "thinking_tokens": len(trace.thinking_ids),
                "answer_tokens": trace.part_tokens["answer"],
                **confidence_columns(trace),
            }
        )
    (replay,) = [
        one
        for one in replays(cells(table_of(rows))[0], [number], group_tokens=size)
        if one.rule == f"DeepConf, best {keep_percent}%"
    ]
    (chosen,) = [one for one in live.group.branches if one.fate == "chosen"]
    assert (replay.accuracy_percent.value == 100) == (chosen.answer == correct)
    counted = 0
    for branch in live.group.branches:
        if branch.trace is None:
            counted += len(branch.ids) + 1  # and the token at which it was given up
        else:
            parts = branch.trace.part_tokens
            counted += parts["thinking"] + parts["answer"]
    assert replay.mean_total_tokens == counted


@pytest.mark.parametrize("name", ["weighted_vote", "best_of_n", "rebase", "beam_search"])
def test_self_certainty_scores_steps_by_their_own_tokens(name: str) -> None:
    scorer = SelfCertainty().start(Model(name="m", path="m"))
    run = Run(SEARCHES[name](4), scorer=scorer, vocabulary_size=25, confidence=True)
    assert run.books.scorer_tokens == 0
    checked = 0
    for branch in run.group.branches:
        ids = branch.ids if branch.trace is None else branch.trace.token_ids
        forced = [False] * len(ids) if branch.trace is None else branch.trace.forced
        begin = 0
        for end, score in zip(branch.step_ends, branch.scores, strict=False):
            values = [
                -float(hashed_confidence([*CHAT.prompt_ids, *ids[: place + 1]])[0, 2])
                for place in range(begin, end)
                if not forced[place]
            ]
            begin = end
            if values and end <= len(ids):
                certainty = max(0.0, sum(values) / len(values) - math.log(20))
                assert score == pytest.approx(certainty / (1 + certainty), abs=1e-3)
                checked += 1
    assert checked
