"""The library: what docs/library.md shows, and the same asked and awaited."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import s1x
from s1x.compose import ROOT
from s1x.model.chat import direct_prompt_ids
from s1x.model.load import load_tokenizer

SHOWN = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "library.md").read_text("utf-8"), re.S)
README = [
    c
    for c in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    if "import s1x\n" in c
]


@pytest.fixture(scope="module")
def model() -> s1x.LoadedModel:
    return s1x.load("puzzle_base")


@pytest.mark.parametrize("code", [*SHOWN, *README])
def test_what_the_docs_show_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(code, "docs", "exec"), names)
    said = capsys.readouterr().out
    assert "⟦Wait⟧" in said
    assert "thinking tokens" in said
    assert isinstance(names["rows"], pl.DataFrame)


def test_importing_costs_nothing() -> None:
    code = "import s1x, sys; print([m for m in ('torch', 'numpy', 'polars') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr
    assert set(s1x.__all__) <= set(dir(s1x))
    with pytest.raises(AttributeError, match="it has Curve"):
        _ = s1x.nothing  # type: ignore[attr-defined]


def test_a_trace_shows_what_was_forced(model: s1x.LoadedModel) -> None:
    question = "Solve 3x+12 = 6 (mod 7) for x."
    trace = model.ask(question, max_thinking_tokens=16, reference="5")
    assert trace.setting == "max 16"
    assert trace.thinking_tokens <= 16
    assert sum(forced for _, forced in (*trace.thinking, *trace.answer)) >= 1
    assert trace.verdict in ("correct", "wrong", "unanswered")
    assert "<mark" in trace._repr_html_()
    assert model.ask(question, max_thinking_tokens=16).verdict == "ungraded"
    again = asyncio.run(model.ask_async(question, max_thinking_tokens=16, reference="5"))
    assert again == trace


def test_an_evaluation_is_the_stages_own(model: s1x.LoadedModel, tmp_path: Path) -> None:
    questions = [(f"Solve {a}x+12 = 6 (mod 7) for x.", str(pow(a, -1, 7))) for a in range(1, 7)]
    curve = {"max_thinking_tokens": [8, 32]}

    async def awaited() -> pl.DataFrame:
        """A loop that runs already, as in a notebook; the second call waits for the first."""
        direct = model.evaluate(questions[:2], curve=curve)
        assert direct.height == 4
        return await model.evaluate_async(questions, curve=curve, folder=tmp_path / "kept")

    rows = asyncio.run(awaited())
    assert rows.height == 12
    (found,) = s1x.curves(rows)
    (kept,) = s1x.curves(s1x.read_rows([tmp_path / "kept"]))
    assert [p.accuracy_percent for p in found.points] == [p.accuracy_percent for p in kept.points]
    assert [p.setting for p in kept.points] == ["max 8", "max 32"]
    assert kept.points[0].limit_max_tokens == 8
    s1x.plot(found).save(str(tmp_path / "curve.svg"))
    assert "<svg" in (tmp_path / "curve.svg").read_text()


def test_mistakes_name_what_is_wrong(model: s1x.LoadedModel) -> None:
    with pytest.raises(s1x.UserError, match="num_wait"):
        model.ask("?", "budget_forcing", num_wait=1)
    with pytest.raises(s1x.UserError, match="no_such_policy"):
        model.ask("?", "no_such_policy")
    with pytest.raises(s1x.UserError, match="questions is empty"):
        model.evaluate([])
    with pytest.raises(s1x.UserError, match="temperature"):
        model.evaluate([("?", "1")], samples_per_problem=4)
    with pytest.raises(s1x.UserError, match="not a model folder"):
        s1x.load("./nowhere")


def test_an_answer_at_once_is_asked_without_a_place_to_think(model: s1x.LoadedModel) -> None:
    question = "Which x makes 3x+31 equal 0 mod 4?"
    rows = model.evaluate([(question, "3")], "direct_answer", max_answer_tokens=4)
    direct = direct_prompt_ids(load_tokenizer(model.model), model.model, question)
    assert rows["prompt_format"].to_list() == ["direct"]
    assert rows["prompt_tokens"].to_list() == [len(direct)]
    assert rows["thinking_tokens"].to_list() == [0]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        ({"curve": {"max_thinking_token": [8]}}, "did you mean max_thinking_tokens"),
        ({"curve": {"num_waits": [True]}}, "curve: num_waits must be of its type, got True"),
        ({"curve": {"num_waits": [1.5]}}, "curve: num_waits must be of its type, got 1.5"),
        ({"curve": {"num_waits": 2}}, "must be a list of values, got 2"),
        ({"curve": {"num_waits": [1]}, "max_thinking_tokens": 16}, "beside max_thinking_tokens"),
        ({"budget": "early_exit", "curve": {"num_waits": [1]}}, "EarlyExit does not sweep"),
        ({"num_waits": True}, "num_waits must be of its type, got True"),
        ({"num_wait": 1}, "did you mean num_waits"),
        ({"wait_string": [5]}, "wait_string must be of its type"),
        ({"questions": [("q", "1"), ("q", None)]}, "question 2 must be"),
        ({"questions": [{"question": "q", "anser": "1"}]}, "question 1 must be"),
        ({"questions": ["ab"]}, "question 1 must be"),
    ],
)
def test_what_would_do_nothing_or_cannot_be_is_refused(
    model: s1x.LoadedModel, ask: dict[str, Any], words: str
) -> None:
    with pytest.raises(s1x.UserError, match=words):
        model.evaluate(**{"questions": [("q", "1")], **ask})


def test_a_question_is_a_text(model: s1x.LoadedModel) -> None:
    with pytest.raises(s1x.UserError, match="question must be a text, got 5"):
        model.ask(5)  # type: ignore[arg-type]
