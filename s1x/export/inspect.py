"""Logs of inspect_ai (.eval), written by its own classes: `inspect view` opens them."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalMetric,
    EvalResults,
    EvalSample,
    EvalScore,
    EvalSpec,
    EvalStats,
    write_eval_log,
)
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ChatMessageUser,
    ContentReasoning,
    ContentText,
    ModelOutput,
    ModelUsage,
)
from inspect_ai.scorer import Score

from s1x.export.point import OF_CURVE, Exported, Row, sample_budget
from s1x.report.parts import file_name
from s1x.rows import CORRECT, UNANSWERED, UNGRADED

SCORER = "s1x"
VALUES = {CORRECT: "C", UNANSWERED: "N"}


def write(point: Exported, folder: Path) -> None:
    """Writes the log of a point."""
    numbers = point.point
    percents = {
        "accuracy": numbers.accuracy_percent,
        "accuracy_low": numbers.interval_low_percent,
        "accuracy_high": numbers.interval_high_percent,
    }
    metrics = {
        name: EvalMetric(name=name, value=value / 100)
        for name, value in percents.items()
        if value is not None
    }
    count, now = len(point.rows), datetime.now(UTC).isoformat(timespec="seconds")
    samples = [_sample(point.model_id, row) for row in point.samples()]
    used = [usage for sample in samples for usage in sample.model_usage.values()]
    log = EvalLog(
        status="success",
        eval=EvalSpec(
            created=now,
            task=point.benchmark,
            dataset=EvalDataset(name=point.benchmark, samples=numbers.num_problems),
            model=point.model_id,
            config=EvalConfig(epochs=numbers.samples_per_problem),
            packages={"s1x": version("s1x")},
            task_args={name: point.budget[name] for name in ("setting", *OF_CURVE)},
            metadata={"budget": point.budget},
        ),
        results=EvalResults(
            total_samples=count,
            completed_samples=count,
            scores=[
                EvalScore(
                    name=SCORER,
                    scorer=SCORER,
                    metrics=metrics,
                    scored_samples=numbers.num_graded,
                    unscored_samples=count - numbers.num_graded,
                )
            ],
        ),
        stats=EvalStats(
            started_at=now,
            completed_at=now,
            model_usage={point.model_id: sum(used, ModelUsage())} if used else {},
        ),
        samples=samples,
    )
    place = folder / file_name(point.model_id)
    place.mkdir(parents=True, exist_ok=True)
    write_eval_log(log, str(place / f"{file_name(point.name)}.eval"))


def _sample(model: str, row: Row) -> EvalSample:
    question = row["question"] or ""
    thinking, text = row["thinking_text"], ContentText(text=row["answer_text"] or "")
    reply = ChatMessageAssistant(
        content=[*([ContentReasoning(reasoning=thinking)] if thinking else []), text], model=model
    )
    usage = _usage(row)
    scored = row["verdict"] != UNGRADED
    score = Score(value=VALUES.get(row["verdict"], "I"), answer=row["extracted_answer"])
    return EvalSample(
        id=row["problem_id"],
        epoch=row["sample"] + 1,
        input=question,
        target=row["reference_answer"] or "",
        messages=[ChatMessageUser(content=question), reply],
        output=ModelOutput(
            model=model,
            choices=[
                ChatCompletionChoice(
                    message=reply, stop_reason="max_tokens" if row["answer_cut"] else "stop"
                )
            ],
            usage=usage,
            time=row["wall_seconds"],
        ),
        scores={SCORER: score} if scored else {},
        metadata={
            **{name: row[name] for name in ("domain", "level") if row[name] is not None},
            "budget": sample_budget(row),
        },
        model_usage={} if usage is None else {model: usage},
        total_time=row["wall_seconds"],
    )


def _usage(row: Row) -> ModelUsage | None:
    prompt, thinking, answer = (row[f"{part}_tokens"] for part in ("prompt", "thinking", "answer"))
    if prompt is None or thinking is None or answer is None:
        return None
    written = thinking + answer
    return ModelUsage(
        input_tokens=prompt,
        output_tokens=written,
        total_tokens=prompt + written,
        reasoning_tokens=thinking,
    )
