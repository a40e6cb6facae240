"""Clients that people use, each asking puzzles through the gateway: what evaluation measures.

Greedy decoding, so every text is compared as it is, at three budgets.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import polars as pl
import pytest
import yaml
from gateways import MODEL, served
from hydra import compose, initialize_config_dir

import s1x
from s1x.benchmark.exact import Exact
from s1x.compose import CONF, register
from s1x.config import load
from s1x.curve.interval import share_interval
from s1x.engine.engine import LiveEngine
from s1x.model.load import load_tokenizer
from s1x.stages import Run
from s1x_puzzles.puzzles import Puzzles

#: of a benchmark's problems, those that hold one which the base model gets right
PROBLEMS = {
    problem.question: problem
    for problem in Puzzles(
        split="easy", grader="exact", answer_format="a number", in_domain=True
    ).load()[:12]
}
BUDGETS = {"max=8": 8, "max=24": 24, "max=96": 96}


@dataclass
class Expected:
    """What evaluation says of one question at one budget."""

    thinking: str
    answer: str
    correct: bool


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Expected]:
    """(question, budget) → what `evaluate` wrote and how it graded."""
    folder = tmp_path_factory.mktemp("rows")
    s1x.load("puzzle_base").evaluate(
        list(PROBLEMS.values()),
        curve={"max_thinking_tokens": list(BUDGETS.values())},
        max_answer_tokens=24,
        folder=folder,
    )
    rows = pl.read_parquet(folder / "rows.parquet")
    limits = {f"max {limit}": name for name, limit in BUDGETS.items()}
    asked = {problem.problem_id: question for question, problem in PROBLEMS.items()}
    found = {
        (asked[row["problem_id"]], limits[row["setting"]]): Expected(
            row["thinking_text"], row["answer_text"], row["verdict"] == "correct"
        )
        for row in rows.iter_rows(named=True)
    }
    assert len(found) == len(PROBLEMS) * len(BUDGETS)
    assert len({e.correct for e in found.values()}) == 2, "some are right and some are wrong"
    return found


@pytest.fixture
def url(puzzle: LiveEngine) -> Iterator[str]:
    """A gateway that runs in a thread of its own, as clients of another process need it."""
    loop = asyncio.new_event_loop()
    stop, ready, found = asyncio.Event(), threading.Event(), []

    async def serve() -> None:
        async with served(puzzle) as client:
            found.append(str(client.http.base_url).rstrip("/"))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    assert ready.wait(60)
    yield found[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(60)


def graded(question: str, text: str) -> bool:
    return Exact().grade(PROBLEMS[question], text).verdict == "correct"


def test_the_openai_client_whole(url: str, expected: dict[tuple[str, str], Expected]) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    for (question, budget), right in expected.items():
        reply = client.chat.completions.create(
            model=f"{MODEL.name}@{budget}", messages=[{"role": "user", "content": question}]
        )
        message: Any = reply.choices[0].message
        assert (message.reasoning_content, message.content) == (right.thinking, right.answer)
        assert reply.usage is not None
        details = reply.usage.completion_tokens_details
        assert details is not None
        assert 0 < (details.reasoning_tokens or 0) <= BUDGETS[budget]


def test_the_openai_client_awaited_and_streamed(
    url: str, expected: dict[tuple[str, str], Expected]
) -> None:
    async def ask(client: openai.AsyncOpenAI, question: str, budget: str) -> tuple[str, str]:
        thinking, answer = [], []
        stream = await client.chat.completions.create(
            model=MODEL.name,
            messages=[{"role": "user", "content": question}],
            stream=True,
            extra_body={"thinking": {"budget_tokens": BUDGETS[budget]}},
        )
        async for chunk in stream:
            for choice in chunk.choices:
                delta: Any = choice.delta
                thinking.append(getattr(delta, "reasoning_content", None) or "")
                answer.append(delta.content or "")
        return "".join(thinking), "".join(answer)

    async def all_of_them() -> list[tuple[str, str]]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            return await asyncio.gather(*(ask(client, *asked) for asked in expected))

    assert asyncio.run(all_of_them()) == [(e.thinking, e.answer) for e in expected.values()]


def run(*command: str, cwd: Path, **environment: str) -> None:
    """A client as a process of its own; offline, without this test's event loop."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(cwd / "hf")}
    own = {**os.environ, "PYTHONPATH": "", "OPENAI_API_KEY": "none", **offline, **environment}

    async def work() -> tuple[int, str]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, cwd=cwd, env=own, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        told, _ = await process.communicate()
        return process.returncode or 0, told.decode(errors="replace")

    status, told = asyncio.run(_within(work(), 400))
    assert status == 0, told[-4000:]


async def _within(work: Coroutine[Any, Any, tuple[int, str]], seconds: float) -> tuple[int, str]:
    return await asyncio.wait_for(work, seconds)


