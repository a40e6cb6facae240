"""Annotation by the run's own engine: the same answers as the plain model, loaded only if asked."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s1x.annotate.annotate import Annotate
from s1x.annotate.stage import run
from s1x.compose import ROOT
from s1x.engine.engine import Engine
from s1x.engine.live import close_engine
from s1x.engine.openai import OpenAI
from s1x.engine.scripted import Scripted
from s1x.engine.transformers import Transformers
from s1x.engine.vllm import Vllm
from s1x.model.model import Model
from s1x.workers import local
from s1x.workers.chat import EngineChat

MODEL = Model(
    name="puzzle-base",
    path=str(ROOT / "s1x_puzzles" / "puzzle_base"),
    dtype="float32",
    context_tokens=512,
)
QUESTIONS = [f"Which x makes 3x+{n} equal 0 mod 7?" for n in range(6)]
MAX_TOKENS = 20


class Reference:
    """The plain model, one greedy token after another."""

    def __init__(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(MODEL.path)
        self.network: Any = AutoModelForCausalLM.from_pretrained(MODEL.path, dtype=torch.float32)
        names = ("<|im_end|>", "<|endoftext|>")
        self.ends = [self.tokenizer.convert_tokens_to_ids(name) for name in names]

    def ids(self, prompt: list[int], max_tokens: int) -> list[int]:
        import torch

        written: list[int] = []
        with torch.inference_mode():
            while len(written) < max_tokens and (not written or written[-1] not in self.ends):
                logits = self.network(torch.tensor([prompt + written])).logits[0, -1]
                written.append(int(logits.argmax()))
        return written

    def answer(self, question: str) -> str:
        chat = [{"role": "user", "content": question}]
        prompt = self.tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_dict=False
        )
        ids = self.ids(list(prompt), MAX_TOKENS)
        text: str = self.tokenizer.decode([i for i in ids if i not in self.ends])
        return text.strip()


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference()


@pytest.fixture
def server(reference: Reference) -> Iterator[str]:
    """A completions server that writes what the plain model writes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            ids = reference.ids(body["prompt"], body["max_tokens"])
            raw = json.dumps({"choices": [{"token_ids": ids, "text": ""}]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}/v1"
    http.shutdown()


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    (tmp_path / "pool").mkdir()
    columns = {"question": QUESTIONS, "solution": ["1"] * len(QUESTIONS)}
    pq.write_table(pa.table(columns), tmp_path / "pool" / "part-00000.parquet")
    return tmp_path / "pool"


def solving(**changed: Any) -> Annotate:
    solver = {"prompt": "{question}", "max_tokens": MAX_TOKENS}
    return Annotate(**{"tasks": ["solve"], "solvers": {"own": solver}, **changed})


def answers(folder: Path) -> list[str]:
    found: list[str] = pq.read_table(folder / "part-00000.parquet")["answer_own"].to_pylist()
    return found


def check(engine: Engine, reference: Reference, pool: Path, folder: Path) -> None:
    own = {"solvers.own": EngineChat(engine, MODEL)}
    try:
        run(pool, solving(), folder / "out", folder / "store", own)
    finally:
        close_engine()
    assert answers(folder / "out") == [reference.answer(q) for q in QUESTIONS]
    (cost,) = json.loads((folder / "out" / "costs.json").read_text())
    assert cost["model_calls"] == len(QUESTIONS)
    assert cost["generated_tokens"] > 0


def test_transformers_gives_the_plain_models_answers_and_is_not_loaded_twice(
    reference: Reference, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(Transformers(batch_size=4), reference, pool, tmp_path)
    monkeypatch.setattr(local, "live_engine", lambda *_: pytest.fail("was loaded"))
    own = {"solvers.own": EngineChat(Transformers(), MODEL)}
    summary = run(pool, solving(), tmp_path / "again", tmp_path / "store", own)
    assert summary["models"]["solvers.own"]["from_store"] == len(QUESTIONS)
    assert answers(tmp_path / "again") == answers(tmp_path / "out")
    (cost,) = json.loads((tmp_path / "again" / "costs.json").read_text())
    assert (cost["model_calls"], cost["device"]) == (0, None)


def test_an_openai_engine_gives_the_plain_models_answers(
    reference: Reference, pool: Path, tmp_path: Path, server: str
) -> None:
    check(OpenAI(base_urls=[server]), reference, pool, tmp_path)


@pytest.mark.vllm
def test_vllm_offline_gives_the_plain_models_answers(
    reference: Reference, pool: Path, tmp_path: Path
) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    check(Vllm(max_num_seqs=8, enforce_eager=True), reference, pool, tmp_path)


def test_the_teacher_thinks_in_its_models_format(pool: Path, tmp_path: Path) -> None:
    """Its trace and attempt are taken apart at the delimiter; without one, both stay missing."""
    script = {
        f"+ {n} equal 0 mod 7?<|im_end|>\n<|im_start|>assistant\n<|im_start|>think\n": text
        for n, text in enumerate(["try 2 no\n<|im_start|>answer\nAnswer: 2", "only a trace"])
    }
    engine = Scripted(script=script, otherwise="x = 1\n<|im_start|>answer\nAnswer: 1")
    own = {"teacher": EngineChat(engine, MODEL, thinking=True)}
    settings = Annotate(tasks=["trace"], teacher={"max_tokens": 30}, max_replies=2)
    try:
        summary = run(pool, settings, tmp_path / "out", tmp_path / "store", own)
    finally:
        close_engine()
    rows = pq.read_table(tmp_path / "out" / "part-00000.parquet").to_pylist()
    found = [(row["reasoning_trace"], row["attempt"]) for row in rows]
    assert found == [("try 2 no", "Answer: 2"), (None, None), *[("x = 1", "Answer: 1")] * 4]
    assert summary["models"]["teacher"]["unreadable"] == 2  # asked twice, never guessed
    assert summary["missing"] == {"reasoning_trace": 1, "attempt": 1}


def test_several_own_models_are_loaded_one_after_another(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Model(name="other", path=MODEL.path, dtype="float32", context_tokens=256)
    engine = Scripted(otherwise="1\nYes")
    loaded: list[str] = []
    start = local.live_engine

    def recording(settings: Engine, model: Model) -> Any:
        loaded.append(model.name)
        return start(settings, model)

    monkeypatch.setattr(local, "live_engine", recording)
    own = {"solvers.a": EngineChat(engine, MODEL), "solvers.b": EngineChat(engine, other)}
    own["judge"] = EngineChat(engine, MODEL)
    brief = {"max_tokens": 10}
    settings = Annotate(
        tasks=["solve", "judge"],
        solvers={"a": brief, "b": brief},
        judge={**brief, "prompt": "{question} {attempt}"},
    )
    monkeypatch.setattr("s1x.annotate.tasks.JUDGE_SYSTEM", "judge")
    try:
        run(pool, settings, tmp_path / "out", tmp_path / "store", own)
    finally:
        close_engine()
    assert loaded == ["puzzle-base", "other", "puzzle-base"]
    rows = pq.read_table(tmp_path / "out" / "part-00000.parquet").to_pylist()
    assert all(row["is_correct_a"] is row["is_correct_b"] is True for row in rows)


def test_a_prompt_without_room_is_missing_and_told(pool: Path, tmp_path: Path) -> None:
    narrow = Model(name="narrow", path=MODEL.path, dtype="float32", context_tokens=16)
    own = {"solvers.own": EngineChat(Scripted(otherwise="1"), narrow)}
    try:
        summary = run(pool, solving(), tmp_path / "out", tmp_path / "store", own)
    finally:
        close_engine()
    assert answers(tmp_path / "out") == [None] * len(QUESTIONS)
    (reason,) = summary["given_up"]["solvers.own"]
    assert "leaves no room in the context" in reason


def command(tmp_path: Path, *overrides: str) -> tuple[int, str]:
    words = ["run.py", "stages=[annotate]", f"output={tmp_path / 'o'}", "pool=jsonl", *overrides]
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


def test_the_command_line(reference: Reference, tmp_path: Path) -> None:
    """The run's model and engine, by a user's command; a model that is no option is named."""
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"question": q}) + "\n" for q in QUESTIONS))
    brief = ["annotate.tasks=[solve]", f"+annotate.solvers.own.max_tokens={MAX_TOKENS}"]
    brief += [f"pool.path={path}", "+annotate.solvers.own.prompt='{question}'"]
    status, said = command(tmp_path, *brief)
    assert status == 0, said
    (folder,) = {p.parent for p in (tmp_path / "o" / "annotate").glob("*/annotation.json")}
    assert answers(folder) == [reference.answer(q) for q in QUESTIONS]
    status, said = command(tmp_path, *brief, "+annotate.solvers.own.model=qwen7b")
    assert status == 2
    assert "annotate.solvers.own.model names qwen7b, which is no option of model" in said
    assert "Traceback" not in said
