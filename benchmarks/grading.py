"""What the graders say of real answers, and how fast.

    python benchmarks/grading.py [folder of the real data]

Prints a JSON object: check → how many answers, how many are right (and agree with the flags that
come with the data), how many are ungraded, and seconds. docs/grading.md has its numbers. It needs
graders and problems only, so that it also runs on older commits (copy it there).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from s1x.benchmark.grader import Grader, make_grader
from s1x.benchmark.problem import Problem

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
Pair = tuple[Problem, str]


def main(data: Path) -> None:
    """Measures and prints."""
    math = make_grader("math", {"num_workers": 1})
    start = time.perf_counter()
    math.grade(_problem("1"), "\\boxed{x}")
    report: dict[str, Any] = {"worker_start_seconds": round(time.perf_counter() - start, 2)}
    for name, grader, pairs, flags in [
        *_gsm8k(data),
        *_math500(data, math),
        *_traces(data, math),
        *_samples(data, math),
        *_choices(data),
    ]:
        report[name] = _measured(grader, pairs, flags)
    math.close()
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


Check = tuple[str, Grader, list[Pair], list[bool] | None]


def _gsm8k(data: Path) -> Iterable[Check]:
    rows = _rows(data / "gsm8k_model_attempts.jsonl")
    attempts = [
        (r["answer"], a["text"], a["is_correct"]) for r in rows for a in r["attempts"].values()
    ]
    pairs = [(_problem(answer), text) for answer, text, _ in attempts]
    yield (
        "GSM8K attempts, exact",
        make_grader("exact", {"rules": ["A:"]}),
        pairs,
        [a[2] for a in attempts],
    )


def _math500(data: Path, math: Grader) -> Iterable[Check]:
    rows = _rows(data / "math500.jsonl")
    answers = [row["answer"] for row in rows]
    own = [(_problem(row["answer"]), row["solution"]) for row in rows]
    yield "MATH500 solutions", math, own, [True] * len(rows)
    shifted = [
        (_problem(a), f"\\boxed{{{b}}}", a == b)
        for shift in (1, 2, 3, 4)
        for a, b in zip(answers, answers[shift:] + answers[:shift], strict=True)
    ]
    yield "MATH500, others' answers", math, [s[:2] for s in shifted], [s[2] for s in shifted]
    for name, written in (
        ("after Final Answer:", "So.\n\nFinal Answer: ${}$."),
        ("after Answer:", "Answer: We simplify.\n\nThis gives\n\\[\n{}.\n\\]"),
    ):
        pairs = [(_problem(a), written.replace("{}", a)) for a in answers]
        yield f"MATH500 answers {name}", math, pairs, [True] * len(pairs)


def _traces(data: Path, math: Grader) -> Iterable[Check]:
    """Attempts of reasoning models: as they are, and with the "Answer: " that s1 trains."""
    rows = [r for r in _rows(data / "traces.jsonl") if r["finish"] == "complete" and r["answer"]]
    rows += [
        dict(r, dataset="gsm8k, gpt-oss") for r in _rows(data / "traces_gptoss120b_gsm8k.jsonl")
    ]
    for dataset in ("math500", "aime25", "gsm8k", "gsm8k, gpt-oss"):
        chosen = [r for r in rows if r["dataset"] == dataset and r["attempt"]]
        chosen = chosen if dataset != "gsm8k" else chosen[:400]
        for prefix in ("", "Answer: "):
            pairs = [(_problem(r["answer"]), prefix + r["attempt"]) for r in chosen]
            name = f"{dataset} attempts" + (", “Answer: ” before them" if prefix else "")
            yield name, math, pairs, None
            unboxed = [p for p in pairs if "\\boxed" not in p[1]]
            if dataset.startswith("gsm8k, "):
                yield f"{name}, without a box", math, unboxed, None
                yield f"{name}, without a box, exact", make_grader("exact"), unboxed, None


def _samples(data: Path, math: Grader) -> Iterable[Check]:
    samples = [
        (r["answer"], s) for r in _rows(data / "majority_samples.jsonl") for s in r["samples"]
    ]
    pairs = [(_problem(answer), sample["text"]) for answer, sample in samples]
    yield "MATH samples against their flags", math, pairs, [s["is_correct"] for _, s in samples]


def _choices(data: Path) -> Iterable[Check]:
    rows = _rows(data / "mcq_sample.jsonl")
    choice = make_grader("choice")
    for name, written in (
        ("letter", "Answer: {0}"),
        ("small letter in a box", "\\boxed{{{1}}}"),
        ("wording in a box", "\\boxed{{{2}}}"),
        ("after a failing option", "Option {3} fails. Hence the correct answer is {0}."),
        ("label and wording", "The answer is ({1}) {2}"),
    ):
        pairs = []
        for row in rows:
            letter, choices = row["answer"], tuple(row["choices"])
            wording, other = choices["ABCD".index(letter)], "BCDA"["ABCD".index(letter)]
            text = written.format(letter, letter.lower(), wording, other)
            pairs.append((Problem("p", "q", letter, "d", choices=choices), text))
        yield f"multiple choice, {name}", choice, pairs, None


def _measured(grader: Grader, pairs: Sequence[Pair], flags: list[bool] | None) -> dict[str, Any]:
    start = time.perf_counter()
    grades = grader.grade_all(list(pairs))
    seconds = time.perf_counter() - start
    right = [grade.verdict == "correct" for grade in grades]
    agree = (
        {} if flags is None else {"agree": sum(a == b for a, b in zip(right, flags, strict=True))}
    )
    return {
        "answers": len(pairs),
        "right": sum(right),
        **agree,
        "ungraded": sum(grade.verdict == "ungraded" for grade in grades),
        "seconds": round(seconds, 1),
    }


def _problem(answer: str) -> Problem:
    return Problem("p", "q", answer, "d")


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
