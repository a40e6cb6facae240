"""How many answers a second each grader judges, on real answers.

    python benchmarks/grading.py [folder of the real data]

Prints a JSON object: grader → answers, seconds, answers per second, and the time a worker takes to
start. The math grader's shortcut for equal normal forms is measured apart from its engine.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from s1x.benchmark.grader import Grader, make_grader
from s1x.benchmark.problem import Problem

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def main(data: Path) -> None:
    """Measures and prints."""
    math500 = _rows(data / "math500.jsonl")
    attempts = [
        (_problem(row["answer"]), attempt["text"])
        for row in _rows(data / "gsm8k_model_attempts.jsonl")
        for attempt in row["attempts"].values()
    ]
    choices = [(_problem(row["answer"]), f"Answer: {row['answer']}") for row in
               _rows(data / "mcq_sample.jsonl")]  # fmt: skip
    own = [(_problem(row["answer"]), row["solution"]) for row in math500]
    crossed = [
        (_problem(row["answer"]), f"\\boxed{{{other['answer']}}}")
        for shift in (1, 2, 3, 4)
        for row, other in zip(math500, math500[shift:], strict=False)
    ]
    engine = make_grader("math", {"num_workers": 1})
    start = time.perf_counter()
    engine.grade(_problem("1"), "\\boxed{x}")
    started = time.perf_counter() - start
    report = {
        "exact": _measured(make_grader("exact", {"rules": ["A:"]}), attempts),
        "choice": _measured(make_grader("choice"), choices),
        "math, equal normal forms": _measured(engine, own),
        "math, one worker": _measured(engine, crossed),
        "worker_start_seconds": round(started, 2),
    }
    engine.close()
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


def _measured(grader: Grader, pairs: list[tuple[Problem, str]]) -> dict[str, Any]:
    start = time.perf_counter()
    grades = grader.grade_all(pairs)
    seconds = time.perf_counter() - start
    ungraded = sum(grade.verdict == "ungraded" for grade in grades)
    return {
        "answers": len(pairs),
        "seconds": round(seconds, 2),
        "answers_per_second": round(len(pairs) / seconds),
        "ungraded": ungraded,
    }


def _problem(answer: str) -> Problem:
    return Problem("p", "q", answer, "d")


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
