"""Fixtures of the report's tests: made-up runs, written once a session."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

import report_world as world

from s1x import report


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> world.Made:
    """A run on a hard benchmark and on one that training never saw."""
    folder = tmp_path_factory.mktemp("run")
    new = world.Benchmark("puzzles_new", 20, False, ("age",), skill=-0.3)
    return world.run(folder, [world.Benchmark(num_problems=60), new])


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the figures out where a test looks at something else: they take the longest."""
    monkeypatch.setattr("s1x.report.charts.Chart.svg", lambda chart, width=None: "<svg></svg>")
    monkeypatch.setattr("s1x.report.write.save", lambda svg, folder, name: None)


@pytest.fixture(scope="session")
def written(
    made: world.Made, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """The report of that run: its folder and its summary."""
    folder = tmp_path_factory.mktemp("report")
    context = world.context(made, prices={"usd_per_gpu_hour": 2.5})
    summary = report.run(context, made.evaluations, made.selection, made.training, folder)
    return folder, summary
