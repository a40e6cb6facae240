"""The evaluate stage on a tiny model: rows, books, resuming after a kill."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from s1x.benchmark.problem import Problem
from s1x.budget.budget_forcing import BudgetForcing
from s1x.budget.class_conditional import ClassConditional
from s1x.budget.early_exit import EarlyExit
from s1x.budget.policy import Policy
from s1x.budget.rejection_sampling import RejectionSampling
from s1x.budget.token_conditional import TokenConditional
from s1x.budget.wait_window import WaitWindow
from s1x.engine.live import close_engine
from s1x.engine.scripted import Scripted
from s1x.engine.transformers import Transformers
from s1x.errors import SettingError
from s1x.evaluate.settings import Sampling
from s1x.evaluate.stage import Evaluation
from s1x.evaluate.store import check
from s1x.model.model import Model
from s1x.rows import schema
from s1x.traces.store import piece_checksum
from s1x.traces.upkeep import describe

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "engine")]
from tiny_model import write_tiny_model  # noqa: E402

CURVE = {"max_thinking_tokens": [4, 16, 48], "num_waits": [0, 2]}
SMALL = {"max_answer_tokens": 8, "answer_reserve_tokens": 8}
GREEDY = Sampling(temperature=0.0, top_p=1.0, samples_per_problem=1)
UNTIMED = [name for name in schema().names if not name.endswith("_seconds")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def problems(count: int) -> list[Problem]:
    return [
        Problem(f"p{i}", f"solve {i} x + 3 = 5 mod 7", str(i % 7), "congruence", "easy")
        for i in range(count)
    ]


def run(model: Model, folder: Path, **changes: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Evaluates; the content of evaluation.json and the rows."""
    import pyarrow.parquet as pq

    settings: dict[str, Any] = {
        "model_role": "fine_tuned",
        "prompt_format": "thinking",
        "policy": BudgetForcing(**SMALL),
        "curve": CURVE,
        "benchmark_name": "tiny",
        "problems": problems(6),
        "engine": Transformers(batch_size=8),
        "sampling": GREEDY,
        "seed": 0,
        "store_folder": folder / "traces",
    }
    out = folder / "out"
    out.mkdir(parents=True, exist_ok=True)
    about = Evaluation(model, **{**settings, **changes}).run(out)
    assert json.loads((out / "evaluation.json").read_text())["points"] == about["points"]
    return about, pq.read_table(out / "rows.parquet").to_pylist()


def without_time(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in UNTIMED} for row in rows]


def test_rows_keep_their_books(model: Model, tmp_path: Path) -> None:
    from s1x.model.load import load_tokenizer

    about, rows = run(model, tmp_path)
    tokenizer = load_tokenizer(model)
    assert [p["label"] for p in about["points"]] == [
        "max 4",
        "max 16",
        "max 48",
        "max 48, Wait x 2",
    ]
    assert [p["limit_max_tokens"] for p in about["points"]] == [4, 16, 48, 48]
    assert len(rows) == 6 * 4
    for row in rows:
        ids, thinking = row["token_ids"], row["thinking_tokens"]
        assert thinking <= about["points"][row["point"]]["limit_max_tokens"]
        assert row["thinking_text"] == tokenizer.decode(ids[:thinking])
        endings = [tokenizer.decode(ids[start:]) for start in range(thinking, len(ids) + 1)]
        assert row["answer_text"] in endings
        assert row["forced_tokens"] == sum(row["forced_mask"])
        assert len(row["forced_mask"]) == len(ids)
        assert row["interim_answers"] is None
    assert {row["setting"] for row in rows} == {p["label"] for p in about["points"]}


def test_cut_answers_are_counted_and_said(model: Model, tmp_path: Path) -> None:
    script = {"think\n": "0 so 4 <|im_start|>", "answer\n": "Answer: 4"}
    settings: dict[str, Any] = {"engine": Scripted(script=script), "curve": None}
    policy = BudgetForcing(max_answer_tokens=1, answer_reserve_tokens=8)
    about, rows = run(model, tmp_path / "short", policy=policy, **settings)
    assert {row["answer_cut"] for row in rows} == {True}
    assert {row["end_reason"] for row in rows} == {"natural"}
    assert about["share_answers_cut"] == 1.0
    assert "6 of 6 answers came to budget.max_answer_tokens" in about["warnings"][0]
    policy = BudgetForcing(max_answer_tokens=None, answer_reserve_tokens=8)
    about, rows = run(model, tmp_path / "long", policy=policy, **settings)
    assert ({row["answer_cut"] for row in rows}, about["warnings"]) == ({False}, [])


