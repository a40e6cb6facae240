"""The report stage as a whole: what it writes, from rows alone."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import report_world as world

from s1x import report
from s1x.errors import UserError

Written = tuple[Path, dict[str, Any]]


def test_summary_is_what_scripts_were_promised(written: Written) -> None:
    folder, returned = written
    summary = json.loads((folder / "summary.json").read_text())
    assert summary == returned
    assert (summary["scale"], summary["seed"]) == ("laptop", 0)
    assert [(s["stage"], s["wall_seconds"], s["reused"]) for s in summary["stages"]] == [
        ("select", 9.0, False),
        ("train", 61.0, False),
        ("evaluate", 0.0, True),
    ]
    assert summary["funnel"][0] == {"step": "quality", "rows_in": 59_000, "rows_out": 38_120}
    main = summary["curves"][summary["main_curve"]]
    assert (main["benchmark"], main["model_role"], main["policy"]) == (
        "puzzles_hard",
        "fine_tuned",
        "budget_forcing",
    )
    assert [p["setting"] for p in main["points"]] == [label for label, _, _ in world.CURVE]
    for point in main["points"]:
        low, high = point["interval_percent"]
        assert low <= point["accuracy_percent"] <= high
        assert (point["n"], point["samples"]) == (60, 1)
    assert main["points"][0]["mean_thinking_tokens"] == 8
    assert main["control_percent"]["value"] == 100
    assert main["scaling_per_doubling"]["value"] > 0
    assert main["performance_percent"]["value"] == max(
        p["accuracy_percent"] for p in main["points"]
    )
    roles = {(c["model_role"], c["prompt_format"]) for c in summary["curves"]}
    assert roles == {("fine_tuned", "thinking"), ("base", "thinking"), ("base", "direct")}


def test_accuracy_is_that_of_the_rows(made: world.Made, written: Written) -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(made.evaluations[0] / "rows.parquet").to_pylist()
    natural = [r["verdict"] == "correct" for r in rows if r["setting"] == "natural"]
    curve = next(c for c in written[1]["curves"] if c["benchmark"] == "puzzles_hard")
    point = next(p for p in curve["points"] if p["setting"] == "natural")
    assert point["accuracy_percent"] == pytest.approx(100 * sum(natural) / len(natural))


def test_page_is_one_file_that_needs_nothing(written: Written) -> None:
    text = (written[0] / "report.html").read_text()
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    assert not re.search(r"@import|url\((?!data:)", text)
    assert "default-src 'none'" in text
    assert len(text) < 2_000_000
    before_traces = text[: text.index('id="traces-index"')]
    assert len(before_traces) < 1_000_000
    assert before_traces.count("<svg") > 8, "charts are there without scripts"


def test_a_report_says_what_its_models_and_benchmarks_ask_it_to(written: Written) -> None:
    text = (written[0] / "report.html").read_text()
    first = [text.index(w) for w in ("not the 32B result", "no evidence about large models")]
    assert max(first) < text.index("Hard ones are longer")
    for words in ("0123456789ab", "scale"):
        assert words in text, words
    assert written[1]["notes"][:2] == [
        "A rehearsal, not the 32B result.",
        "This is no evidence about large models.",
    ]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("scale", ["laptop", "h100x16"])
def test_nothing_is_said_by_a_name(scale: str, tmp_path: Path) -> None:
    """A benchmark called puzzles is not the laptop world, at no scale."""
    folder = world.evaluation(tmp_path / "e", world.Benchmark("puzzles_of_mine", 10, notes=()))
    summary = report.run({"scale": scale}, [folder], None, None, tmp_path / "out")
    assert summary["notes"] == []
    text = (tmp_path / "out" / "report.html").read_text()
    for words in ("rehearsal", "laptop world", "large models", "teacher"):
        assert words not in text, words


def test_every_section_is_there(written: Written) -> None:
    text = (written[0] / "report.html").read_text()
    for key in ("curves", "metrics", "base", "flips", "budget", "domains", "funnel", "costs"):
        assert f'<section id="{key}">' in text, key
    assert '<section id="ablation">' not in text, "one run has nothing to be compared with"
    assert '<section id="parallel">' not in text, "one sample has nothing to vote"
    assert text.count('<details class="trace"') == 10


def test_figures_for_papers_and_tables_for_scripts(written: Written) -> None:
    folder = written[0]
    for key in ("curve_puzzles_hard", "funnel", "flips_puzzles_hard", "lengths_puzzles_new"):
        assert (folder / "figures" / f"{key}.png").read_bytes()[:4] == b"\x89PNG"
        assert "<svg" in (folder / "figures" / f"{key}.svg").read_text()
    with (folder / "tables" / "points_puzzles_hard.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    natural = next(r for r in rows if (r["model"], r["setting"]) == ("fine-tuned", "natural"))
    assert float(natural["accuracy %, low"]) < float(natural["accuracy %"])
    assert float(natural["accuracy %"]) < float(natural["accuracy %, high"])


def test_published_points_only_where_the_benchmark_is_the_papers(tmp_path: Path) -> None:
    made = [
        world.evaluation(tmp_path / "a", world.Benchmark("aime24", 30)),
        world.evaluation(tmp_path / "b", world.Benchmark("aime25", 30)),
    ]
    report.run({"scale": "h100x16"}, made, None, None, tmp_path / "out")
    figures = tmp_path / "out" / "figures"
    assert "s1-32B (paper)" in (figures / "curve_aime24.svg").read_text()
    assert "s1-32B (paper)" not in (figures / "curve_aime25.svg").read_text()
    assert "only 30 problems" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.usefixtures("no_pictures")
def test_several_samples_put_parallel_beside_sequential(tmp_path: Path) -> None:
    folder = world.evaluation(tmp_path / "e", world.Benchmark(num_problems=12, samples=4))
    report.run({}, [folder], None, None, tmp_path / "out")
    with (tmp_path / "out" / "tables" / "samples.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["k"] for row in rows] == ["1", "2", "4"]
    assert float(rows[2]["pass@k %"]) >= float(rows[0]["pass@k %"])
    assert float(rows[2]["total tokens"]) == pytest.approx(4 * float(rows[0]["total tokens"]))
    with (tmp_path / "out" / "tables" / "replays_puzzles_hard.csv").open() as lines:
        replayed = {(row["rule"], row["k"]): row for row in csv.DictReader(lines)}
    assert len(replayed) == 3 * 2
    for (_, k), row in replayed.items():
        saved, whole = float(row["tokens saved %"]), 4 * float(rows[0]["total tokens"])
        assert 0 <= saved < 100
        if k == "4":
            assert float(row["total tokens"]) == pytest.approx(whole * (1 - saved / 100))


def test_money_at_stated_prices_and_only_there(made: world.Made, tmp_path: Path) -> None:
    """A GPU by the hour, a server by its tokens; what has no price stays unknown."""
    from s1x.report.inputs import read
    from s1x.report.sections.costs import ledger

    gpu = world.cost("train", "SFT", 3600) | {"device": "cuda", "gpu_hours": 2.0}
    server = world.cost("evaluate", "judge", generated=1_000_000)
    server |= {"device": None, "prompt_tokens": 3_000_000}
    (tmp_path / "costs.json").write_text(json.dumps([gpu, server, world.cost("select", "s1k")]))
    prices = {"usd_per_gpu_hour": 2.5}
    prices |= {"usd_per_million_prompt_tokens": 0.1, "usd_per_million_generated_tokens": 0.4}
    for stated, expected in ((prices, [5.0, 0.7, None]), ({}, [None, None, None])):
        inputs = read({"prices": stated}, made.evaluations[:1], None, None)
        inputs = dataclasses.replace(inputs, cost_folders=(tmp_path,))
        assert [entry["usd"] for entry in ledger(inputs)] == pytest.approx(expected)


def test_without_rows_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"stages=\[evaluate,report\]"):
        report.run({}, [], None, None, tmp_path)


def test_console_table_shows_the_main_curve(written: Written) -> None:
    text = report.console_table(written[1])
    lines = text.splitlines()
    assert "puzzles_hard" in lines[0]
    assert "n = 60" in lines[0]
    assert [line.split("  ")[0] for line in lines[2:8]] == [label for label, _, _ in world.CURVE]
    brief = report.console_table(written[1], brief=True).splitlines()
    assert brief == lines[2:8], "a job of a sweep shows its points"
    assert lines[8].startswith("Control 100%")
    assert lines[9].startswith("Base model answering directly")
    assert max(map(len, lines)) <= 100


def test_allocation_stands_in_page_table_and_summary(written: Written) -> None:
    folder, summary = written
    assert '<section id="allocation">' in (folder / "report.html").read_text()
    assert (folder / "figures" / "allocation_puzzles_hard.svg").is_file()
    curve = summary["curves"][summary["main_curve"]]
    found = curve["allocation"]
    for point, spent in zip(curve["points"], found["points"], strict=True):
        assert spent["right_percent"]["value"] == pytest.approx(point["accuracy_percent"])
        kinds = ("right_percent", "starved_percent", "spoilt_percent")
        shares = [spent[kind]["value"] for kind in kinds]
        assert sum(shares) + found["never_right_percent"]["value"] == pytest.approx(100)
        assert spent["perfect_percent"]["value"] >= point["accuracy_percent"]
    with (folder / "tables" / "allocation.csv").open() as lines:
        rows = [r for r in csv.DictReader(lines) if r["benchmark"] == "puzzles_hard"]
    tuned = [r for r in rows if r["model"] == "fine-tuned"]
    assert [float(r["perfect %"]) for r in tuned] == pytest.approx(
        [p["perfect_percent"]["value"] for p in found["points"]]
    )
    direct = next(c for c in summary["curves"] if c["prompt_format"] == "direct")
    assert direct["allocation"] is None


def test_spill_seconds_and_loops_stand_in_page_table_and_summary(written: Written) -> None:
    folder, summary = written
    text = (folder / "report.html").read_text()
    curve = summary["curves"][summary["main_curve"]]
    points = {p["setting"]: p for p in curve["points"]}
    assert points["natural"]["spill"] is None, "nothing was closed by force"
    assert points["max 8"]["spill"]["any_percent"]["value"] == 25
    assert points["max 8"]["loop_percent"] == pytest.approx(100 / 60)
    for key, column, wanted in (
        ("spill", "spill %", 25.0),
        ("seconds", "first token median seconds", 0.25),
        ("seconds", "total median seconds", 0.58),
    ):
        assert f'<section id="{"latency" if key == "seconds" else key}">' in text
        with (folder / "tables" / f"{key}.csv").open() as lines:
            row = next(r for r in csv.DictReader(lines) if r["model"] == "fine-tuned")
        assert (row["setting"], float(row[column])) == ("max 8", pytest.approx(wanted))
    assert points["max 8"]["latency"]["total_p95_seconds"] == pytest.approx(0.58)
    for chart in ("spill_puzzles_hard", "seconds_puzzles_hard"):
        assert (folder / "figures" / f"{chart}.svg").is_file()
