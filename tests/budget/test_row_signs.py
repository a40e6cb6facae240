"""What an evaluation notes of single traces: spill into the answer, loops, seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import polars as pl
import policy_bench as world
import pytest
from policy_bench import Bench, chat_format

from s1x.budget import rollout
from s1x.budget.budget_forcing import BudgetForcing
from s1x.budget.policy import ANSWER, CUE, DELIMITER, THINKING
from s1x.budget.rollout import Trace
from s1x.budget.unlimited import Unlimited
from s1x.engine.engine import Request
from s1x.engine.scripted import ScriptedEngine
from s1x.evaluate.spill import spill
from s1x.model.chat_format import Chat
from s1x.traces import streams
from s1x.traces.loops import is_loop, loop_shares

END = 7
WORDS = {20: " 5", 21: " Wait", 22: " wait", 23: " Waiter", 24: " Hmm", 25: ",", 26: " Stop"}


def signs(*answer: int, cut: bool = False, wait_words: Sequence[str] = ()) -> list[str]:
    """Signs in an answer after a forced close, whose cue itself says Wait."""
    form = replace(
        chat_format((END,)), decode=lambda ids: "".join(WORDS.get(i, f"<{i}>") for i in ids)
    )
    trace = Trace((50,), answer_cut=cut)
    trace.add([21, 21], [False] * 2, THINKING)
    trace.add([END, world.ANSWER], [True] * 2, DELIMITER)
    trace.add([21], [True], CUE)
    trace.add(answer, [False] * len(answer), ANSWER)
    return spill(trace, form, wait_words)


def test_spill_is_read_from_what_the_model_wrote_of_the_answer() -> None:
    assert signs(20) == []
    assert signs(20, END, 20) == ["delimiter"]
    assert signs(20, 21) == signs(24, 25) == ["wait"]
    assert signs(22, 23) == [], "whole words in their case"
    assert signs(20, cut=True) == ["cut"]
    assert signs(21, END, world.ANSWER, 20, cut=True) == ["delimiter", "wait", "cut"]
    assert signs(26) == []
    assert signs(26, wait_words=BudgetForcing(wait_string="Stop").wait_words()) == ["wait"]
    assert BudgetForcing(wait_string="").wait_words() == Unlimited().wait_words() == ()


def test_the_share_of_a_loop_by_hand() -> None:
    # "a b a b a b": passages of two words are ab ba ab ba ab, two of them different
    shares = loop_shares(pl.Series(["a b a b a b", "a b c d e f", "a b", None]), 2, min_words=3)
    assert shares == pytest.approx([1 - 2 / 5, 0, 0, 0])
    walk = "we go round the pond and come back to where we began then " * 30
    steps = " ".join(f"step {i} gives {i * i}" for i in range(100))
    assert [is_loop(walk), is_loop(steps), is_loop("")] == [True, False, False]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Writes 20 21 END, then 30; every token takes a second."""
    clock = [100.0]
    for module in (rollout, streams):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def next_token(ids: Sequence[int], request: Request) -> int:
        clock[0] += 1
        text = (20, 21, END) if world.ANSWER not in ids else (30,)
        at = len(ids) - (2 if world.ANSWER not in ids else 1 + list(ids).index(world.ANSWER))
        return text[at] if at < len(text) else world.END_OF_TURN

    return Bench.of(ScriptedEngine(next_token))


def seconds(bench: Bench, *policies: Unlimited | BudgetForcing) -> list[list[float | None]]:
    chat = Chat(chat_format((END,)), (50, 51))
    traces = bench.run(policies, chat)
    return [[trace.first_token_seconds, trace.thinking_seconds] for trace in traces]


def test_seconds_are_those_of_this_run(bench: Bench) -> None:
    assert seconds(bench, Unlimited()) == [[1, 3]]


def test_what_was_written_before_has_no_seconds(bench: Bench) -> None:
    seconds(bench, BudgetForcing(max_thinking_tokens=1))
    assert seconds(bench, Unlimited()) == [[None, None]], "its first token was there already"
    assert seconds(bench, Unlimited()) == [[None, None]]


def test_points_that_share_a_stream_from_its_start_have_seconds(bench: Bench) -> None:
    short, whole = seconds(bench, BudgetForcing(max_thinking_tokens=1), Unlimited())
    assert short[0] == whole[0] == 1
    assert short[1] is not None
    assert whole[1] is not None
    assert short[1] < whole[1]
