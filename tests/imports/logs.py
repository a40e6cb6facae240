"""Logs as others write them, and a report over them, for the tests of imports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from hydra import compose, initialize_config_dir

from s1x.compose import CONF, register
from s1x.config import load
from s1x.stages import Run, artifacts_of

register()
TIME = "2026-11-30T10-00-00.000000"
QUESTIONS = [(f"What is {n} + 1?", str(n + 1)) for n in range(20)]


def report_of(folder: Path, *overrides: str) -> dict[str, Any]:
    """The summary of stages=[report] under these overrides."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["stages=[report]", f"output={folder / 'out'}", *overrides])
        summary: Any = Run(load(cfg), cfg, folder / "out" / "runs" / "one", []).execute()
    return dict(summary)


def rows_of(folder: Path, *overrides: str) -> pl.DataFrame:
    """The rows that an import makes, one artifact after another."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["stages=[report]", f"output={folder / 'out'}", *overrides])
        run = Run(load(cfg), cfg, folder / "run", [])
        made = [run.make(stage) for stage in artifacts_of("import", run)]
    return pl.concat(pl.read_parquet(a.folder / "rows.parquet", glob=False) for a in made)


def lm_eval_log(
    folder: Path,
    right: Sequence[bool],
    model: str = "lab/one",
    task: str = "sums",
    texts: Sequence[str] | None = None,
    **changes: Any,
) -> Path:
    """A run of lm-evaluation-harness on the first questions, right or wrong as told."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for index, (good, (question, answer)) in enumerate(zip(right, QUESTIONS, strict=False)):
        said = answer if good else "0.5"
        text = texts[index] if texts else f"The answer is {said}."
        line = {
            "doc_id": index,
            "doc": {"question": question, "answer": answer},
            "target": answer,
            "arguments": {"gen_args_0": {"arg_0": f"Q: {question}\nA:", "arg_1": {"until": []}}},
            "resps": [[text]],
            "filtered_resps": [said],
            "filter": "none",
            "metrics": ["exact_match"],
            "exact_match": float(good),
        }
        lines.append(json.dumps({**line, **changes}))
    file = folder / f"samples_{task}_{TIME}.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    results = {"model_name": model, "lm_eval_version": "0.4.13", "results": {task: {}}}
    (folder / f"results_{TIME}.json").write_text(json.dumps(results), encoding="utf-8")
    return file
