"""`.eval_results/*.yaml` of a model's repository on the Hugging Face hub, one file for each point.

Copied into the repository, they stand on the model's page and on the benchmark's leaderboard, where
the data set is one of the hub's benchmarks. Accuracies are percent, as on the hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from s1x.export.point import Exported, as_texts
from s1x.report.parts import file_name


def write(point: Exported, folder: Path, tasks: Mapping[str, str]) -> bool:
    """Writes a point's entry; False where no data set of the hub is known for its benchmark.

    Args:
        tasks: benchmark → owner/name/task.
    """
    task = tasks.get(point.benchmark)
    if task is None:
        return False
    dataset, _, task_id = task.rpartition("/")
    accuracy = point.point.accuracy_percent
    assert accuracy is not None
    told = {k.removeprefix("budget."): v for k, v in as_texts(point.budget).items()}
    told.pop("settings")
    entry = EvalResultEntry(
        dataset_id=dataset,
        task_id=task_id,
        value=round(accuracy, 4),
        notes="budget: " + ", ".join(f"{name}={text}" for name, text in told.items()),
    )
    place = folder / file_name(point.model_id) / ".eval_results"
    place.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, width=1000)
    (place / f"{file_name(point.name)}.yaml").write_text(text, encoding="utf-8")
    return True
