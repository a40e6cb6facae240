"""Every Eval Ever 0.3 (EvalEval Coalition): a record and an instance file for each point.

Files lie as in its datastore: data/<benchmark>/<owner>/<model>/<uuid>.json. Its validator
(every-eval-ever, Python 3.12) accepts them.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from importlib.metadata import version
from pathlib import Path

from s1x.artifact import file_hash, write_json
from s1x.export.point import Exported, Row, as_texts, sample_budget
from s1x.export.settings import ExportSettings
from s1x.report.parts import file_name
from s1x.rows import CORRECT

SCHEMA = "0.3.0"
METHOD = "Wilson's score interval at the effective number of answers, clustered by problem"


def write(point: Exported, folder: Path, settings: ExportSettings) -> None:
    """Writes the record of a point and its samples."""
    named = hashlib.sha256(f"{point.fingerprint}/{point.name}/{SCHEMA}".encode()).digest()
    key = uuid.UUID(bytes=named[:16], version=4)
    assert settings.organization is not None
    flat = "/" not in point.model_id
    owner, name = (settings.organization, point.model_id) if flat else point.model_id.split("/", 1)
    inside = Path("data", file_name(point.benchmark), file_name(owner), file_name(name))
    (folder / inside).mkdir(parents=True, exist_ok=True)
    now = str(int(time.time()))
    evaluation = f"{point.benchmark}/{point.model_id}/{now}_{key}"
    keys = {
        "schema_version": SCHEMA,
        "evaluation_id": evaluation,
        "model_id": point.model_id,
        "evaluation_name": point.benchmark,
        "evaluation_result_id": f"{key}/accuracy",
    }
    samples = folder / inside / f"{key}_samples.jsonl"
    lines = [json.dumps(keys | _instance(row), ensure_ascii=False) for row in point.samples()]
    text = "\n".join(lines) + "\n"
    samples.write_text(text, encoding="utf-8", errors="backslashreplace")
    record = {
        **{"schema_version": SCHEMA, "evaluation_id": evaluation, "retrieved_timestamp": now},
        "source_metadata": {
            "source_name": "s1x",
            "source_type": "evaluation_run",
            "source_organization_name": settings.organization,
            "evaluator_relationship": settings.relationship,
        },
        "eval_library": {"name": "s1x", "version": version("s1x")},
        "model_info": _model(point, owner),
        "evaluation_results": [_result(point, keys["evaluation_result_id"])],
        "detailed_evaluation_results": {
            "format": "jsonl",
            "file_path": (inside / samples.name).as_posix(),
            "hash_algorithm": "sha256",
            "checksum": file_hash(samples),
            "total_rows": len(lines),
        },
    }
    write_json(folder / inside / f"{key}.json", record)


def _model(point: Exported, owner: str) -> dict[str, object]:
    engine = (point.info.get("engine") or {}).get("engine")
    own = engine in ("transformers", "vllm")
    return {
        **{"name": str(point.info["model"]), "id": point.model_id, "developer": owner},
        **({"inference_engine": {"name": str(engine)}} if engine else {}),
        "additional_details": {
            "deployment_type": "self_deployed" if own else "unknown",
            "model_availability": "open_weights" if own else "unknown",
        },
    }


def _result(point: Exported, key: str) -> dict[str, object]:
    numbers = point.point
    low, high = numbers.interval_low_percent, numbers.interval_high_percent
    assert numbers.accuracy_percent is not None
    assert low is not None
    assert high is not None
    interval = {"lower": low / 100, "upper": high / 100, "confidence_level": 0.95, "method": METHOD}
    count = numbers.num_problems * numbers.samples_per_problem
    sampling = point.info.get("sampling") or {}
    arguments = {name: sampling[name] for name in ("temperature", "top_p") if name in sampling}
    if numbers.mean_thinking_tokens is not None:
        arguments["reasoning"] = numbers.mean_thinking_tokens > 0
    return {
        "evaluation_result_id": key,
        "evaluation_name": point.benchmark,
        "source_data": {
            "dataset_name": point.benchmark,
            "source_type": "other",
            "additional_details": {"source": str(point.about.get("source") or "not stated")},
        },
        "metric_config": {
            **{"metric_id": "accuracy", "metric_name": "Accuracy", "metric_kind": "accuracy"},
            **{"metric_unit": "proportion", "lower_is_better": False},
            **{"score_type": "continuous", "min_score": 0.0, "max_score": 1.0},
        },
        "score_details": {
            "score": numbers.accuracy_percent / 100,
            "uncertainty": {"confidence_interval": interval, "num_samples": count},
        },
        "generation_config": {
            "generation_args": arguments,
            "additional_details": as_texts(point.budget),
        },
    }


def _instance(row: Row) -> dict[str, object]:
    """A sample; an ungraded one counts as not right, as in every accuracy of ours."""
    right, extracted = row["verdict"] == CORRECT, row["extracted_answer"]
    question, reference = row["question"] or "", row["reference_answer"] or ""
    attribution = {
        **{"turn_idx": 0, "source": "output.raw", "is_terminal": True},
        **{"extracted_value": extracted, "extraction_method": row["extraction_rule"] or "unknown"},
    }
    return {
        "sample_id": row["problem_id"],
        "sample_hash": hashlib.sha256((question + reference).encode(errors="replace")).hexdigest(),
        "interaction_type": "single_turn",
        "input": {"raw": question, "reference": [reference]},
        "output": {
            "raw": [row["answer_text"] or ""],
            "reasoning_trace": None if row["thinking_text"] is None else [row["thinking_text"]],
        },
        "answer_attribution": [] if extracted is None else [attribution],
        "evaluation": {"score": float(right), "is_correct": right, "num_turns": 1},
        "token_usage": _usage(row),
        "performance": _performance(row),
        "error": row["ungraded_reason"],
        "metadata": as_texts(sample_budget(row)),
    }


def _usage(row: Row) -> dict[str, int] | None:
    counts = [row[f"{part}_tokens"] for part in ("prompt", "thinking", "answer")]
    if None in counts:
        return None
    prompt, thinking, answer = counts
    written = len(row["token_ids"]) if row["token_ids"] is not None else thinking + answer
    return {
        **{"input_tokens": prompt, "output_tokens": written, "total_tokens": prompt + written},
        "reasoning_tokens": thinking,
    }


def _performance(row: Row) -> dict[str, float] | None:
    seconds = {
        "latency_ms": row["wall_seconds"],
        "time_to_first_token_ms": row["first_token_seconds"],
    }
    known = {name: 1000 * value for name, value in seconds.items() if value is not None}
    return known or None