def test_stored_streams_are_regenerated_and_compared(model: Model, tmp_path: Path) -> None:
    import sqlite3
    from array import array

    run(model, tmp_path)
    engine = Transformers(batch_size=8)
    (line,) = check(tmp_path / "traces", engine, 4)
    assert "4 streams regenerated" in line
    assert "0 differ" in line
    (path,) = (tmp_path / "traces").rglob("*.sqlite")
    connection = sqlite3.connect(path)
    with connection:  # a writer that saw other numbers: all is well but for the tokens
        for stream, ids in connection.execute(
            "SELECT stream, token_ids FROM pieces WHERE start = 0"
        ).fetchall():
            tokens = array("i", ids)
            tokens[0] = 6 if tokens[0] != 6 else 7
            piece = tokens.tobytes()
            row = (piece, piece_checksum(stream, 0, piece, 0), stream)
            connection.execute(
                "UPDATE pieces SET token_ids = ?, checksum = ? WHERE stream = ? AND start = 0", row
            )
    connection.close()
    (line,) = check(tmp_path / "traces", engine, 100)
    assert "(100.0%); half of those differ by token 0" in line
    (line,) = check(tmp_path / "traces", Transformers(batch_size=8, dtype="bfloat16"), 4)
    assert "not checked: other weights or another engine wrote it" in line


def test_a_curve_costs_its_longest_point(model: Model, tmp_path: Path) -> None:
    about, rows = run(model, tmp_path)
    longest = sum(r["thinking_tokens"] for r in rows if r["point"] == 3)
    answers = sum(r["answer_tokens"] + 1 for r in rows)
    assert about["generated_tokens"] <= longest + answers
    assert about["separate_runs_tokens"] > 1.3 * about["generated_tokens"]
    (cost,) = json.loads((tmp_path / "out" / "costs.json").read_text())
    assert cost["generated_tokens"] == about["generated_tokens"]
    assert (cost["stage"], cost["gpu_hours"], cost["usd"]) == ("evaluate", 0.0, None)


def test_one_pass_equals_separate_runs(model: Model, tmp_path: Path) -> None:
    _, together = run(model, tmp_path / "together")
    alone = []
    for index, settings in enumerate(({"max_thinking_tokens": 4}, {"max_thinking_tokens": 16})):
        policy = BudgetForcing(**settings, **SMALL)
        _, rows = run(model, tmp_path / str(index), policy=policy)
        alone += [row["token_ids"] for row in rows]
    expected = [[r["token_ids"] for r in together if r["point"] == p] for p in (0, 1)]
    assert alone == [ids for point in expected for ids in point]


def test_a_second_run_generates_nothing(model: Model, tmp_path: Path) -> None:
    first, rows = run(model, tmp_path)
    second, again = run(model, tmp_path)
    assert (second["generated_tokens"], second["stored_tokens"]) == (0, first["generated_tokens"])
    assert without_time(again) == without_time(rows)


def test_another_model_shares_nothing(model: Model, tmp_path: Path) -> None:
    run(model, tmp_path)
    other = write_tiny_model(tmp_path / "other", seed=1)
    about, _ = run(other, tmp_path)
    assert about["stored_tokens"] == 0
    assert len(describe(tmp_path / "traces")) == 2


def test_direct_answers_are_one_point_without_thinking(model: Model, tmp_path: Path) -> None:
    about, rows = run(model, tmp_path, prompt_format="direct")
    assert [point["label"] for point in about["points"]] == ["direct"]
    assert {row["thinking_tokens"] for row in rows} == {0}
    assert {row["forced_tokens"] for row in rows} == {0}
    asked = Model(**{**vars(model), "direct_prompt": "Q {question} A"})
    _, other = run(asked, tmp_path, prompt_format="direct")
    assert other[0]["prompt_tokens"] < rows[0]["prompt_tokens"]


def test_samples_differ_and_come_back(model: Model, tmp_path: Path) -> None:
    sampling = Sampling(temperature=1.0, top_p=0.95, samples_per_problem=3)
    _, rows = run(model, tmp_path / "a", sampling=sampling)
    assert [row["sample"] for row in rows[:3]] == [0, 1, 2]
    first = [tuple(row["token_ids"]) for row in rows[:3]]
    assert len(set(first)) > 1
    _, again = run(model, tmp_path / "b", sampling=sampling)
    assert without_time(again) == without_time(rows)
    _, seeded = run(model, tmp_path / "c", sampling=sampling, seed=1)
    assert [r["token_ids"] for r in seeded] != [r["token_ids"] for r in rows]


def test_greedy_samples_are_refused(model: Model, tmp_path: Path) -> None:
    sampling = Sampling(temperature=0.0, top_p=1.0, samples_per_problem=2)
    with pytest.raises(SettingError, match=r"set sampling\.temperature"):
        run(model, tmp_path, sampling=sampling)


def test_rejection_sampling_counts_its_tries(model: Model, tmp_path: Path) -> None:
    policy = RejectionSampling(max_thinking_tokens=6, max_tries=5, **SMALL)
    _, rows = run(model, tmp_path, policy=policy)
    assert max(row["num_tries"] for row in rows) > 1
    assert all(row["num_tries"] == 5 for row in rows if row["end_reason"] == "cut")


