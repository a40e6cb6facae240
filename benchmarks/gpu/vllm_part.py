"""Part d: vLLM, where it is installed.

    python benchmarks/gpu/kit.py --parts d

The existing benchmarks run as they are, with sessions and with plain requests; then the same
questions are answered alone and in a batch, with `batch_invariant`, which must not change a token.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import workload
from figures import Figures, figures_of, part_arguments
from shapes import PUBLISHED, TINY, write_config, write_weights

from s1x.budget.budget_forcing import BudgetForcing
from s1x.engine.live import close_engine, live_engine
from s1x.engine.vllm import Vllm
from s1x.model.model import Model

SCRIPTS = Path(__file__).resolve().parents[1]


def benchmark(figures: Figures, script: str, model: Model, arguments: list[str]) -> None:
    """Runs a script of `benchmarks/`; what it prints is the figure."""
    command = [sys.executable, str(SCRIPTS / script), "--model", model.path, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{script} {' '.join(arguments)}: {done.stderr[-400:]}")
    name = " ".join([script, *arguments])
    if not done.stdout.strip():
        raise RuntimeError(f"{name} printed no figure")
    for line in done.stdout.splitlines():
        figures.add(name, line.strip(), "as printed")


def batch_invariance(figures: Figures, model: Model, tiny: bool) -> None:
    """Questions alone and together; on a CPU without the setting, which is CUDA's."""
    engine = Vllm(batch_invariant=not tiny, enforce_eager=tiny)
    live = live_engine(engine, model)
    questions = workload.problems(2 if tiny else 16)
    point = [BudgetForcing(max_thinking_tokens=8 if tiny else 64)]
    together = workload.evaluate(live, model, questions, point).traces
    alone = [workload.evaluate(live, model, [q], point).traces[0] for q in questions]
    close_engine()
    same = sum(a == b for a, b in zip(together, alone, strict=True))
    figures.add("vLLM: traces equal alone and together", same, f"of {len(alone)}", bar=len(alone))


def main() -> None:
    """Measures."""
    options = part_arguments(__doc__.splitlines()[0]).parse_args()
    figures = figures_of(options)
    if importlib.util.find_spec("vllm") is None:
        figures.skip("vLLM", "vllm is not installed")
        return
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    tiny = options.tiny
    prompts = ["--prompts", "4"] if tiny else ["--prompts", "32"]
    with tempfile.TemporaryDirectory() as name:
        model = write_config(Path(name), TINY if tiny else PUBLISHED["1.5B"], context_tokens=1024)
        write_weights(model, "float32", "cpu")
        ways: dict[str, list[str]] = {"sessions": [], "plain requests": ["--no-sessions"]}
        for way, extra in ways.items():
            arguments = ["--engine", "vllm", *prompts, *extra, *(["--eager"] if tiny else [])]
            figures.attempt(
                f"eight budgets, {way}",
                lambda a=arguments: benchmark(figures, "sweep_once.py", model, a),
                0.0 if tiny else 60.0,
            )
        figures.attempt("batch invariance", lambda: batch_invariance(figures, model, tiny))


if __name__ == "__main__":
    main()
