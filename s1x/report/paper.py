"""What the paper published (`assets/paper.yaml`): points for grey curves, tables beside ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

Numbers = Mapping[str, Sequence[float]]
Points = Sequence[tuple[float, float]]
_DATA = yaml.safe_load(Path(__file__).with_name("assets").joinpath("paper.yaml").read_text("utf-8"))

#: benchmarks in the order of the tables' columns
_ORDER = ("aime24", "math500", "gpqa_diamond")
#: benchmark → (mean thinking tokens, accuracy %)
CURVES: Mapping[str, Points] = {
    name: [(x, y) for x, y in points] for name, points in _DATA["curves"].items()
}
#: way of scaling → the same on AIME24, x the tokens of all traces (s1's figure of REBASE)
PARALLEL_AIME24: Mapping[str, Points] = {
    name: [(x, y) for x, y in points] for name, points in _DATA["parallel_aime24"].items()
}
MAJORITY_GPQA: Points = [(x, y) for x, y in _DATA["majority_gpqa"]]
#: name → accuracy % on the three benchmarks
MODELS: Numbers = _DATA["models"]


class Figure(NamedTuple):
    """Accuracies of published weights at one setting, to be measured again.

    Attributes:
        name: as the paper's tables call it.
        model: `name` of the option in conf/model.
        setting: label of our point; None: the answer without thinking.
        percent: benchmark → accuracy in percent.
    """

    name: str
    model: str
    setting: str | None
    percent: Mapping[str, float]


FIGURES = [
    Figure(name, model, setting, dict(zip(_ORDER, MODELS[name], strict=True)))
    for name, (model, setting) in _DATA["published_weights"].items()
]
TABLE_2: Numbers = _DATA["table_2"]
TABLE_4: Numbers = _DATA["table_4"]
#: method → the numbers of METRICS
TABLE_3: Numbers = _DATA["table_3"]
FUNNEL: Mapping[str, int] = _DATA["funnel"]
SFT_GPU_HOURS: Mapping[str, int] = _DATA["sft_gpu_hours"]

BENCHMARKS = ("AIME24 %", "MATH500 %", "GPQA Diamond %")
METRICS = ("control %", "performance %", "scaling per doubling", "runs")
#: our policy → the paper's method, and the one with forcing
METHODS = {
    "budget_forcing": ("budget forcing (BF)", "budget forcing (BF)"),
    "token_conditional": ("token-conditional (TCC)", "TCC + BF"),
    "step_conditional": ("step-conditional (SCC)", "SCC + BF"),
    "class_conditional": ("class-conditional (CCC)", None),
    "rejection_sampling": ("rejection sampling (RS)", None),
}
KEYS = {"aime24": "aime24", "aime2024": "aime24", "math500": "math500"}
KEYS |= {"gpqadiamond": "gpqa_diamond", "gpqad": "gpqa_diamond"}


def rows(
    table: Numbers, name: str, columns: Sequence[str] = BENCHMARKS
) -> list[dict[str, str | float]]:
    """A published table as rows: the name of each line, then its numbers."""
    return [{name: k, **dict(zip(columns, v, strict=True))} for k, v in table.items()]


def benchmark_key(name: str) -> str | None:
    """The paper's benchmark that a name stands for (`AIME-2024` → `aime24`), or None.

    Only the exact benchmark counts: a subset or another year is not the paper's.
    """
    return KEYS.get(re.sub(r"[^a-z0-9]", "", name.lower()))


def curve(benchmark: str) -> Points | None:
    """s1-32B's published curve on the benchmark, or None where the paper has none."""
    return CURVES.get(benchmark_key(benchmark) or "")
