"""The files of lm-evaluation-harness with --log_samples: `import=lm_eval` reads them back."""

from __future__ import annotations

import json
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from s1x.artifact import write_json
from s1x.export.point import Exported, Row, sample_budget
from s1x.report.parts import file_name
from s1x.rows import CORRECT

METRIC = "exact_match"
#: what the harness puts where its filter found nothing
NOTHING_FOUND = "[invalid]"


def write(point: Exported, folder: Path) -> None:
    """Writes samples and results of a point into a folder of its own."""
    place = folder / file_name(point.model_id) / file_name(point.name)
    place.mkdir(parents=True)
    now = datetime.now().isoformat(timespec="microseconds").replace(":", "-")
    write_json(place / f"results_{now}.json", _results(point))
    lines = [
        json.dumps(_sample(index, list(rows.iter_rows(named=True))))
        for index, rows in enumerate(point.rows.partition_by("problem_id", maintain_order=True))
    ]
    samples = place / f"samples_{point.benchmark}_{now}.jsonl"
    samples.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _results(point: Exported) -> dict[str, object]:
    task, numbers = point.benchmark, point.point
    assert numbers.accuracy_percent is not None
    scores = {f"{METRIC},none": numbers.accuracy_percent / 100, f"{METRIC}_stderr,none": "N/A"}
    return {
        "results": {
            task: {"name": task, "alias": task, "sample_len": numbers.num_problems, **scores}
        },
        "group_subtasks": {},
        "configs": {
            task: {
                **{"task": task, "output_type": "generate_until", "num_fewshot": 0},
                **{"metric_list": [{"metric": METRIC}], "repeats": numbers.samples_per_problem},
            }
        },
        "versions": {task: f"s1x {version('s1x')}"},
        "n-shot": {task: 0},
        "higher_is_better": {task: {METRIC: True}},
        "n-samples": {task: {"original": numbers.num_problems, "effective": numbers.num_problems}},
        "config": {"model": "s1x", "model_args": {"pretrained": point.model_id}},
        **{"git_hash": None, "date": time.time(), "model_source": "s1x"},
        **{"model_name": point.model_id, "model_name_sanitized": file_name(point.model_id)},
        "budget": point.budget,
    }


def _sample(index: int, rows: list[Row]) -> dict[str, object]:
    """The line of a problem; `budget` and `reasoning` have an entry for each response."""
    first = rows[0]
    known = ("problem_id", "question", "domain", "level")
    return {
        "doc_id": index,
        "doc": {**{name: first[name] for name in known}, "answer": first["reference_answer"]},
        "target": first["reference_answer"] or "",
        "arguments": {"gen_args_0": {"arg_0": first["question"], "arg_1": {}}},
        "resps": [[row["answer_text"] for row in rows]],
        "filtered_resps": [
            NOTHING_FOUND if row["extracted_answer"] is None else row["extracted_answer"]
            for row in rows
        ],
        "filter": "none",
        "metrics": [METRIC],
        METRIC: sum(row["verdict"] == CORRECT for row in rows) / len(rows),
        "reasoning": [row["thinking_text"] for row in rows],
        "budget": [sample_budget(row) for row in rows],
    }
