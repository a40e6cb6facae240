"""Reports over many runs: curves overlaid, paired differences, points of a sweep joined."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import report_world as world

from s1x import report
from s1x.report.charts import Chart
from s1x.report.inputs import read
from s1x.report.parts import Table
from s1x.report.sections import compare, selection


def _runs(folder: Path, skills: dict[str, float]) -> list[dict[str, Any]]:
    benchmark = world.Benchmark(num_problems=80)
    base = world.evaluation(folder / "base", benchmark, "base")
    runs = []
    for label, skill in skills.items():
        tuned = world.evaluation(folder / label, benchmark, skill=skill)
        selection = world.selection(folder / f"{label}-select", label)
        runs.append({"label": label, "evaluations": [tuned, base], "selection": selection})
    return runs


@pytest.fixture
def two(tmp_path: Path) -> list[dict[str, Any]]:
    return _runs(tmp_path, {"s1k": 0.0, "random_1k": -0.25})


@pytest.mark.usefixtures("no_pictures")
def test_differences_are_paired_and_against_the_reference(
    two: list[dict[str, Any]], tmp_path: Path
) -> None:
    report.run({"runs": two, "reference": "s1k"}, [], None, None, tmp_path / "out")
    with (tmp_path / "out" / "tables" / "ablation.csv").open() as lines:
        rows = [r for r in csv.DictReader(lines) if r["setting"] == "natural"]
    assert [r["run"] for r in rows] == ["s1k, fine-tuned", "random_1k, fine-tuned"]
    gap = float(rows[1]["accuracy %"]) - float(rows[0]["accuracy %"])
    assert float(rows[1]["difference to reference"]) == pytest.approx(gap)
    low, high = (float(rows[1][f"difference to reference, {end}"]) for end in ("low", "high"))
    assert low < gap < high < 0, "the made-up difference of 25 points is clear"
    assert rows[1]["significance"] == "significant"


def test_shared_base_model_stands_once(two: list[dict[str, Any]]) -> None:
    inputs = read({"runs": two}, [], None, None)
    assert [inputs.name(s) for s in inputs.series] == [
        "s1k, fine-tuned",
        "base",
        "random_1k, fine-tuned",
    ]


def test_differences_are_drawn_as_a_forest(two: list[dict[str, Any]], tmp_path: Path) -> None:
    report.run({"runs": two, "reference": "s1k"}, [], None, None, tmp_path)
    png, svg = (tmp_path / "figures" / f"differences_puzzles_hard.{end}" for end in ("png", "svg"))
    assert png.read_bytes()[:4] == b"\x89PNG"
    drawn = svg.read_text()
    assert "difference to s1k" in drawn
    with (tmp_path / "tables" / "ablation.csv").open() as lines:
        rows = [r for r in csv.DictReader(lines) if r["significance"]]
    natural = next(r for r in rows if r["setting"] == "natural")
    gap = float(natural["difference to reference"])
    assert f"random_1k: natural · {gap:+.1f} (" in drawn
    assert natural["significance"] == "significant"


def test_policies_are_compared_at_the_best_of_each(tmp_path: Path) -> None:
    runs = []
    for policy, skill in (("budget_forcing", 0.0), ("rejection_sampling", -0.2)):
        folder = world.evaluation(
            tmp_path / policy, world.Benchmark(num_problems=40), policy=policy, skill=skill
        )
        runs.append({"label": policy, "evaluations": [folder]})
    inputs = read({"runs": runs}, [], None, None)
    (table,) = (item for item in compare.ablation(inputs) if isinstance(item, Table))
    assert [row["setting"] for row in table.rows] == [s.best.setting for s in inputs.series]


def test_pool_and_chosen_sets_are_drawn_together(two: list[dict[str, Any]], tmp_path: Path) -> None:
    for run, kept in zip(two, (range(0, 10), range(50, 60)), strict=True):
        rows = [{"domain": "coins" if i < 50 else "sums", "trace_tokens": i + 1} for i in range(60)]
        parts = ([rows[i] for i in kept], [rows[i] for i in range(60) if i not in kept])
        for name, part in zip(("chosen", "dropped"), parts, strict=True):
            pq.write_table(pa.Table.from_pylist(part), Path(run["selection"]) / f"{name}.parquet")
    world.selection(Path(two[1]["selection"]), "random_1k", tokens=30_000)
    items = selection.funnel(read({"runs": two}, [], None, None))
    charts = {item.key: item for item in items if isinstance(item, Chart)}
    assert "chosen_source" not in charts, "these pools name no source"
    bars = _tips(charts["chosen_domain"])
    assert {"coins: pool · 83.3", "sums: pool · 16.7", "coins: s1k · 100.0"} <= bars
    assert {"coins: random_1k · 0.0", "sums: random_1k · 100.0"} <= bars
    lengths = _tips(charts["chosen_trace_tokens"])
    assert "s1k: 8 to 11 tokens · 30.0%" in lengths
    assert "random_1k: 45 to 64 tokens · 100.0%" in lengths


def _tips(chart: Chart) -> set[str]:
    """What a pointer is told of the marks of a chart."""
    return set(re.findall(r'aria-label="([^"]* · [^"]*)"', chart.svg()))


@pytest.mark.usefixtures("no_pictures")
def test_what_differs_names_tokens_and_hard_questions(
    two: list[dict[str, Any]], tmp_path: Path
) -> None:
    world.selection(Path(two[1]["selection"]), "random_1k", tokens=30_000, hard=0.239)
    report.run({"runs": two}, [], None, None, tmp_path / "out")
    with (tmp_path / "out" / "tables" / "chosen_sets.csv").open() as lines:
        rows = {r["run"]: r for r in csv.DictReader(lines)}
    assert float(rows["random_1k"]["trace tokens"]) == 30_000
    assert float(rows["random_1k"]["hard questions %"]) == pytest.approx(23.9)
    assert float(rows["s1k"]["hard questions %"]) == pytest.approx(56)


def _jobs(folder: Path, labels: list[tuple[str, int | None, int]], **more: Any) -> Any:
    benchmark = world.Benchmark(num_problems=30)
    runs = []
    for number, point in enumerate(labels):
        path = world.evaluation(folder / str(number), benchmark, curve=(point,), **more)
        runs.append({"label": f"job {number}", "evaluations": [path]})
    return runs


def test_a_curve_measured_job_by_job_is_one_curve(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, [("natural", None, 0), ("max 8", 8, 0), ("Wait x 1", None, 1)])
    direct = world.evaluation(tmp_path / "d", world.Benchmark(num_problems=30), "base", "direct")
    for job in jobs:
        job["evaluations"].append(direct)
    inputs = read({"runs": jobs}, [], None, None)
    assert {inputs.name(s) for s in inputs.series} == {"base, direct answer", "fine-tuned"}
    curve = inputs.main
    assert curve is not None
    assert [c.setting for c in curve.cells] == ["max 8", "natural", "Wait x 1"]
    assert curve.num_waits(curve.cells[2]) == 1
    assert curve.curve.num_problems == 30


def test_jobs_that_differ_in_more_than_the_swept_settings_stay_apart(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path / "a", [("Wait x 2", None, 2)], settings={"wait_string": "Wait"})
    jobs += _jobs(tmp_path / "b", [("Hmm x 2", None, 2)], settings={"wait_string": "Hmm"})
    jobs[1]["label"] = "job b"
    assert len(read({"runs": jobs}, [], None, None).series) == 2


def test_seeds_stay_apart(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path / "a", [("natural", None, 0)], seed=0)
    jobs += _jobs(tmp_path / "b", [("max 8", 8, 0)], seed=1)
    jobs[1]["label"] = "seed 1"
    assert len(read({"runs": jobs}, [], None, None).series) == 2


def test_the_console_pairs_a_run_with_its_own_base(tmp_path: Path) -> None:
    """Two runs on two base models: the main curve stands beside its own run's base only."""
    runs = []
    for label in ("a", "b"):
        benchmark = world.Benchmark(num_problems=20)
        tuned = world.evaluation(tmp_path / f"{label}-tuned", benchmark)
        base = world.evaluation(tmp_path / f"{label}-base", benchmark, "base", skill=ord(label))
        runs.append({"label": label, "evaluations": [tuned, *([base] if label == "b" else [])]})
    summary = report.run({"runs": runs}, [], None, None, tmp_path / "other")
    assert summary["curves"][summary["main_curve"]]["run"] == "a"
    assert "base %" not in report.console_table(summary)
    runs[0]["evaluations"].append(runs[1]["evaluations"][1])
    shared = report.run({"runs": runs}, [], None, None, tmp_path / "shared")
    assert "base %" in report.console_table(shared)


