"""The page of `make figures`: our sweeps beside the paper's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import report_world as world

from s1x import report
from s1x.errors import UserError
from sweeps.figures import FIGURES, figures_page

Written = tuple[Path, dict[str, Any]]


def test_a_curve_stands_beside_the_papers(written: Written, tmp_path: Path) -> None:
    page = figures_page({"thinking_budget": written[0], "wait_count": written[0]}, tmp_path)
    text = page.read_text()
    assert "(thinking_budget/curve_puzzles_hard.png)" in text
    assert (tmp_path / "thinking_budget" / "curve_puzzles_hard.png").is_file()
    assert (tmp_path / "wait_count" / "flips_puzzles_hard.png").is_file()
    assert "| fine-tuned | natural |" in text
    assert "56.7" in text
    assert "no evidence about large models" in text
    points = written[1]["curves"][written[1]["main_curve"]]["points"]
    accuracy = {p["setting"]: p["accuracy_percent"] for p in points}
    best = max(accuracy["Wait x 1"], accuracy["Wait x 2"])
    gain = best - accuracy["natural"]
    # first of all, what the paper found and whether it holds here
    head = text[: text.index("## ")]
    slope = written[1]["curves"][written[1]["main_curve"]]["scaling_per_doubling"]
    assert f"| yes: {slope['value']:+.1f} points per doubling" in head
    assert f"yes: {gain:+.1f} points by Wait" in head


def test_what_does_not_hold_here_is_said(tmp_path: Path) -> None:
    """A choice that is better than s1K, another policy that is better than budget forcing."""
    runs = []
    for name, policy, skill in (
        ("selection=s1k", "budget_forcing", -0.3),
        ("selection=random_1k", "budget_forcing", 0.1),
        ("budget=class_conditional", "class_conditional", 0.2),
    ):
        benchmark = world.Benchmark(num_problems=60)
        folder = world.evaluation(tmp_path / name, benchmark, skill=skill, policy=policy)
        runs.append({"label": name, "evaluations": [folder]})
    report.run({"runs": runs[:2]}, [], None, None, tmp_path / "choices")
    report.run({"runs": [runs[0], runs[2]]}, [], None, None, tmp_path / "policies")
    places = {"selection_ablation": tmp_path / "choices", "budget_policy": tmp_path / "policies"}
    page = figures_page(places, tmp_path / "page")
    head = page.read_text().split("## ")[0]
    assert "not for all, at natural length: random_1k " in head
    assert "no: best is class conditional" in head
    shown = (tmp_path / "page").glob("*/*.png")
    assert all(file.stat().st_size < 200_000 for file in shown)


def test_every_sweep_of_the_repository_has_a_place() -> None:
    sweeps = Path(__file__).resolve().parents[2] / "sweeps"
    assert {path.stem for path in sweeps.glob("*.yaml")} == set(FIGURES)


@pytest.mark.usefixtures("no_pictures")
def test_runs_and_samples_have_their_tables(tmp_path: Path) -> None:
    runs = []
    for name, skill in (("selection=s1k", 0.0), ("selection=random_1k", -0.2)):
        benchmark = world.Benchmark(num_problems=20, samples=2)
        folder = world.evaluation(tmp_path / name, benchmark, skill=skill)
        runs.append({"label": name, "evaluations": [folder]})
    report.run({"runs": runs}, [], None, None, tmp_path / "r")
    names = ("selection_ablation", "budget_policy", "sample_count", "wait_string", "closing")
    text = figures_page(dict.fromkeys(names, tmp_path / "r"), tmp_path / "page").read_text()
    assert "selection=random_1k" in text
    assert "| token-conditional (TCC) | 40 | -24 | 40.0 |" in text
    assert "the vote of 2 natural samples" in text
    closing = text[text.index("## Beyond the paper") :].split("\n## ")[0]
    assert "| length, % of natural |" in closing
    assert "The paper's (s1-32B)" not in closing, "it has published nothing of that"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the sweep wait_count first"):
        figures_page({"wait_count": tmp_path}, tmp_path / "page")
    with pytest.raises(UserError, match="no figure is known for nonsense"):
        figures_page({"nonsense": tmp_path}, tmp_path / "page")
