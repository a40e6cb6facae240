"""Published data sets by name: rows of their shape, from a hub of the tests, in our columns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from stub_hub import serving

from s1x.compose import CONF, ROOT

LOAD = """
import json, sys
from pathlib import Path
import s1x.app
from s1x.compose import option_named
from s1x.pool.pool import Pool
out = Path(sys.argv[1])
plain = {"config_name": None}  # the stub's data sets have one configuration
pools = {n: option_named("pool", n, "pool", Pool, plain) for n in sys.argv[2:]}
found = {n: dict(pool.write(out / n)) for n, pool in pools.items()}
(out / "counts.json").write_text(json.dumps(found))
"""
S1K = {
    "solution": ["42", "7"],
    "question": ["Q1", "Q2"],
    "cot_type": ["math"] * 2,
    "source_type": ["s"] * 2,
    "metadata": ["{}"] * 2,
}
GENERATIONS = [
    ["<think>\nwrong\n</think>\n\n1", "<think>\ncut", "<think>\nright\n</think>\n\n\\boxed{4}"],
    ["no end", "<think>b</think>2"],
]
#: name → id, configuration, columns
PUBLISHED: dict[str, tuple[str, str, dict[str, list[Any]]]] = {
    "s1k": (
        "simplescaling/s1K",
        "default",
        {**S1K, "cot": [None] * 2, "thinking_trajectories": [["t"]] * 2, "attempt": ["a"] * 2},
    ),
    "s1k_1_1": (
        "simplescaling/s1K-1.1",
        "default",
        {
            **S1K,
            "gemini_thinking_trajectory": ["g"] * 2,
            "gemini_attempt": ["g"] * 2,
            "gemini_grade": ["No"] * 2,
            "deepseek_thinking_trajectory": ["t"] * 2,
            "deepseek_attempt": ["a"] * 2,
            "deepseek_grade": ["Yes", "No"],
        },
    ),
    "openthoughts": (
        "open-thoughts/OpenThoughts-114k",
        "metadata",
        {
            "problem": ["Q1", "Q2"],
            "deepseek_reasoning": ["t"] * 2,
            "deepseek_solution": ["a"] * 2,
            "ground_truth_solution": ["42", None],
            "domain": ["math", "code"],
            "source": ["s"] * 2,
            "test_cases": [None] * 2,
            "starter_code": [None] * 2,
        },
    ),
    "limo": (
        "GAIR/LIMO",
        "default",
        {"question": ["Q1", "Q2"], "solution": ["t"] * 2, "answer": ["42", "7"]},
    ),
    "openr1_math": (
        "open-r1/OpenR1-Math-220k",
        "default",
        {
            "problem": ["Q1", "Q2"],
            "solution": ["42", "7"],
            "answer": ["42", "7"],
            "source": ["s"] * 2,
            "generations": GENERATIONS,
            "correctness_math_verify": [[False, True, True], [None, None]],
            "correctness_llama": [None, [False, True]],
            "is_reasoning_complete": [[True, False, True], [True, True]],
            "finish_reasons": [["stop"] * 3, None],
        },
    ),
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with every pool written and `counts.json`."""
    folder = tmp_path_factory.mktemp("published")
    with serving() as hub:
        for name, (repository, _, columns) in PUBLISHED.items():
            place = folder / "data" / name
            place.mkdir(parents=True)
            pq.write_table(pa.table(columns), place / "train-00000.parquet")
            hub.data_sets[repository] = place
        hub.card = {"license": "apache-2.0"}
        env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "cache")}
        env |= {"HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT)}
        env.pop("HF_HUB_OFFLINE", None)
        command = [sys.executable, "-c", LOAD, str(folder), *PUBLISHED]
        subprocess.run(command, env=env, check=True)
    return folder


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_pool_is_in_our_columns(loaded: Path, name: str) -> None:
    repository, config, _ = PUBLISHED[name]
    option = yaml.safe_load((CONF / "pool" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert option.get("config_name", "default") == config
    counts = json.loads((loaded / "counts.json").read_text())[name]
    assert (counts["rows"], counts["bad_rows"], counts["name"]) == (2, 0, repository)
    assert counts["license"] == ("mit" if name == "s1k_1_1" else "apache-2.0")
    rows = pq.read_table(loaded / name / "part-00000.parquet").to_pylist()
    assert [row["question"] for row in rows] == ["Q1", "Q2"]
    assert rows[0]["solution"] == "42"
    if name == "openr1_math":
        return
    assert [row["reasoning_trace"] for row in rows] == ["t", "t"]
    attempts = ["42", "7"] if name == "limo" else ["a", "a"]
    assert [row["attempt"] for row in rows] == attempts
    if name == "s1k_1_1":
        assert [row["attempt_is_correct"] for row in rows] == [True, False]


def test_of_several_generations_the_first_right_and_whole_one_is_read(loaded: Path) -> None:
    rows = pq.read_table(loaded / "openr1_math" / "part-00000.parquet").to_pylist()
    found = [(r["reasoning_trace"], r["attempt"], r["attempt_is_correct"]) for r in rows]
    assert found == [("right", "\\boxed{4}", True), ("b", "2", True)]
    assert "generations" not in rows[0]
