"""The hub pools against a hub of the test's own: loaded once, then from the cache alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stub_hub import COMMIT, serving

from s1x.compose import ROOT

LOAD = """
import json, sys
from pathlib import Path
from s1x.errors import UserError
from s1x.plan.machine import Machine
from s1x.pool.hub import Hub
from s1x.pool.s1_59k import S159K
out = Path(sys.argv[1])
found = {}
pools = {
    "hub": Hub(dataset="some/questions"),
    "s1_59k": S159K(dataset="some/questions", features="some/features"),
    "unknown": Hub(dataset="some/thing"),
}
for name, pool in pools.items():
    try:
        found[name] = [pool.fingerprint(), pool.write(out / name)]
    except UserError as error:
        found[name] = str(error)
found["reachable"] = Machine.here(out.parent, ask_hub=True).hub_reachable
(out.parent / (out.name + ".json")).write_text(json.dumps(found))
"""

QUESTIONS = {
    "question": [f"Q{i}" for i in range(30)],
    "solution": ["s"] * 30,
    "thinking_trajectories": [["t", "u"]] * 30,
    "attempt": ["a"] * 30,
    "source_type": ["x"] * 30,
}
FEATURES = {
    "question": [f"Q{i}" for i in range(29, -1, -1)],
    "isqwen7bcorrect": [True] * 30,
    "isqwen32bcorrect": [False] * 30,
    "isgeminicorrect": [None] * 30,
    "gemini_length": list(range(29, -1, -1)),
    "domain": ["D"] * 30,
}


def ask(folder: Path, name: str, hub_url: str) -> tuple[dict[str, Any], float]:
    """What a process of its own makes of the pools, and its seconds."""
    env = {**os.environ, "HF_ENDPOINT": hub_url, "HF_HOME": str(folder / "cache")}
    env = {**env, "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT)}
    env.pop("HF_HUB_OFFLINE", None)
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", LOAD, str(folder / name)], env=env, check=True)
    return json.loads((folder / f"{name}.json").read_text()), time.monotonic() - start


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder, with the hub there and then gone: (answers, seconds) each."""
    folder = tmp_path_factory.mktemp("hub")
    for name, columns in (("questions", QUESTIONS), ("features", FEATURES)):
        (folder / name).mkdir()
        pq.write_table(pa.table(columns), folder / name / "train-00000.parquet")
    with serving() as hub:
        hub.card = {"license": "apache-2.0"}
        hub.data_sets = {f"some/{n}": folder / n for n in ("questions", "features")}
        there = ask(folder, "there", hub.url)
    return folder, there, ask(folder, "gone", hub.url)


def rows(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "part-00000.parquet").to_pylist()  # type: ignore[no-any-return]


def test_pools_load_from_a_hub(asked: Any) -> None:
    folder, (found, _), _ = asked
    fingerprint, counts = found["hub"]
    assert fingerprint["dataset"] == {"id": "some/questions", "commit": COMMIT}
    assert (counts["rows"], counts["license"]) == (30, "apache-2.0")
    assert rows(folder / "there" / "hub")[3]["reasoning_trace"] == "t\nu"
    joined = rows(folder / "there" / "s1_59k")
    assert [row["trace_tokens"] for row in joined] == list(range(30))
    assert {row["is_correct_qwen2_5_7b"] for row in joined} == {True}
    assert "some/thing cannot be loaded from the hub (404" in found["unknown"]
    assert found["reachable"] is True


def test_what_was_loaded_once_is_there_when_the_hub_is_gone(asked: Any) -> None:
    folder, (found, _), (again, seconds) = asked
    assert again["reachable"] is False
    for name in ("hub", "s1_59k"):
        assert again[name][0] == found[name][0]  # same fingerprint: what was made of it is reused
        assert rows(folder / "gone" / name) == rows(folder / "there" / name)
    assert "some/thing cannot be loaded from the hub (no answer)" in again["unknown"]
    assert "\n" not in again["unknown"]
    assert seconds < 20  # no minutes of retries
