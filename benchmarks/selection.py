"""Selection at the paper's scale: seconds, memory, and n-grams against s1's own way.

    python benchmarks/selection.py                 # 58,986 rows of 5-20 KB traces, then n-grams
    python benchmarks/selection.py --tenfold       # also ten times the rows (about 8 GB of disk)

Prints one JSON object. The pool is made under --folder from a seed; select runs in a process of its
own, so that its peak memory is its own. Times are wall and CPU seconds: on a shared machine the CPU
seconds are the ones to compare.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from s1x.benchmark.problem import Problem
from s1x.selection.decontaminate import Ngrams
from s1x.selection.texts import words_of

ROWS = 58_986
REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
QUESTION_FILES = {
    "gsm8k_test.jsonl": "question",
    "aime_1983_2023.jsonl": "problem",
    "s1k_questions.jsonl": "question",
    "traces.jsonl": "question",
}
BENCHMARKS = {"math500.jsonl": "problem", "aime24.jsonl": "problem", "mcq_sample.jsonl": "question"}


def words_of_questions() -> list[str]:
    """Words of real questions in order; made-up ones where the real data is not there."""
    if not REAL.is_dir():
        rng = random.Random(0)
        return [f"w{int(rng.paretovariate(0.7)) % 20_000}" for _ in range(200_000)]
    texts = [
        json.loads(line)[key]
        for name, key in QUESTION_FILES.items()
        for line in (REAL / name).read_text(encoding="utf-8").splitlines()
    ]
    return " ".join(texts).split(" ")


def questions(count: int, rng: random.Random) -> list[str]:
    """Questions of 20 to 110 words, put together from stretches of real ones."""
    words = words_of_questions()
    made = []
    for _ in range(count):
        own: list[str] = []
        length = rng.randint(20, 110)
        while len(own) < length:
            start = rng.randrange(len(words) - 20)
            own += words[start : start + rng.randint(3, 9)]
        made.append(" ".join(own))
    return made


def benchmarks() -> dict[str, list[Problem]]:
    """Real benchmarks (530 problems, 500 multiple-choice questions), or stretches of the pool's."""
    if not REAL.is_dir():
        made = questions(1030, random.Random(1))
        return {"made": [Problem(str(i), q, "", "") for i, q in enumerate(made)]}
    return {
        name.split(".")[0]: [
            Problem(str(i), json.loads(line)[key], "", "")
            for i, line in enumerate((REAL / name).read_text(encoding="utf-8").splitlines())
        ]
        for name, key in BENCHMARKS.items()
    }