@pytest.mark.usefixtures("no_pictures")
def test_two_benchmarks_of_one_name_are_not_paired(tmp_path: Path) -> None:
    """Question files of one name, ids by line number: curves of two benchmarks, no difference."""
    runs = []
    for label, question in (("a", "solve {a} x + 3 = 7 mod 19"), ("b", "what is {a} + 1?")):
        benchmark = world.Benchmark(name="test", num_problems=40, question=question)
        tuned = world.evaluation(tmp_path / label, benchmark)
        runs.append({"label": label, "evaluations": [tuned]})
    assert read({"runs": runs}, [], None, None).benchmarks == ["test", "test (other questions)"]
    summary = report.run({"runs": runs}, [], None, None, tmp_path / "out")
    assert {c["benchmark"] for c in summary["curves"]} == {"test", "test (other questions)"}
    assert not (tmp_path / "out" / "tables" / "ablation.csv").exists()


def test_a_report_says_where_the_order_of_two_runs_turns(tmp_path: Path) -> None:
    """A ranking holds for a budget only: haste pays where the budget is small."""
    runs = []
    for label, slow in (("s1k", 0.0), ("random_1k", 0.4)):
        folders = []
        for name, skill in (("puzzles_hard", 0.0), ("puzzles_new", 0.0)):
            made = world.Benchmark(name, num_problems=80)
            points = [("max 16", 16, 0), ("max 32", 32, 0), ("natural", None, 0)]
            folders.append(
                world.evaluation(
                    tmp_path / f"{label}-{name}", made, curve=tuple(points), skill=skill
                )
            )
        runs.append({"label": label, "evaluations": folders})
        _turned(folders[0], slow)
    summary = report.run({"runs": runs, "reference": "s1k"}, [], None, None, tmp_path / "out")
    (sentence,) = summary["turns"]
    assert sentence.startswith("puzzles_hard: below some ")
    assert sentence.endswith("random_1k is more accurate than s1k, above less.")
    assert sentence in (tmp_path / "out" / "report.html").read_text()