def test_flips_are_in_the_rows(model: Model, tmp_path: Path) -> None:
    script = {
        "think\n": "0 so 4 <|im_start|>",
        "Wait": "so 5 <|im_start|>",
        "4 <|im_start|>answer\n": "Answer: 4",
        "5 <|im_start|>answer\n": "Answer: 5",
    }
    policy = BudgetForcing(num_waits=1, count_flips=True, **SMALL)
    (problem,) = problems(1)
    problem = Problem(problem.problem_id, problem.question, "5", "congruence")
    _, rows = run(
        model, tmp_path, policy=policy, engine=Scripted(script=script), problems=[problem]
    )
    (row,) = rows
    assert row["thinking_text"].split() == ["0", "so", "4", "Wait", "so", "5"]
    assert row["interim_answers"] == ["4", "5"]
    assert row["interim_verdicts"] == ["wrong", "correct"]
    assert row["interim_token_counts"] == [3, 6]


def test_a_policy_that_never_acts_is_named(model: Model, tmp_path: Path) -> None:
    engine = Scripted(script={"think\n": "0 so 4 <|im_start|>", "answer\n": "Answer: 4"})
    settings: dict[str, Any] = {"engine": engine, "curve": None}

    def warnings(policy: Policy, **changes: Any) -> str:
        about, _ = run(model, tmp_path, policy=policy, **{**settings, **changes})
        return "; ".join(about["warnings"])

    window = warnings(WaitWindow(low_thinking_tokens=512, **SMALL))
    assert "budget=wait_window never acted" in window
    assert "3 thinking tokens (median; the longest 3)" in window
    assert "early_exit never acted" in warnings(EarlyExit(check_every_tokens=100, **SMALL))
    assert warnings(BudgetForcing(**SMALL)) == ""
    assert warnings(BudgetForcing(max_thinking_tokens=2, **SMALL)) == ""
    assert warnings(WaitWindow(low_thinking_tokens=1, **SMALL)) == ""
    assert warnings(ClassConditional(**SMALL), curve={}) == ""


def test_a_format_that_the_model_was_not_trained_in_is_named(model: Model, tmp_path: Path) -> None:
    policy = TokenConditional(max_thinking_tokens=8, **SMALL)
    about, _ = run(model, tmp_path, policy=policy)
    assert "train.format=token_conditional" in "; ".join(about["warnings"])
    about, _ = run(model, tmp_path, policy=policy, trained_format="token_conditional")
    assert "train.format" not in "; ".join(about["warnings"])


def test_a_policy_of_ones_own(model: Model, tmp_path: Path) -> None:
    from collections.abc import Iterator
    from dataclasses import dataclass

    from s1x.budget.thinking import Thinking

    @dataclass(frozen=True)
    class Twice(Policy):
        def run(self, chat: Any) -> Iterator[Any]:
            trace = Thinking(chat, self, 20)
            yield from trace.think(5)
            yield from trace.force(chat.encode("Wait"))
            ended = yield from trace.think()
            return (yield from trace.answer(ended))

    about, rows = run(model, tmp_path, policy=Twice(**SMALL))
    assert about["policy"] == "Twice"
    assert all(row["thinking_tokens"] <= 20 for row in rows)


RESUMABLE = Path(__file__).parent / "resumable_run.py"


def _killed(folder: Path, *arguments: str, after_seconds: float | None = None) -> None:
    """One evaluation into the folder, killed from outside or, without seconds, by itself."""
    process = subprocess.Popen(
        [sys.executable, str(RESUMABLE), str(folder), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(RESUMABLE.parents[1])},
    )
    if after_seconds is not None:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        time.sleep(after_seconds)
        os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"


def _kill_and_finish(
    folder: Path, kills: Sequence[Callable[[], None]], run: Callable[[Path], dict[str, Any]]
) -> None:
    stored = 0
    for kill in kills:
        kill()
        now = sum(traces.num_tokens for traces in describe(folder)) if folder.is_dir() else 0
        assert now >= stored
        stored = now
    assert stored, "no run got as far as its first commit"
    last, whole = run(folder), run(folder.with_name("whole"))
    assert last["rows"] == whole["rows"]
    # nothing that was stored is generated again: together they are what one run generates
    assert last["stored_tokens"] == stored
    assert last["generated_tokens"] + stored == whole["generated_tokens"]


def test_kill_9_and_go_on(tmp_path: Path) -> None:
    import resumable_run

    folder, rng = tmp_path / "run", random.Random(0)
    # of 489 requests; the first 60 begin together, so nothing is stored before the 61st
    kills = [partial(_killed, folder, str(rng.randint(61, 130))) for _ in range(3)]
    _kill_and_finish(folder, kills, resumable_run.evaluate)


@pytest.mark.slow
def test_kill_9_at_twenty_moments(model: Model, tmp_path: Path) -> None:
    import resumable_run

    folder, rng = tmp_path / "run", random.Random(1)
    kills = [
        partial(_killed, folder, "--model", model.path, after_seconds=rng.uniform(0.2, 1.2))
        for _ in range(20)
    ]
    run = partial(resumable_run.evaluate_model, model_folder=Path(model.path))
    _kill_and_finish(folder, kills, run)


@pytest.fixture(autouse=True, scope="module")
def _no_engine_stays() -> Any:
    yield
    close_engine()