def make_pool(path: Path, num_rows: int, seed: int = 0) -> None:
    """Writes Parquet with every column that s1k reads."""
    rng = random.Random(seed)
    corpus = " ".join(rng.choices(words_of_questions(), k=2_000_000))
    sources = [
        "AI-MO/NuminaMath-CoT/x",
        "qfq/openaimath/Algebra",
        "Idavidrein/gpqa",
        "AIME_1983_2024",
    ]
    writer: Any = None
    for first in range(0, num_rows, 2048):
        count = min(2048, num_rows - first)
        sizes = [rng.randint(5_000, 20_000) for _ in range(count)]
        starts = [rng.randrange(len(corpus) - 20_000) for _ in range(count)]
        solved = [rng.random() < 0.5 for _ in range(count)]
        table = pa.table(
            {
                "question": questions(count, rng),
                "solution": [str(first + i) for i in range(count)],
                "reasoning_trace": [corpus[s : s + n] for s, n in zip(starts, sizes, strict=True)],
                "attempt": [f"Answer: {first + i}" for i in range(count)],
                "source": rng.choices(sources, [0.9, 0.08, 0.01, 0.01], k=count),
                "domain": [f"domain {int(rng.paretovariate(1)) % 50}" for _ in range(count)],
                "trace_tokens": [n // 4 for n in sizes],
                "attempt_is_correct": [rng.random() < 0.55 for _ in range(count)],
                "is_correct_qwen2_5_7b": [s and rng.random() < 0.8 for s in solved],
                "is_correct_qwen2_5_32b": solved,
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def in_a_process(code: str, *arguments: str) -> dict[str, float]:
    """Runs Python code; its wall and CPU seconds and its peak memory in GiB."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"exit status {status}"
    return {
        "wall_seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_gib": round(usage.ru_maxrss / 2**20, 3),
    }


MAKE = """
import sys; from pathlib import Path
sys.path.insert(0, sys.argv[3])
from selection import make_pool
make_pool(Path(sys.argv[1]), int(sys.argv[2]))
"""
POOL = """
import sys; from pathlib import Path
from s1x.pool.parquet import Parquet
Parquet(path=sys.argv[1]).write(Path(sys.argv[2]))
"""
SELECT = """
import sys, yaml; from pathlib import Path
sys.path.insert(0, sys.argv[4])
from s1x.selection.recipe import Recipe
from s1x.selection.stage import run
from selection import benchmarks
values = yaml.safe_load(Path(sys.argv[3]).read_text(encoding="utf-8")); del values["defaults"]
summary = run(Path(sys.argv[1]), Recipe(**values), benchmarks(), 0, Path(sys.argv[2]))
assert summary["rows_chosen"] == 1000
"""


def measure_selection(folder: Path, num_rows: int) -> dict[str, Any]:
    """The pool stage and the select stage on a pool of N rows."""
    here = Path(__file__).resolve()
    recipe = here.parents[1] / "conf" / "selection" / "s1k.yaml"
    raw = folder / f"raw-{num_rows}.parquet"
    if not raw.exists():
        in_a_process(MAKE, str(raw), str(num_rows), str(here.parent))
    pool = folder / f"pool-{num_rows}"
    made = in_a_process(POOL, str(raw), str(pool))
    chosen = in_a_process(SELECT, str(pool), str(folder / "out"), str(recipe), str(here.parent))
    steps = json.loads((folder / "out" / "funnel.json").read_text(encoding="utf-8"))["steps"]
    seconds = {step["step"]: round(step["wall_seconds"], 2) for step in steps}
    return {"rows": num_rows, "pool": made, "select": chosen, "step_seconds": seconds}


def naive(texts: Sequence[str], tests: Sequence[str]) -> set[int]:
    """s1's way: every n-gram joined into a string, dicts from n-gram to texts."""

    def lookup(documents: Sequence[str]) -> dict[str, set[int]]:
        found: dict[str, set[int]] = collections.defaultdict(set)
        for number, document in enumerate(documents):
            words = " ".join(document.lower().strip().split()).split()
            for start in range(len(words) - 7):
                found[" ".join(words[start : start + 8])].add(number)
        return found

    pool, benchmark = lookup(texts), lookup(tests)
    hit: set[int] = set()
    for ngram, numbers in pool.items():
        if ngram in benchmark:
            hit.update(numbers)
    return hit


def ours(texts: Sequence[str], problems: dict[str, list[Problem]]) -> set[int]:
    """As the step `decontaminate` does it."""
    known = Ngrams(problems, 8)
    return {number for number, text in enumerate(texts) if known.find(words_of(text))}


def timed(work: Callable[[], set[int]]) -> tuple[set[int], float, float]:
    """The result with wall and CPU seconds."""
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    result = work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return result, time.perf_counter() - wall, cpu


def measure_ngrams(num_rows: int, rounds: int) -> dict[str, Any]:
    """s1's way and ours side by side, in turns; the best round of each counts."""
    texts = questions(num_rows, random.Random(0))
    problems = benchmarks()
    tests = [problem.question for own in problems.values() for problem in own]
    walls: dict[str, list[float]] = {"naive": [], "ours": []}
    cpus: dict[str, list[float]] = {"naive": [], "ours": []}
    for _ in range(rounds):
        expected, wall, cpu = timed(lambda: naive(texts, tests))
        walls["naive"].append(wall)
        cpus["naive"].append(cpu)
        found, wall, cpu = timed(lambda: ours(texts, problems))
        walls["ours"].append(wall)
        cpus["ours"].append(cpu)
        assert found == expected, "the two ways disagree"
    num_words = sum(len(text.split()) for text in texts)
    best = {name: min(values) for name, values in cpus.items()}
    return {
        "rows": num_rows,
        "words": num_words,
        "rows_hit": len(expected),
        "wall_seconds": {name: round(min(v), 3) for name, v in walls.items()},
        "cpu_seconds": {name: round(v, 3) for name, v in best.items()},
        "million_words_per_cpu_second": {n: round(num_words / v / 1e6, 2) for n, v in best.items()},
        "ratio_wall": round(min(walls["naive"]) / min(walls["ours"]), 1),
        "ratio_cpu": round(best["naive"] / best["ours"], 1),
    }


def main() -> None:
    """Runs what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the n-gram comparison")
    parser.add_argument("--tenfold", action="store_true")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "s1x-selection"
    )
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"selection": measure_selection(arguments.folder, arguments.rows)}
    if arguments.tenfold:
        result["tenfold"] = measure_selection(arguments.folder, 10 * arguments.rows)
    result["ngrams"] = measure_ngrams(arguments.rows, arguments.rounds)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