def write_task(folder: Path, name: str, prompt: str) -> None:
    """A task of lm-evaluation-harness over the questions."""
    rows = [{"question": q, "answer": p.answer} for q, p in PROBLEMS.items()]
    lines = "\n".join(map(json.dumps, rows)) + "\n"
    (folder / "puzzles.jsonl").write_text(lines, encoding="utf-8")
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "puzzles.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": prompt,
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["\u0001"], "do_sample": False, "max_gen_toks": 300},
        "metric_list": [{"metric": "exact_match"}],
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")


@pytest.mark.clients
@pytest.mark.parametrize("kind", ["local-chat-completions", "local-completions"])
def test_lm_evaluation_harness(
    url: str, expected: dict[tuple[str, str], Expected], tmp_path: Path, kind: str
) -> None:
    pytest.importorskip("lm_eval", reason="needs lm-eval")
    chat = kind == "local-chat-completions"
    turn = [{"role": "user", "content": "{{question}}"}]
    rendered = load_tokenizer(MODEL).apply_chat_template(
        turn, tokenize=False, add_generation_prompt=True
    )
    prompt = "{{question}}" if chat else str(rendered)
    write_task(tmp_path, "puzzles", prompt)
    path = "chat/completions" if chat else "completions"
    for budget in BUDGETS:
        target = f"{url}/v1/{budget}/{path}"
        settings = f"model={MODEL.name},base_url={target},num_concurrent=8,tokenizer_backend=None"
        command = ["-m", "lm_eval", "run", "--model", kind, "--model_args", settings]
        command += ["--tasks", "puzzles", "--include_path", str(tmp_path), "--log_samples"]
        command += ["--output_path", str(tmp_path / budget)]
        command += ["--apply_chat_template"] if chat else []
        run(sys.executable, *command, cwd=tmp_path)
        (samples,) = (tmp_path / budget).rglob("samples_puzzles_*.jsonl")
        rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
        assert len(rows) == len(PROBLEMS)
        for row in rows:
            right = expected[row["doc"]["question"], budget]
            text = row["resps"][0][0]
            assert text == right.answer
            assert graded(row["doc"]["question"], text) == right.correct
    points = imported(tmp_path)["curves"][0]["points"]
    assert [point["setting"] for point in points] == ["max 8", "max 24", "max 96"]
    for budget, point in zip(BUDGETS, points, strict=True):
        right = [float(e.correct) for (_, name), e in expected.items() if name == budget]
        low, high = share_interval(right)
        assert point["accuracy_percent"] == pytest.approx(100 * sum(right) / len(right))
        assert point["interval_percent"] == pytest.approx([100 * float(low), 100 * float(high)])


def imported(folder: Path) -> dict[str, Any]:
    """The summary of a report over the harness's logs, graded by us."""
    register()
    budgets = ",".join(f"{name.replace('=', chr(92) + '=')}/:{n}" for name, n in BUDGETS.items())
    words = ["stages=[report]", f"output={folder / 'out'}", "import=lm_eval", "import.regrade=true"]
    words += [f"import.path={folder}", f"import.budgets={{{budgets}}}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", words)
        summary: Any = Run(load(cfg), cfg, folder / "run", []).execute()
    return dict(summary)


INSPECT_TASK = """
import json
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

@task
def puzzles():
    rows = [json.loads(line) for line in open("puzzles.jsonl")]
    samples = [Sample(input=row["question"], target=row["answer"]) for row in rows]
    return Task(dataset=samples, solver=generate(), scorer=includes())
"""


@pytest.mark.clients
def test_inspect(url: str, expected: dict[tuple[str, str], Expected], tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai", reason="needs inspect-ai")
    log = pytest.importorskip("inspect_ai.log")
    write_task(tmp_path, "puzzles", "{{question}}")
    (tmp_path / "task.py").write_text(INSPECT_TASK, encoding="utf-8")
    for budget in BUDGETS:
        command = ["-m", "inspect_ai", "eval", "task.py", "--log-dir", budget, "--display", "none"]
        command += ["--model", f"openai-api/gateway/{MODEL.name}@{budget}", "--temperature", "0"]
        keys = {"GATEWAY_BASE_URL": f"{url}/v1", "GATEWAY_API_KEY": "none"}
        run(sys.executable, *command, cwd=tmp_path, **keys)
        (file,) = (tmp_path / budget).glob("*.eval")
        samples = log.read_eval_log(str(file)).samples
        assert len(samples) == len(PROBLEMS)
        for sample in samples:
            right = expected[str(sample.input), budget]
            answer = sample.output.completion
            parts = sample.output.choices[0].message.content
            thinking = [part.reasoning for part in parts if part.type == "reasoning"]
            assert (answer, thinking) == (right.answer, [right.thinking])
            assert graded(str(sample.input), answer) == right.correct
