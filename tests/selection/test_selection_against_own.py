"""The run's own questions (`benchmark=jsonl`) may not be trained on, whatever else may not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from s1x.compose import ROOT

OWN = "how many ways are there to seat nine hungry guests at three round tables"


@pytest.mark.parametrize(
    ("setting", "found"),
    [("", 2), ("decontaminate=[jsonl]", 2), ("decontaminate=[mine]", 2), ("decontaminate=[]", 0)],
)
def test_own_questions_are_decontaminated_against(tmp_path: Path, setting: str, found: int) -> None:
    rows = [{"question": f"number {i} is it prime", "domain": "d"} for i in range(30)]
    rows += [{"question": OWN, "domain": "d"}, {"question": f"Say {OWN} please", "domain": "d"}]
    traces = [{**row, "reasoning_trace": "so it is", "attempt": "1"} for row in rows]
    for name, lines in (("pool", traces), ("mine", [{"question": OWN, "answer": "1"}])):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    command = [sys.executable, "run.py", "+experiment=s1k", "stages=[select]", "selection=full"]
    command += ["benchmark=jsonl", f"benchmark.path={tmp_path}/mine.jsonl", "pool=jsonl"]
    command += [f"pool.path={tmp_path}/pool.jsonl", f"output={tmp_path}/out", *setting.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (dropped,) = (tmp_path / "out/select").glob("*/dropped.parquet")
    reasons = pq.read_table(dropped)["reason"].to_pylist()
    assert len(reasons) == found
    if found:
        assert sorted(reasons) == ["a benchmark's question", "shares an n-gram with a benchmark"]
