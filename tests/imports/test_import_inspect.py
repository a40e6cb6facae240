"""Logs of inspect_ai, written by inspect_ai itself, become rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from logs import QUESTIONS, report_of, rows_of

from s1x.errors import UserError
from s1x.imports.inspect import Inspect

inspect_ai = pytest.importorskip("inspect_ai", reason="needs inspect-ai")


def _log(folder: Path, epochs: int = 1, scorers: int = 1, **config: Any) -> Path:
    """A run of inspect_ai over six questions, of which its model gets four right."""
    from inspect_ai.dataset import Sample
    from inspect_ai.model import (
        ChatMessageAssistant,
        ContentReasoning,
        ContentText,
        ModelOutput,
        ModelUsage,
        get_model,
    )
    from inspect_ai.scorer import includes, match
    from inspect_ai.solver import generate

    outputs = []
    for index in range(6 * epochs):
        text = f"ANSWER: {QUESTIONS[index // epochs][1] if index // epochs < 4 else 'none'}"
        parts = [ContentReasoning(reasoning=f"thought {index}"), ContentText(text=text)]
        output = ModelOutput.from_message(ChatMessageAssistant(content=[*parts]))
        output.usage = ModelUsage(
            input_tokens=7, output_tokens=30 + index, total_tokens=37 + index, reasoning_tokens=20
        )
        outputs.append(output)
    samples = [Sample(id=n + 1, input=q, target=a) for n, (q, a) in enumerate(QUESTIONS[:6])]
    task = inspect_ai.Task(
        dataset=samples, solver=generate(), scorer=[includes(), match()][:scorers], name="sums"
    )
    (log,) = inspect_ai.eval(
        task,
        model=get_model("mockllm/model", custom_outputs=outputs),
        log_dir=str(folder),
        display="none",
        epochs=epochs,
        max_samples=1,
        max_connections=1,
        **config,
    )
    assert log.status == "success"
    (file,) = folder.glob("*.eval")
    return file


def test_samples_have_their_verdict_reasoning_and_tokens(tmp_path: Path) -> None:
    file = _log(tmp_path / "log", reasoning_tokens=64)
    rows = rows_of(tmp_path, "import=inspect", f"import.path={file.parent}")
    assert rows["verdict"].to_list() == ["correct"] * 4 + ["wrong"] * 2
    assert rows["thinking_text"].to_list() == [f"thought {n}" for n in range(6)]
    assert rows["answer_text"][0] == "ANSWER: 1"
    assert rows["thinking_tokens"].to_list() == [20] * 6
    assert rows["answer_tokens"].to_list() == [10 + n for n in range(6)]
    assert rows["question"].to_list() == [q for q, _ in QUESTIONS[:6]]
    assert set(rows["setting"]) == {"max 64"}, "its own budget of reasoning tokens"
    (curve,) = report_of(tmp_path, "import=inspect", f"import.path={file}")["curves"]
    assert (curve["benchmark"], curve["model"]) == ("sums", "mockllm/model")
    assert curve["control_percent"]["value"] == 100.0


def test_epochs_are_samples_and_one_of_two_scorers_is_named(tmp_path: Path) -> None:
    file = _log(tmp_path / "log", epochs=3, scorers=2)
    with pytest.raises(UserError, match=r"has the scorers .*; set import\.scorer"):
        _ = Inspect(path=str(file)).answers
    rows = rows_of(tmp_path, "import=inspect", f"import.path={file}", "import.scorer=includes")
    assert len(rows) == 18
    assert sorted(set(rows["sample"])) == [0, 1, 2]
    (curve,) = report_of(
        tmp_path, "import=inspect", f"import.path={file}", "import.scorer=includes"
    )["curves"]
    assert (curve["num_problems"], curve["samples_per_problem"]) == (6, 3)


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    file = _log(tmp_path / "log")
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(UserError, match="is no log that inspect_ai can read"):
        _ = Inspect(path=str(file)).answers
    (tmp_path / "any.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="is no log that inspect_ai can read"):
        _ = Inspect(path=str(tmp_path / "any.json")).answers
