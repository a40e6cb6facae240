"""What the paper published (arXiv 2501.19393 v3): points for grey curves, tables beside ours.

Facts and figures only. Curves are those of Figure 1, read from its vector drawing, with one more
point of AIME24 (Wait x 6) from the plot of budget forcing alone. Table 3's slopes are in points per
doubling of thinking tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PAPER = "s1: Simple test-time scaling (arXiv 2501.19393)"


@dataclass(frozen=True)
class Method:
    """A row of Table 3 (AIME24): control in percent, scaling in points per doubling."""

    name: str
    control_percent: float
    scaling_per_doubling: float
    performance_percent: float
    num_runs: int


TABLE_3 = (
    Method("budget forcing (BF)", 100, 15, 56.7, 5),
    Method("token-conditional (TCC)", 40, -24, 40.0, 5),
    Method("TCC + BF", 100, 13, 40.0, 5),
    Method("step-conditional (SCC)", 60, 3, 36.7, 5),
    Method("SCC + BF", 100, 6, 36.7, 5),
    Method("class-conditional (CCC)", 50, 25, 36.7, 2),
    Method("rejection sampling (RS)", 100, -35, 40.0, 5),
)

#: our policy (with forcing or without) → the paper's method
METHOD_OF_POLICY = {
    ("budget_forcing", True): "budget forcing (BF)",
    ("token_conditional", False): "token-conditional (TCC)",
    ("token_conditional", True): "TCC + BF",
    ("step_conditional", False): "step-conditional (SCC)",
    ("step_conditional", True): "SCC + BF",
    ("class_conditional", False): "class-conditional (CCC)",
    ("rejection_sampling", False): "rejection sampling (RS)",
}

#: benchmark → (mean thinking tokens, accuracy %), s1-32B with budget forcing
CURVES: dict[str, tuple[tuple[float, float], ...]] = {
    "math500": ((498.7, 64.0), (983.5, 80.0), (1813.9, 85.6), (2868.0, 90.6), (3199.6, 93.2)),
    "aime24": (
        *((500.0, 0.0), (1000.0, 13.3), (2000.0, 30.0), (3933.1, 43.3)),
        *((5300.2, 50.0), (6656.8, 53.3), (7319.5, 56.7), (8455.7, 56.7)),
    ),
    "gpqa_diamond": (
        *((500.0, 37.9), (985.4, 49.5), (1742.3, 51.0)),
        *((3231.2, 57.6), (4648.9, 59.6)),
    ),
}

#: rejection sampling, s1-32B on AIME24: (mean thinking tokens, accuracy %)
REJECTION_AIME24 = (
    *((2974.2, 40.0), (3702.9, 36.7), (4343.8, 33.3)),
    *((4733.8, 30.0), (5192.7, 26.7), (5292.9, 23.3)),
)

#: majority vote of Qwen2.5-32B-Instruct, GPQA Diamond: (mean total tokens per question, accuracy)
MAJORITY_GPQA = (
    *((643.9, 45.5), (2567.7, 48.5), (5141.4, 50.5)),
    *((10313.1, 50.0), (20540.4, 51.5), (41096.0, 51.0)),
)

#: Table 1 and 5: model → accuracy % on (aime24, math500, gpqa_diamond)
MODELS = {
    "Qwen2.5-32B-Instruct": (26.7, 84.0, 49.0),
    "s1-32B without budget forcing": (50.0, 92.6, 56.6),
    "s1-32B, Wait x 1": (53.3, 92.8, 59.6),
    "s1-32B, Wait x 2": (53.3, 93.0, 59.6),
    "s1-32B, Wait x 4": (56.7, 92.2, 58.6),
    "s1.1-32B without budget forcing": (56.7, 94.4, 60.6),
    "s1.1-32B, Wait x 2": (56.7, 95.4, 63.6),
    "R1-distill-32B (800K samples)": (72.6, 94.3, 62.1),
    "o1-preview": (44.6, 85.5, 73.3),
}

#: Table 2, data ablation: selection → accuracy % on (aime24, math500, gpqa_diamond)
TABLE_2 = {
    "random_1k": (36.7, 90.6, 52.0),
    "diverse_1k": (26.7, 91.2, 54.6),
    "longest_1k": (33.3, 90.4, 59.6),
    "full": (53.3, 92.8, 58.1),
    "s1k": (50.0, 93.0, 57.6),
}

#: Table 4, what is appended (twice): string → accuracy % on (aime24, math500, gpqa_diamond)
TABLE_4 = {
    "no forcing": (50.0, 93.0, 57.6),
    "(nothing)": (50.0, 90.2, 55.1),
    "Alternatively": (50.0, 92.2, 59.6),
    "Hmm": (50.0, 93.0, 59.6),
    "Wait": (53.3, 93.0, 59.6),
}

#: the funnel of section 2: step → questions left
FUNNEL = {
    "collected": 59_029,
    "no API error": 54_116,
    "well formatted": 51_581,
    "difficult": 24_496,
    "chosen": 1_000,
}

#: SFT cost: 7 GPU-hours for s1K against 394 for the whole pool
SFT_GPU_HOURS = {"s1k": 7, "full": 394}


def rows(table: Mapping[str, Sequence[float]], name: str) -> list[dict[str, str | float]]:
    """A published table as rows: the name of each line, then a column for each benchmark."""
    columns = ("AIME24 %", "MATH500 %", "GPQA Diamond %")
    return [{name: k, **dict(zip(columns, v, strict=True))} for k, v in table.items()]


def benchmark_key(name: str) -> str | None:
    """The paper's benchmark that a name stands for (`AIME-2024` → `aime24`), or None.

    Only the exact benchmark counts: a subset or another year is not the paper's.
    """
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    known = {"aime24": "aime24", "aime2024": "aime24", "math500": "math500"}
    known |= {"gpqadiamond": "gpqa_diamond", "gpqad": "gpqa_diamond"}
    return known.get(plain)


def curve(benchmark: str) -> tuple[tuple[float, float], ...] | None:
    """s1-32B's published curve on the benchmark, or None where the paper has none."""
    key = benchmark_key(benchmark)
    return CURVES[key] if key else None


def method(policy: str, forced: bool) -> Method | None:
    """Table 3's row for one of our policies, or None."""
    name = METHOD_OF_POLICY.get((policy, forced))
    return next((row for row in TABLE_3 if row.name == name), None)