def _turned(folder: Path, share: float) -> None:
    """Makes a share of the answers right at the smallest budget, and wrong at the largest."""
    rows = pq.read_table(folder / "rows.parquet").to_pylist()
    for row in rows:
        hit = int(row["problem_id"][1:]) % 10 < 10 * share
        if hit and row["setting"] in ("max 16", "natural"):
            row["verdict"] = "correct" if row["setting"] == "max 16" else "wrong"
    pq.write_table(
        pa.Table.from_pylist(rows, pq.read_schema(folder / "rows.parquet")), folder / "rows.parquet"
    )


@pytest.mark.usefixtures("no_pictures")
def test_what_holds_of_many_curves_is_said_once(tmp_path: Path) -> None:
    runs = []
    for seed in range(3):
        folder = world.evaluation(tmp_path / str(seed), world.Benchmark(num_problems=20), seed=seed)
        info = json.loads((folder / "evaluation.json").read_text())
        info["warnings"] = [f"{seed + 3} of 120 answers came to budget.max_answer_tokens"]
        (folder / "evaluation.json").write_text(json.dumps(info))
        runs.append({"label": f"seed={seed}", "evaluations": [folder], "settings": {"seed": seed}})
    summary = report.run({"name": "s1k", "runs": runs}, [], None, None, tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text()
    assert text.count("answers came to budget.max_answer_tokens") == 1
    assert text.count("The same is true of 2 other curves.") == 2
    assert "on average of 3 seeds" in summary["finding"]
    with (tmp_path / "out" / "tables" / "seeds.csv").open() as lines:
        natural = next(r for r in csv.DictReader(lines) if r["setting"] == "natural")
    curves = [c["points"] for c in summary["curves"]]
    values = [p["accuracy_percent"] for c in curves for p in c if p["setting"] == "natural"]
    assert float(natural["mean %"]) == pytest.approx(sum(values) / 3)
    assert (float(natural["lowest %"]), float(natural["highest %"])) == (min(values), max(values))
