"""The annotation stage against a server of its own that misbehaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unreliable_server import LocalServer

from s1x.annotate.annotate import Annotate
from s1x.annotate.stage import STORE, run
from s1x.annotate.store import AnswerStore
from s1x.annotate.tasks import domains
from s1x.errors import SettingError, UserError

NUM_QUESTIONS = 60


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalServer]:
    made = LocalServer(tmp_path, 0.3)
    yield made
    made.kill()


@pytest.fixture
def steady(tmp_path: Path) -> Iterator[LocalServer]:
    made = LocalServer(tmp_path, 0.0)
    yield made
    made.kill()


def make_pool(folder: Path, num_questions: int = NUM_QUESTIONS) -> Path:
    folder.mkdir(exist_ok=True)
    columns = {
        "question": [f"What is {a} plus {a + 1}?" for a in range(num_questions)],
        "solution": [str(2 * a + 1) for a in range(num_questions)],
        "extra": [str(a) for a in range(num_questions)],
    }
    pq.write_table(pa.table(columns), folder / "part-00000.parquet")
    return folder


def settings(*urls: str, **changed: Any) -> Annotate:
    models: dict[str, Any] = {
        name: {"model": name, "base_urls": list(urls), "concurrency": 8, "max_tokens": 100}
        for name in ("teacher", "judge", "classifier")
    }
    solver = {"model": "solver", "base_urls": list(urls), "concurrency": 8, "max_tokens": 100}
    values = {
        "backoff_seconds": 0.01,
        "max_backoff_seconds": 0.2,
        "timeout_seconds": 0.7,
        "max_tries": 30,
    }
    return Annotate(**{**models, "solvers": {"small": solver}, **values, **changed})


def rows_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "part-00000.parquet").to_pylist()
    return rows


def check(rows: list[dict[str, Any]], num_questions: int = NUM_QUESTIONS) -> None:
    assert len(rows) == num_questions
    for a, row in enumerate(rows):
        assert row["question"] == f"What is {a} plus {a + 1}?"
        assert row["extra"] == str(a)
        assert row["reasoning_trace"] == f"I add {a} and {a + 1}."
        assert row["attempt"] == f"The answer is \\boxed{{{2 * a + 1}}}."
        assert row["answer_small"] == f"\\boxed{{{2 * a + 1 if a % 2 == 0 else 0}}}"
        judged = a % 10 != 3  # the judge's reply about these cannot be read: missing, not guessed
        assert row["attempt_is_correct"] is (True if judged else None)
        assert row["is_correct_small"] is (a % 2 == 0 if judged else None)
        assert row["domain"] == ("Number theory" if a % 2 else None)  # 99 is no code


def test_every_column_comes_from_a_server_that_misbehaves(
    server: LocalServer, tmp_path: Path
) -> None:
    pool = make_pool(tmp_path / "pool")
    summary = run(pool, settings(server.url), tmp_path / "out", tmp_path / "store")
    check(rows_of(tmp_path / "out"))
    assert summary["missing"]["reasoning_trace"] == 0
    assert summary["missing"]["attempt_is_correct"] == NUM_QUESTIONS // 10
    assert summary["missing"]["domain"] == NUM_QUESTIONS // 2
    calls = sum(counts["calls"] for counts in summary["models"].values())
    with_store = AnswerStore(tmp_path / "store" / STORE)
    assert calls == len(with_store)
    costs = json.loads((tmp_path / "out" / "costs.json").read_text())
    assert sum(cost["model_calls"] for cost in costs) == calls
    assert costs[0]["generated_tokens"] == 5 * costs[0]["model_calls"]
    assert costs[0]["usd"] is None  # no price, no guess


def test_second_run_costs_nothing_and_a_changed_prompt_redoes_only_its_task(
    steady: LocalServer, tmp_path: Path
) -> None:
    pool = make_pool(tmp_path / "pool")
    run(pool, settings(steady.url), tmp_path / "a", tmp_path / "store")
    first = len(steady.sent())
    run(pool, settings(steady.url), tmp_path / "b", tmp_path / "store")
    assert len(steady.sent()) == first
    assert (tmp_path / "a/part-00000.parquet").read_bytes() == (
        tmp_path / "b/part-00000.parquet"
    ).read_bytes()
    classifier = {
        "model": "classifier",
        "base_urls": [steady.url],
        "prompt": "Sort: {question} {x}",
    }
    run(pool, settings(steady.url, classifier=classifier), tmp_path / "c", tmp_path / "store")
    new = steady.sent()[first:]
    assert {model for model, _, _ in new} == {"classifier"}
    assert all(text.startswith("Sort: What is") and text.endswith("{x}") for _, text, _ in new)


def test_killed_and_restarted_halfway_every_question_is_answered_once(
    server: LocalServer, tmp_path: Path
) -> None:
    pool = make_pool(tmp_path / "pool")
    code = (
        "import sys, pathlib; sys.path[:0] = [sys.argv[1], sys.argv[1] + '/tests/annotate'];"
        "from test_annotation import settings; from s1x.annotate.stage import run;"
        "p = pathlib.Path(sys.argv[2]);"
        "run(p / 'pool', settings(sys.argv[3]), p / 'out', p / 'store')"
    )
    root = str(Path(__file__).resolve().parents[2])
    client = subprocess.Popen(
        [sys.executable, "-c", code, root, str(tmp_path), server.url], cwd=root
    )
    deadline = time.monotonic() + 60
    while len(server.sent()) < 2 * NUM_QUESTIONS and time.monotonic() < deadline:
        time.sleep(0.01)
    client.send_signal(signal.SIGKILL)
    client.wait()
    server.kill()
    kept = len(AnswerStore(tmp_path / "store" / STORE))
    before = set(map(tuple, server.sent()))
    assert kept >= NUM_QUESTIONS  # halfway
    assert not (tmp_path / "out" / "annotation.json").exists()
    server.start()
    log_lines = len(server.sent())
    run(pool, settings(server.url), tmp_path / "out", tmp_path / "store")
    check(rows_of(tmp_path / "out"))
    after = set(map(tuple, server.sent()[log_lines:]))
    assert len(AnswerStore(tmp_path / "store" / STORE)) == len(
        before | after
    )  # none lost, each once
    assert len(before & after) <= len(before) - kept  # asked again: only what the dead client lost


def test_calls_spread_over_servers_and_go_on_when_one_dies(
    steady: LocalServer, tmp_path: Path
) -> None:
    other = LocalServer(tmp_path, 0.0)
    try:
        pool = make_pool(tmp_path / "pool")
        both = settings(steady.url, other.url)
        run(pool, both, tmp_path / "a", tmp_path / "store-a")
        shares = [len(s.sent()) for s in (steady, other)]
        assert min(shares) > 0.3 * sum(shares)
        assert sum(shares) == len(AnswerStore(tmp_path / "store-a" / STORE))  # one store, each once
        other.kill()
        run(pool, both, tmp_path / "b", tmp_path / "store-b")
        check(rows_of(tmp_path / "b"))
    finally:
        other.kill()


def test_caps_stop_cleanly_and_are_not_passed(steady: LocalServer, tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    capped = settings(steady.url, max_total_tokens=3000, timeout_seconds=30.0)
    said = r"annotate.max_total_tokens=3000 is reached: \d+ new answers"
    with pytest.raises(UserError, match=said):
        run(pool, capped, tmp_path / "a", tmp_path / "store")
    kept = len(AnswerStore(tmp_path / "store" / STORE))
    assert kept == len(steady.sent())  # whatever was answered is stored
    assert 0 < 15 * kept <= 3000
    prices = {"usd_per_million_prompt_tokens": 1000.0, "usd_per_million_generated_tokens": 1000.0}
    teacher = {"model": "teacher", "base_urls": [steady.url], "max_tokens": 100, **prices}
    dear = settings(steady.url, tasks=["trace"], teacher=teacher, max_usd=0.3)
    with pytest.raises(UserError, match=r"annotate.max_usd=0.3 is reached"):
        run(pool, dear, tmp_path / "a", tmp_path / "store-usd")
    assert 0.015 * len(AnswerStore(tmp_path / "store-usd" / STORE)) <= 0.3
    summary = run(pool, settings(steady.url), tmp_path / "b", tmp_path / "store")
    check(rows_of(tmp_path / "b"))
    assert sum(counts["from_store"] for counts in summary["models"].values()) >= kept


def test_what_the_pool_has_is_kept_unless_replaced(steady: LocalServer, tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "question": ["What is 1 plus 2?", "What is 5 plus 6?"],
        "reasoning_trace": ["mine", None],
        "attempt": ["also mine", None],
        "trace_tokens": [1, None],
    }
    (tmp_path / "pool").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "pool" / "part-00000.parquet")
    run(
        tmp_path / "pool", settings(steady.url, tasks=["trace"]), tmp_path / "a", tmp_path / "store"
    )
    assert [r["reasoning_trace"] for r in rows_of(tmp_path / "a")] == ["mine", "I add 5 and 6."]
    assert [r["trace_tokens"] for r in rows_of(tmp_path / "a")] == [1, None]
    anew = settings(steady.url, tasks=["trace"], replace=True)
    run(tmp_path / "pool", anew, tmp_path / "b", tmp_path / "store")
    assert next(r["reasoning_trace"] for r in rows_of(tmp_path / "b")) == "I add 1 and 2."
    assert [r["trace_tokens"] for r in rows_of(tmp_path / "b")] == [None, None]


def test_mistakes_are_told_in_a_sentence(steady: LocalServer, tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool", 3)

    def attempt(changed: Annotate) -> None:
        run(pool, changed, tmp_path / "out", tmp_path / "store")

    with pytest.raises(
        SettingError, match=r"annotate.teacher.model must be set for the task trace"
    ):
        attempt(settings(steady.url, teacher={"base_urls": [steady.url]}))
    with pytest.raises(SettingError, match="usd_per_million_prompt_tokens must be set"):
        attempt(settings(steady.url, max_usd=1.0))
    with pytest.raises(UserError, match="base_urls must name a server"):
        attempt(settings())
    unknown = {"model": "unknown", "base_urls": [steady.url]}
    with pytest.raises(UserError, match="does not know the model or path"):
        attempt(settings(steady.url, teacher=unknown))
    gone = {"model": "teacher", "base_urls": ["http://127.0.0.1:9/v1"]}
    with pytest.raises(UserError, match="no server of teacher answers"):
        attempt(settings(steady.url, teacher=gone, max_tries=3))
    with pytest.raises(SettingError, match="tasks must be of trace, solve"):
        settings(tasks=["label"])
    with pytest.raises(SettingError, match=r"teacher.concurrency must be 1 or more"):
        settings(teacher={"model": "x", "concurrency": 0})


def test_domains_are_those_that_s1_sorts_by(shared_data: Path) -> None:
    codes = json.loads((shared_data / "msc.json").read_text())
    assert set(domains()) == set(codes)
