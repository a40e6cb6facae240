"""The main job as a user runs it, in its quick form: what it writes, reuses and survives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from s1x.compose import ROOT


def start(output: Path, *overrides: str, **kwargs: Any) -> subprocess.Popen[str]:
    flags = [word for word in overrides if word.startswith("-")]
    rest = [word for word in overrides if not word.startswith("-")]
    settings = ["+experiment=s1k", "scale=quick", f"output={output}"]
    return subprocess.Popen(
        [sys.executable, "run.py", *flags, *settings, *rest],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # some shells ignore it
        **kwargs,
    )


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    out, err = process.communicate(timeout=400)
    assert process.returncode == status, out + err
    return out + err


@pytest.fixture(scope="module")
def main_job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The output folder of one whole run, and what it said."""
    output = tmp_path_factory.mktemp("main")
    return output, finish(start(output))


def summary_of(output: Path) -> dict[str, Any]:
    return json.loads((output / "latest" / "summary.json").read_text())


def curve_of(summary: dict[str, Any], benchmark: str, role: str) -> dict[str, Any]:
    found = [
        c
        for c in summary["curves"]
        if (c["benchmark"], c["model_role"], c["prompt_format"]) == (benchmark, role, "thinking")
    ]
    assert len(found) == 1
    return found[0]


def test_the_report_and_its_summary_are_whole(main_job: tuple[Path, str]) -> None:
    output, said = main_job
    summary = summary_of(output)
    assert (summary["scale"], summary["seed"]) == ("quick", 0)
    assert (output / "latest" / "report.html").stat().st_size > 10_000
    assert list((output / "latest" / "figures").glob("*.png"))
    assert list((output / "latest" / "tables").glob("*.csv"))
    assert str(output / "report") in said
    funnel = summary["funnel"]
    assert funnel[0]["rows_in"] == 12_000
    assert funnel[-1]["rows_out"] == 500
    assert {s["stage"] for s in summary["stages"]} == {
        "pool", "select", "train", "evaluate", "report",
    }  # fmt: skip
    for role in ("base", "fine_tuned"):
        points = curve_of(summary, "puzzles_hard", role)["points"]
        labels = ["max 16", "max 32", "max 64", "natural", "Wait x 1"]
        assert [p["setting"] for p in points] == labels
        assert all(p["num_problems"] == 200 for p in points)
        assert points[0]["mean_thinking_tokens"] <= 16


def test_the_first_look_shows_the_phenomenon(main_job: tuple[Path, str]) -> None:
    """Accuracy rises with thinking tokens, and significantly so: 95% intervals do not meet."""
    points = curve_of(summary_of(main_job[0]), "puzzles_hard", "fine_tuned")["points"]
    assert [p["mean_thinking_tokens"] for p in points] == sorted(
        p["mean_thinking_tokens"] for p in points
    )
    for earlier, later in ((0, 2), (2, 4)):
        assert points[earlier]["interval_percent"][1] < points[later]["interval_percent"][0]


def test_the_chosen_rows_load_as_a_dataset(main_job: tuple[Path, str]) -> None:
    from datasets import load_dataset

    output, _ = main_job
    folder = next((output / "select").glob("*/s1k.parquet")).parent
    rows = load_dataset(
        "parquet",
        data_files=str(folder / "s1k.parquet"),
        split="train",
        cache_dir=str(output / "c"),
    )
    assert len(rows) == 500
    assert "thinking_trajectories" in rows.column_names


def test_a_second_run_reuses_everything(main_job: tuple[Path, str]) -> None:
    output, _ = main_job
    before = summary_of(output)
    finish(start(output))
    after = summary_of(output)
    assert all(stage["reused"] for stage in after["stages"])
    assert after["curves"] == before["curves"]


def test_another_budget_trains_nothing(main_job: tuple[Path, str]) -> None:
    output, _ = main_job
    said = finish(start(output, "budget.max_thinking_tokens=32"))
    summary = summary_of(output)
    reused = {(s["stage"], s["reused"]) for s in summary["stages"]}
    assert {("select", True), ("train", True), ("evaluate", False)} <= reused
    assert not {("select", False), ("train", False)} & reused
    points = curve_of(summary, "puzzles_hard", "fine_tuned")["points"]
    assert [p["setting"] for p in points] == ["max 32"]
    assert "reused" in said


def test_killed_anywhere_the_same_command_goes_on(
    main_job: tuple[Path, str], tmp_path: Path
) -> None:
    whole, _ = main_job
    for seconds in (6, 12, 18):
        process = start(tmp_path)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finish(start(tmp_path))
    assert rows_of(tmp_path) == rows_of(whole)


def rows_of(output: Path) -> list[dict[str, Any]]:
    """Every evaluation row of the folder but the seconds it took, in a fixed order."""
    import pyarrow.parquet as pq

    rows = []
    for path in (output / "evaluate").glob("*/rows.parquet"):
        table = pq.read_table(path)
        if {"max 16", "natural"} <= set(table["setting"].to_pylist()) or table["prompt_format"][
            0
        ].as_py() == "direct":
            times = [name for name in table.column_names if name.endswith("_seconds")]
            rows += table.drop_columns(times).to_pylist()
    names = ("benchmark", "model_role", "prompt_format", "setting", "problem_id")
    return sorted(rows, key=lambda row: [str(row[name]) for name in names])


def test_ctrl_c_ends_with_one_line(tmp_path: Path) -> None:
    process = start(tmp_path)
    time.sleep(8)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, out + err
    assert "Traceback" not in out + err
    assert "goes on" in err.strip().splitlines()[-1]
