"""Golden outcomes: what the same command must give before and after the code behind it changes.

    python tests/golden/record.py        writes golden.json anew

Whoever must change an outcome records it once, on purpose, and says why in CHANGELOG.md. Outcomes
are read from what a run writes (Parquet, log.csv, summary.json), never from inner parts, so that
the parts can be rewritten freely.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
TRACES = ROOT.parent / "shared" / "data" / "traces.jsonl"
GOLDEN = Path(__file__).with_name("golden.json")
RECIPES = ("s1k", "random_1k", "diverse_1k", "longest_1k", "article")
SMALL_RUN = (
    "pool.rows=6000",
    "selection.size=200",
    "train.max_steps=20",
    "max_problems=24",
    "curve.max_thinking_tokens=[16,64,null]",
    "curve.num_waits=[0,1]",
)


def run(output: Path, *overrides: str) -> None:
    """`python run.py +experiment=s1k ...` at laptop scale into `output`."""
    command = [sys.executable, "run.py", "+experiment=s1k", f"output={output}", *overrides]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def digest(values: Any) -> str:
    """Sixteen hex digits of the SHA-256 of plain values."""
    text = json.dumps(values, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def chosen(output: Path) -> dict[str, dict[str, Any]]:
    """Recipe → how many rows it chose, and the hash of their texts in order."""
    found = {}
    for path in sorted(output.glob("select/*/chosen.parquet")):
        funnel = json.loads((path.parent / "funnel.json").read_text(encoding="utf-8"))
        columns = ["question", "reasoning_trace", "domain"]
        rows = pq.read_table(path, columns=columns).to_pylist()
        name = recipe_of(path.parent)
        found[name] = {"rows": len(rows), "digest": digest(rows), "funnel": outcome(funnel)}
    return found


def recipe_of(folder: Path) -> str:
    meta = json.loads((folder / "artifact.json").read_text(encoding="utf-8"))
    return str(meta["inputs"]["recipe"]["name"])


def outcome(funnel: Any) -> list[list[Any]]:
    """[step, rows in, rows out] of each step."""
    steps = funnel["steps"] if isinstance(funnel, dict) else funnel
    return [[s["step"], s["rows_in"], s["rows_out"]] for s in steps]


def laptop_selections(folder: Path) -> dict[str, Any]:
    """Each recipe on the laptop's pool of 59,000."""
    for recipe in RECIPES:
        run(folder, "stages=[select]", f"selection={recipe}")
    return chosen(folder)


def real_selections(folder: Path) -> dict[str, Any]:
    """Each recipe on 5,000 rows with real reasoning traces, some of them twice."""
    path = folder / "real.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for row in real_rows(5000):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    pool = ("pool=jsonl", f"pool.path={path}")
    for recipe in RECIPES:
        run(folder, "stages=[select]", *pool, "selection.size=300", f"selection={recipe}")
    return chosen(folder)


def real_rows(number: int) -> list[dict[str, Any]]:
    """Real traces with sources and verdicts drawn from a hash of the row's number."""
    with TRACES.open(encoding="utf-8") as file:
        traces = [json.loads(line) for line in file]
    rows = []
    for i in range(number):
        trace = traces[i % len(traces)]
        lot = hashlib.sha256(str(i).encode()).digest()
        again = f" (Variant {i}.)" if i >= len(traces) and lot[4] % 2 else ""
        rows.append(
            {
                "question": trace["question"] + again,
                "solution": trace["answer"] or "unknown",
                "reasoning_trace": trace["thinking"],
                "attempt": trace["attempt"] or "Answer: unknown",
                "source": ("gpqa", "aime", "openaimath", "web", "web")[lot[0] % 5],
                "domain": f"domain {lot[1] % 40}",
                "finish_reason": "length" if trace["finish"] == "truncated" else "stop",
                "attempt_is_correct": lot[2] % 3 > 0,
                "is_correct_small": lot[3] % 4 == 0,
                "is_correct_large": lot[3] % 3 == 0,
                "answer_one": str(lot[5] % 3),
                "answer_two": str(lot[6] % 3),
                "answer_three": str(lot[7] % 3),
            }
        )
    return rows


def small_run(folder: Path) -> dict[str, Any]:
    """Select, 20 steps on one device, three benchmarks: losses, traces with verdicts, points."""
    run(folder, *SMALL_RUN)
    return {"losses": losses(folder), "traces": traces(folder), "points": points(folder)}


def two_rank_losses(folder: Path) -> list[float]:
    """The same 20 steps under DeepSpeed ZeRO-3 on two ranks."""
    ranks = ("train=deepspeed_zero3", "train.devices_per_node=2", "train.num_nodes=1")
    run(folder, *SMALL_RUN, *ranks, "stages=[select,train]")
    return losses(folder)


def losses(output: Path) -> list[float]:
    """The loss of each step."""
    (path,) = output.glob("train/*/log.csv")
    with path.open(encoding="utf-8") as file:
        return [round(float(row["loss"]), 5) for row in csv.DictReader(file)]


def traces(output: Path) -> dict[str, str]:
    """Evaluated curve / problem / point → hash of its tokens and verdict."""
    found = {}
    for path in sorted(output.glob("evaluate/*/rows.parquet")):
        for row in pq.read_table(path).to_pylist():
            place = ("benchmark", "model_role", "prompt_format", "problem_id", "point")
            key = "/".join(str(row[name]) for name in place)
            found[key] = digest([row["token_ids"], row["forced_mask"], row["verdict"]])[:6]
    return dict(sorted(found.items()))


def points(output: Path) -> dict[str, list[list[float]]]:
    """Curve → [accuracy %, mean thinking tokens] of each point."""
    text = (output / "latest" / "summary.json").read_text(encoding="utf-8")
    return {
        f"{c['benchmark']}/{c['model_role']}/{c['prompt_format']}": [
            [round(p["accuracy_percent"], 3), round(p["mean_thinking_tokens"], 3)]
            for p in c["points"]
        ]
        for c in json.loads(text)["curves"]
    }


PARTS = {
    "laptop_selections": laptop_selections,
    "real_selections": real_selections,
    "small_run": small_run,
    "two_rank_losses": two_rank_losses,
}


def main() -> None:
    """Records the parts named on the command line, or all."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    for name in sys.argv[1:] or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            golden[name] = PARTS[name](Path(folder))
    GOLDEN.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
